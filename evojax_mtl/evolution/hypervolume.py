"""Hypervolume: the part of objective space that some individuals dominate.

Shape legend: ``P`` individuals, ``O`` objectives, all to make greater; ``R`` = ``O``.

The volume between a reference point and the individuals that exceed it, exact, by
slices: along the last objective the space is cut at each individual, and a slice holds
the hypervolume, in the other objectives, of those that reach it. Two objectives take
O(P log P) time, each further one P times as much; memory is O(P) for each objective.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.errors import UserError


def hypervolume(
    objectives: Float[Array, "P O"], reference: Float[Array, "R"]
) -> Float[Array, ""]:
    """The volume that ``objectives`` dominate above ``reference``.

    Args:
      objectives: of each individual, greater is better; they need not be a front. One
        that does not exceed the reference in every objective, or has one that is not
        finite, adds nothing.
      reference: the worst of each objective that counts.

    Raises:
      UserError: no objective, or a reference with another number of them.
    """
    count = objectives.shape[1]
    if count < 1 or reference.shape != (count,):
        raise UserError(
            f"hypervolume: found {count} objectives and a reference of shape "
            f"{reference.shape}; allowed: 1 or more, and one number for each"
        )
    sound = jnp.isfinite(objectives).all(1)
    above = jnp.where(sound[:, None], objectives - reference, 0)
    return _volume(jnp.where((above > 0).all(1)[:, None], above, 0))


def _volume(above: Float[Array, "P O"]) -> Float[Array, ""]:
    """The volume above the origin; a row of zeros stands for nobody."""
    if above.shape[1] == 1:
        return above[:, 0].max(initial=0)
    above = above[jnp.argsort(-above[:, -1])]
    last = above[:, -1]
    # the slice below an individual, down to the next, holds it and those before it
    thickness = last - jnp.append(last[1:], 0)
    others = above[:, :-1]
    if others.shape[1] == 1:
        return jnp.sum(thickness * jax.lax.cummax(others[:, 0]))
    index = jnp.arange(len(above))

    def area(reached):
        return _volume(jnp.where((index <= reached)[:, None], others, 0))

    return jnp.sum(thickness * jax.lax.map(area, index))
