"""DB-MTL: dual balancing (Lin et al. 2023, Algorithm 1).

1. Gradients of ``log L_t``, that is ``g_t / L_t``.
2. ``y_t = g_t + beta / k^sigma (y_t - g_t)`` at step ``k``, ``y`` from 0.
3. The update is the sum of the ``y_t``, each scaled to the largest norm among them.

As LibMTL's: ``beta`` 0.9, ``sigma`` 0, and 1e-8 beside losses and norms. A ``y_t`` of 0
adds nothing; a task that is left out keeps its ``y_t`` and adds nothing.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.balancing.gradients import gramian_of, only, weighted
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree

_LEAST = 1e-8


class DBMTLState(Pytree):
    """Steps taken, smoothed gradients."""

    step: Int[Array, ""]
    smooth: Any


class DBMTL(Pytree):
    """Smoothed gradients of log losses, of one norm; losses must be above 0.

    Attributes:
      beta: share of the past in the smoothed gradients.
      sigma: how ``beta`` decays with the steps.
    """

    beta: float = 0.9
    sigma: float = 0.0

    traits: ClassVar[Traits] = BALANCING["db-mtl"]

    def init(self, gradients: Any) -> DBMTLState:
        """Gradients of 0, which take as much memory as the gradients."""
        zeros = jax.tree.map(lambda g: jnp.zeros(g.shape, jnp.float32), gradients)
        return DBMTLState(jnp.zeros((), jnp.int32), zeros)

    def aggregate(
        self, state: DBMTLState, gradients: Any, tasks: Tasks
    ) -> tuple[Any, DBMTLState]:
        """See ``GradientAggregator``."""
        step = state.step + 1
        past = self.beta / step.astype(jnp.float32) ** self.sigma
        inverse = jnp.where(tasks.present, 1 / (tasks.losses + _LEAST), 0)

        def blend(y: Array, g: Array) -> Array:
            g = inverse.reshape(-1, *(1,) * (g.ndim - 1)) * g
            stays = only(~tasks.present, y)
            return stays + only(tasks.present, g + past * (y - g))

        smooth = jax.tree.map(blend, state.smooth, gradients)
        norms = jnp.sqrt(jnp.diagonal(gramian_of(jax.tree.leaves(smooth))))
        norms = jnp.where(tasks.present, norms, 0)
        weights: Float[Array, "T"] = jnp.where(
            tasks.present, jnp.max(norms) / (norms + _LEAST), 0
        )
        update = jax.tree.map(lambda y: weighted(weights, y), smooth)
        return update, DBMTLState(step, smooth)
