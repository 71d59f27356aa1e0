"""Projection on the dual cone of the tasks' gradients: what conflicts with none.

Shape legend: ``T`` tasks.

The projection of ``J' u`` is ``J' v`` with ``v >= u`` of least ``v' G v`` (Quinton and
Rey 2024, Proposition 1). As torchjd, ``G`` is divided by its trace and gets a ridge,
which decides between equal solutions.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.quadratic import minimize_nonnegative


def regularized(
    gramian: Float[Array, "T T"], ridge: Float[Array, ""] | float
) -> Float[Array, "T T"]:
    """``G`` over its trace, plus ``ridge`` on the diagonal."""
    trace = jnp.trace(gramian)
    return gramian / jnp.where(trace > 0, trace, 1) + ridge * jnp.eye(len(gramian))


def project(
    gramian: Float[Array, "T T"],
    weights: Float[Array, "T"],
    present: Bool[Array, "T"],
) -> Float[Array, "T"]:
    """The ``v`` of a combination ``weights`` of the gradients.

    Args:
      gramian: as ``regularized`` gives it.
      weights: ``u``; 0 for absent tasks.
      present: the tasks that must not be harmed.
    """
    return weights + minimize_nonnegative(gramian, -gramian @ weights, present)
