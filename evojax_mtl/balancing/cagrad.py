"""CAGrad: conflict-averse gradient descent (Liu et al. 2021, Algorithm 1).

The update ``d`` with the largest ``min_t g_t' d`` within ``c |g_0|`` of the mean
gradient ``g_0``. Its optimum is ``d = g_0 + J' v``, ``v >= 0``, with ``g_t' d >= tau``,
equal where ``v_t > 0``, and ``|J' v| = c |g_0|``. For a given ``tau``, ``v`` is the
quadratic program of ``minimize_nonnegative``, and ``|J' v|`` is convex and rises in
``tau`` with the slope ``sum v / |J' v|``: Newton steps from above find ``tau``. LibMTL
and torchjd minimise the dual by SLSQP and by a conic solver.

Over ``1 + c^2``, as LibMTL and the authors' code (``rescale=1``; 2 for ``1 + c``, 0 as
torchjd, which does not rescale). As in torchjd the update is 0 where the worst task
cannot gain: where ``|J' v| / sum v`` is below 1e-4 of the gradients' size.
"""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.min_norm import min_norm
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.quadratic import minimize_nonnegative
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree, static

_LIMIT = 30
_CLOSE = 1e-6
_STATIONARY = 1e-4


class CAGrad(Pytree):
    """The worst task's best descent near the mean gradient.

    Attributes:
      c: distance from the mean gradient, relative to its norm.
      rescale: what the update is divided by; see the module.
    """

    c: float = 0.5
    rescale: Literal[0, 1, 2] = static(default=1)

    traits: ClassVar[Traits] = BALANCING["cagrad"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        trace = jnp.trace(gramian)
        gramian = gramian / jnp.where(trace > 0, trace, 1)
        projections = gramian @ tasks.share
        norm = _root(tasks.share @ projections)
        radius = self.c * norm
        worst = _root(_squared(gramian, min_norm(gramian, tasks.present)))

        def corrected(tau):
            v = minimize_nonnegative(gramian, tau - projections, tasks.present)
            return v, _root(_squared(gramian, v))

        def unfinished(state):
            _, _, length, count = state
            return (length > (1 + _CLOSE) * radius) & (count < _LIMIT)

        def newton(state):
            tau, v, length, count = state
            tau -= (length - radius) * length / jnp.maximum(jnp.sum(v), 1e-30)
            return tau, *corrected(tau), count + 1

        highest = (1 + self.c) * norm * worst
        start = (highest, *corrected(highest), 0)
        _, v, length, _ = jax.lax.while_loop(unfinished, newton, start)
        v = v * radius / jnp.where(length > 0, length, 1)
        total = jnp.sum(v)
        stuck = radius < _STATIONARY * jnp.where(radius > 0, total, 0)
        weights = jnp.where(stuck, 0, tasks.share + v)
        scale = {0: 1.0, 1: 1 + self.c**2, 2: 1 + self.c}[self.rescale]
        return weights / scale, state


def _squared(gramian: Array, weights: Array) -> Array:
    return weights @ gramian @ weights


def _root(x: Array) -> Array:
    return jnp.sqrt(jnp.maximum(x, 0))
