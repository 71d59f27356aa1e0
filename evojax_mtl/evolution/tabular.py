"""Variation in a finite space whose architectures have numbers and neighbours.

Random numbers come as arrays of uniform draws, so that a search makes them in one call.

Shape legend: ``N`` individuals, ``K`` neighbours, ``W`` architectures to choose from.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def places(values: Float[Array, "W"]) -> Int[Array, "W"]:
    """The place of each value in descending order, the first of equals first.

    By comparing all pairs: for a few dozen values that beats sorting many times over,
    as comparisons are vectorised and sorts are not.
    """
    own = jnp.arange(len(values))
    before = (values > values[:, None]) | (
        (values == values[:, None]) & (own < own[:, None])
    )
    return jnp.sum(before, axis=1, dtype=jnp.int32)


def at_places(place: Int[Array, "W"], size: int) -> Int[Array, "N"]:
    """Which value has place 0, 1, ..., ``size - 1``."""
    here = place == jnp.arange(size)[:, None]
    return jnp.sum(jnp.where(here, jnp.arange(len(place)), 0), axis=1)


def tournament(
    chance: Float[Array, ""], fitness: Float[Array, "N"], size: int
) -> Int[Array, ""]:
    """The fittest of ``size`` individuals drawn without replacement, by one draw."""
    return jnp.argmax(places(fitness) == winner(chance, len(fitness), size))


def winner(chance: Float[Array, ""], count: int, size: int) -> Int[Array, ""]:
    """The place, 0 the fittest, of the best of ``size`` of ``count`` individuals.

    It is not place ``i`` if all are drawn from places after ``i``.
    """
    after = [math.comb(count - 1 - i, size) for i in range(count)]
    won = 1 - np.array(after) / math.comb(count, size)
    return jnp.sum(chance >= jnp.asarray(won[:-1], jnp.float32))


def pick(chance: Float[Array, ""], allowed: Bool[Array, "W"]) -> Int[Array, ""]:
    """One of those allowed, each as likely, by one uniform draw; 0 if none is."""
    # a running sum as a product: one for all searches, where cumsum takes windows
    size = len(allowed)
    so_far = allowed.astype(jnp.float32) @ jnp.asarray(
        np.triu(np.ones((size, size), np.float32))
    )
    wanted = jnp.minimum(jnp.floor(chance * so_far[-1]), so_far[-1] - 1)
    return jnp.argmax(allowed & (so_far > wanted))


def mutant(
    chance: Float[Array, ""], neighbours: Int[Array, "K"], seen: Bool[Array, "K"]
) -> Int[Array, ""]:
    """A neighbour that was not seen, each as likely; of those seen if there is none."""
    there = neighbours >= 0
    new = there & ~seen
    return neighbours[pick(chance, jnp.where(jnp.any(new), new, there))]


def best_of(
    chance: Float[Array, ""], score: Float[Array, "W"], allowed: Bool[Array, "W"]
) -> Int[Array, ""]:
    """One of the highest score among those allowed, each as likely; 0 if none is."""
    highest = jnp.max(jnp.where(allowed, score, -jnp.inf))
    return pick(chance, allowed & (score == highest))


def fittest(
    rows: Int[Array, "W"], fitness: Float[Array, "W"], size: int
) -> tuple[Int[Array, "N"], Float[Array, "N"], Int[Array, "W"]]:
    """The best ``size``, the best first; of equals the first.

    Returns:
      Rows and fitness of the best, and the place of each one, 0 for the best.
    """
    place = places(fitness)
    chosen = at_places(place, size)
    return rows[chosen], fitness[chosen], place
