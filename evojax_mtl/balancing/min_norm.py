"""The point of least norm in the convex hull of the tasks' gradients.

``minimize a' G a  subject to  a >= 0, sum a = 1``, ``G`` the Gramian of the gradients
(Desideri 2012). Two tasks have a closed form. For more, ``a = x / sum x`` where ``x``
minimises ``x' G x / 2 - sum x`` over ``x >= 0``: both have the same optimality
conditions, and the second has no equality, so its rows and columns may be scaled.

Differs from the solvers of Sener and Koltun 2018 (also LibMTL's), which stop at a
change of the weights, never at a corner (0.001 to 0.999), and from torchjd's, which is
100 steps of Frank-Wolfe: this one is exact up to float32, corners included.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.quadratic import minimize_nonnegative

NOTHING = 1e-30
"""Squared norms below this share of the largest count as 0."""


def min_norm(
    gramian: Float[Array, "T T"], present: Bool[Array, "T"] | None = None
) -> Float[Array, "T"]:
    """Weights ``a`` of the least norm: ``(G a)_i >= a' G a`` for every task ``i``.

    Args:
      gramian: inner products of the gradients, ``(T, T)``, any rank and scale.
      present: the tasks that take part; others get 0. All where None.

    Returns:
      Weights, at least 0, of sum 1 (0 where no task is present). Tasks without a
      gradient share all the weight, as the least norm is then 0.
    """
    gramian = gramian.astype(jnp.float32)
    if present is None:
        present = jnp.ones(gramian.shape[:1], bool)
    share = _share(present)
    if gramian.shape[0] == 1:
        return share
    diagonal = jnp.where(present, jnp.diagonal(gramian), 0)
    largest = jnp.max(diagonal)
    gramian = gramian / jnp.where(largest > 0, largest, 1)
    if gramian.shape[0] == 2:
        return jnp.where(jnp.all(present), _between(gramian), share)
    still = present & (diagonal <= NOTHING * largest)
    moving = present & ~still
    least = jnp.min(jnp.diagonal(gramian), where=moving, initial=1)
    # on the simplex (sum a)^2 is constant; without it x has no bound if the norm is 0
    x = minimize_nonnegative(gramian + least, jnp.full_like(share, least), moving)
    total = jnp.sum(x)
    found = jnp.where(total > 0, x / jnp.where(total > 0, total, 1), share)
    return jnp.where(jnp.any(still), _share(still), found)


def _share(chosen: Bool[Array, "T"]) -> Float[Array, "T"]:
    """Equal weights of sum 1."""
    return chosen / jnp.maximum(jnp.sum(chosen), 1).astype(jnp.float32)


def _between(gramian: Float[Array, "2 2"]) -> Float[Array, "2"]:
    """The nearest point to the origin between two."""
    to_first = gramian[1, 1] - gramian[0, 1]
    to_second = gramian[0, 0] - gramian[0, 1]
    length = to_first + to_second
    middle = to_first / jnp.where(length > 0, length, 1)
    first = jnp.where(length > 0, jnp.clip(middle, 0, 1), 0.5)
    return jnp.stack([first, 1 - first])
