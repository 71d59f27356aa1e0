"""Pareto fronts, and the ranking that multiobjective CoDeepNEAT selects by.

Liang 2019, Algorithms 2 and 3. Every objective is one to make greater: the size of a
network goes in negated.

Shape legend: ``P`` individuals, ``O`` objectives.

Algorithm 3 sorts by the first objective and walks down: an individual joins the front
if its second objective is above that of the last to have joined. Algorithm 2 takes
front after front out of each species until nobody is left; the last fraction F_l of
that order is removed. ``ranking`` is that order, and ``scores`` tells it to
``neat.evolve``, whose truncation then is Algorithm 2's step 8; with ``NEAT.keep`` those
who are left survive, steps 9 and 10, otherwise only ``elites`` of them:

    score = pareto.scores(accuracy, -size, population.species)
    population, report = neat.evolve(key, config, rates, population, accuracy, score)

All fronts come from one walk in place of one a front: an individual's front is the one
after the last front that has somebody who keeps it out.

Where the paper leaves room: of equal first objectives the one with the greater second
is sorted first, so that no front holds a dominated individual. Algorithm 3 asks for a
second objective above the last one's, so that the second of two equal individuals falls
to the next front (``distinct``). An individual whose objectives are not all finite
comes after all others, however small it is.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def fronts(
    objectives: Float[Array, "P O"],
    species: Int[Array, "P"] | None = None,
    *,
    distinct: bool = False,
) -> Int[Array, "P"]:
    """The front of each individual: 0 for those that no other dominates.

    One dominates another that it equals or exceeds in every objective and exceeds in
    one; those left when a front is taken away form the next.

    Args:
      objectives: of each individual, greater is better.
      species: fronts are formed within each; None for one species.
      distinct: of equal individuals the first keeps the others out of its front, as in
        Algorithm 3, where otherwise equals share one (Deb 2002).

    Returns:
      Front, from 0; ``P``, which no front has, where an objective is not finite.
    """
    individuals = objectives.shape[0]
    species = jnp.zeros(individuals, jnp.int32) if species is None else species
    sound = jnp.isfinite(objectives).all(1)
    values = jnp.where(sound[:, None], objectives, -jnp.inf)
    # whoever dominates an individual comes before it
    order = jnp.lexsort((*-values.T[::-1], species))
    sorted_values, sorted_species = values[order], species[order]

    def place(found, step):
        value, mine, here = step
        before = (found >= 0) & (sorted_species == mine)
        keeps_out = before & (sorted_values >= value).all(1)
        if not distinct:
            keeps_out &= (sorted_values > value).any(1)
        front = jnp.max(jnp.where(keeps_out, found, -1)) + 1
        return found.at[here].set(front), None

    none = jnp.full(individuals, -1, jnp.int32)
    steps = (sorted_values, sorted_species, jnp.arange(individuals))
    found, _ = jax.lax.scan(place, none, steps)
    front = jnp.zeros_like(found).at[order].set(found)
    return jnp.where(sound, front, individuals)


def front(primary: Float[Array, "P"], secondary: Float[Array, "P"]) -> Bool[Array, "P"]:
    """Who is in the Pareto front of Algorithm 3."""
    return fronts(jnp.stack([primary, secondary], 1), distinct=True) == 0


def ranking(
    primary: Float[Array, "P"],
    secondary: Float[Array, "P"],
    species: Int[Array, "P"] | None = None,
    *,
    by_secondary: bool = False,
) -> Int[Array, "P"]:
    """Place of each individual within its species, 0 the best (Algorithm 2).

    Args:
      primary: X, the fitness.
      secondary: Y, negated if it is to be small.
      species: of each individual; None for one species, as for assembled networks.
      by_secondary: sorts each front by the second objective (Algorithm 3, step 7) and
        not by the first.
    """
    individuals = primary.shape[0]
    species = jnp.zeros(individuals, jnp.int32) if species is None else species
    number = fronts(jnp.stack([primary, secondary], 1), species, distinct=True)
    within = secondary if by_secondary else primary
    order = jnp.lexsort((-within, number, species))
    own = species[order]
    begin = jnp.searchsorted(own, own)
    place = jnp.arange(individuals) - begin
    return jnp.zeros_like(place).at[order].set(place).astype(jnp.int32)


def scores(
    primary: Float[Array, "P"],
    secondary: Float[Array, "P"],
    species: Int[Array, "P"] | None = None,
    *,
    by_secondary: bool = False,
) -> Float[Array, "P"]:
    """``ranking`` as scores, greater is better: 0 for the best of each species."""
    place = ranking(primary, secondary, species, by_secondary=by_secondary)
    return -place.astype(jnp.float32)
