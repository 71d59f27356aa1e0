"""RotoGrad: homogenised gradients (Javaloy, Valera 2022, Algorithms 1 and 2).

1. Task ``t`` sees the representation rotated by its own ``R_t``, the matrix exponential
   of a skew matrix, from the identity, along the last axis.
2. Its gradient, rotated back, gets the norm ``sum_t a_t |g_t|``, with ``a_t`` in
   proportion to ``|g_t| / |g_t(0)|`` and of sum 1: tasks that fell behind set the size.
   The update of the encoder is their sum.
3. ``R`` takes an Adam step down ``sum_t |R_t m - u_t|^2``: ``u_t`` the gradients of one
   norm as task ``t`` sees them, ``m`` the mean of them rotated back.

As the authors' code, but the losses are not also divided by their first values, which
changes the heads' training alone. A rotation is ``d x d`` a task for ``d`` values along
the last axis. Works on representations alone.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.learning import Learned, learn, start
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class RotoGradState(Pytree):
    """Generators of the rotations ``(T, d, d)``, first norms (0 before)."""

    generators: Learned
    first: Float[Array, "T"]


class RotoGrad(Pytree):
    """A learned rotation of the features a task.

    Attributes:
      learning_rate: Adam's, of the rotations; well below the network's (per step).
    """

    learning_rate: float = 1e-4

    traits: ClassVar[Traits] = BALANCING["rotograd"]

    def init(self, gradients: Any) -> RotoGradState:
        """No rotation."""
        tasks, width = gradients.shape[0], gradients.shape[-1]
        zeros = jnp.zeros((tasks, width, width))
        return RotoGradState(start(zeros), jnp.zeros(tasks))

    def features(
        self, state: RotoGradState, representation: Float[Array, "B *shape"]
    ) -> Float[Array, "T B *shape"]:
        """Each task's rotated view."""
        turn = rotations(state.generators.values).astype(representation.dtype)
        return jnp.einsum("tij,...j->t...i", turn, representation)

    def aggregate(
        self, state: RotoGradState, gradients: Float[Array, "T B *shape"], tasks: Tasks
    ) -> tuple[Float[Array, "B *shape"], RotoGradState]:
        """See ``GradientAggregator``; ``gradients`` are of the views."""
        rows = gradients.reshape(len(gradients), -1, gradients.shape[-1])
        norms = jnp.sqrt(jnp.sum(rows**2, axis=(1, 2)))
        first = jnp.where(state.first > 0, state.first, norms)
        ratios = norms / jnp.where(first > 0, first, 1)
        total = jnp.sum(ratios)
        shares = ratios / jnp.where(total > 0, total, 1)
        size = jnp.sum(shares * norms)
        units = rows / jnp.where(norms > 0, norms, 1)[:, None, None]
        generators = state.generators.values
        back = jnp.einsum("tij,tbi->tbj", rotations(generators), units)
        update = (size * jnp.sum(back, 0)).reshape(gradients.shape[1:])
        mean = jnp.sum(back, 0) / tasks.count

        def distance(generators):
            seen = jnp.einsum("tij,bj->tbi", rotations(generators), mean)
            apart = jnp.sum((seen - units) ** 2, axis=(1, 2))
            return jnp.sum(jnp.where(tasks.present, apart, 0))

        slope = jax.grad(distance)(generators)
        learned = learn(state.generators, slope, self.learning_rate, tasks.present)
        return update, RotoGradState(learned, first)


_TERMS, _SQUARINGS = 8, 16


def rotations(generators: Float[Array, "T d d"]) -> Float[Array, "T d d"]:
    """Rotation matrices: the exponential of the skew part.

    By Taylor's series of a part of it, squared up to ``2 ** 16`` times: matrix products
    alone. ``jax.scipy.linalg.expm`` solves linear systems, and two of LAPACK's batched
    factorisations at once can wait for each other for ever where XLA has two threads.
    """
    skew = generators - generators.mT
    norm = jax.lax.stop_gradient(jnp.max(jnp.sum(jnp.abs(skew), -1)))
    # so many halvings bring the norm to a half at most
    halvings = jnp.ceil(jnp.log2(jnp.maximum(2 * norm, 1)))
    halvings = jnp.where(jnp.isfinite(halvings), jnp.minimum(halvings, _SQUARINGS), 0)
    part = skew * 0.5**halvings
    unit = jnp.eye(skew.shape[-1], dtype=skew.dtype)
    series = jnp.broadcast_to(unit, skew.shape)
    for k in range(_TERMS, 0, -1):
        series = unit + part @ series / k

    def square(x, i):
        return jax.lax.cond(i < halvings, lambda x: x @ x, lambda x: x, x), None

    return jax.lax.scan(square, series, jnp.arange(_SQUARINGS))[0]
