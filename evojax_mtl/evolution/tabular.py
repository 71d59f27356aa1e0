"""Variation in a finite space whose architectures have numbers and neighbours.

Random numbers come as arrays of uniform draws, so that a search makes them in one call.

Shape legend: ``N`` individuals, ``K`` neighbours, ``W`` architectures to choose from.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def tournament(
    chance: Float[Array, "N"], fitness: Float[Array, "N"], size: int
) -> Int[Array, ""]:
    """The fittest of ``size`` individuals drawn without replacement."""
    _, drawn = jax.lax.top_k(chance, size)
    return drawn[jnp.argmax(fitness[drawn])]


def mutant(
    chance: Float[Array, "K"], neighbours: Int[Array, "K"], seen: Bool[Array, "K"]
) -> Int[Array, ""]:
    """A neighbour that was not seen, each as likely; of those seen if there is none."""
    there = neighbours >= 0
    preferred = jnp.where(seen, chance, chance + 1)
    return neighbours[jnp.argmax(jnp.where(there, preferred, -1))]


def fittest(
    rows: Int[Array, "W"], fitness: Float[Array, "W"], size: int
) -> tuple[Int[Array, "N"], Float[Array, "N"], Int[Array, "W"]]:
    """The best ``size``, the best first; of equals the first.

    Returns:
      Rows and fitness of the best, and the rank of each one, 0 the best; ``size`` for
      all that are not among the best.
    """
    values, chosen = jax.lax.top_k(fitness, size)
    ranks = jnp.full(rows.shape, size).at[chosen].set(jnp.arange(size))
    return rows[chosen], values, ranks
