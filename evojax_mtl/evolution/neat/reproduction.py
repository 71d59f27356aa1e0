"""Who reproduces: fitness sharing, offspring, elites, truncation, stagnation.

Shape legend: ``P`` individuals, ``S`` species there is room for.

1. Fitness sharing (Stanley 2002, 3.3): an individual's fitness divided by the size of
   its species; a species' share is the sum, its mean fitness. Where there are fitnesses
   below 0, all are shifted so that the least is 0.
2. Stagnation: a species whose best fitness has not grown for some generations has no
   offspring, unless it is among the best ``species_elites``.
3. Offspring: one for each elite of a species (``elites``, at most its size), the others
   in proportion to the shares, by largest remainder.
4. The worst fraction F_l of each species is removed (Liang 2019, Algorithm 2); parents
   are drawn uniformly from the others, at least one. Elites survive as they are; with
   ``keep`` all parents do, the best first, as many as their species has offspring, and
   new individuals come in the place of the removed alone (steps 8 to 10).

A fitness that is not finite counts as the least finite one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evolution.neat.rates import NEAT, Rates
from evojax_mtl.evolution.neat.speciation import Species


class Ranking(NamedTuple):
    """The individuals, species by species, the best of each first.

    Attributes:
      order: the individuals in that order.
      begin: position in ``order`` where each species begins.
      size: of each species.
    """

    order: Int[Array, "P"]
    begin: Int[Array, "S"]
    size: Int[Array, "S"]


class Mating(NamedTuple):
    """Where the next generation comes from.

    Attributes:
      fitter: the fitter parent of each, or whom it copies.
      other: the other parent.
      crossed: whether it has two parents.
      elite: whether it survives as it is.
    """

    fitter: Int[Array, "P"]
    other: Int[Array, "P"]
    crossed: Bool[Array, "P"]
    elite: Bool[Array, "P"]


def finite(fitness: Float[Array, "P"]) -> Float[Array, "P"]:
    """Fitness with the least finite one for those that are not finite."""
    sound = jnp.isfinite(fitness)
    least = jnp.min(fitness, where=sound, initial=jnp.inf)
    return jnp.where(sound, fitness, jnp.where(jnp.isfinite(least), least, 0))


def rank(score: Float[Array, "P"], species: Int[Array, "P"], places: int) -> Ranking:
    """The order within each species; of equal scores the earlier is better."""
    order = jnp.lexsort((-score, species))
    size = jnp.zeros(places, jnp.int32).at[species].add(1)
    return Ranking(order, jnp.cumsum(size) - size, size)


def shares(
    fitness: Float[Array, "P"], species: Int[Array, "P"], places: int
) -> Float[Array, "S"]:
    """The mean fitness of each species, 0 for those without members."""
    shifted = fitness - jnp.minimum(fitness.min(), 0)
    total = jnp.zeros(places).at[species].add(shifted)
    size = jnp.zeros(places).at[species].add(1)
    return total / jnp.maximum(size, 1)


def record(
    table: Species,
    fitness: Float[Array, "P"],
    species: Int[Array, "P"],
    generation: Int[Array, ""] | int,
) -> Species:
    """The species with their best fitness so far, and when it was found."""
    places = table.alive.shape[0]
    best = jnp.full(places, -jnp.inf).at[species].max(fitness)
    better = best > table.best
    return table.replace(
        best=jnp.maximum(best, table.best),
        improved=jnp.where(better, generation, table.improved),
    )


def breeding(
    config: NEAT,
    rates: Rates,
    table: Species,
    fitness: Float[Array, "P"],
    species: Int[Array, "P"],
    generation: Int[Array, ""] | int,
) -> Bool[Array, "S"]:
    """The species that may have offspring: not stagnant, or among the best."""
    places = table.alive.shape[0]
    best = jnp.full(places, -jnp.inf).at[species].max(fitness)
    place = jnp.argsort(jnp.argsort(-jnp.where(table.alive, best, -jnp.inf)))
    spared = place < max(config.species_elites, 1)
    stagnant = generation - table.improved >= rates.stagnation
    return table.alive & (spared | ~stagnant)


def allot(
    share: Float[Array, "S"],
    breeds: Bool[Array, "S"],
    least: Int[Array, "S"],
    population: int,
) -> Int[Array, "S"]:
    """Offspring of each species, ``population`` in all.

    Args:
      share: of each species; at least 0.
      breeds: the species that get any.
      least: what each of those gets before the rest goes by share.
      population: offspring in all, at least the sum of ``least``.
    """
    least = jnp.where(breeds, least, 0)
    rest = population - least.sum()
    share = jnp.where(breeds, share, 0)
    share = jnp.where(share.sum() > 0, share, breeds.astype(share.dtype))
    quota = rest * share / share.sum()
    whole = jnp.floor(quota).astype(jnp.int32)
    place = jnp.argsort(jnp.argsort(-jnp.where(breeds, quota - whole, -1)))
    left = rest - whole.sum()
    return least + whole + (place < left)


def mate(
    key: Array,
    config: NEAT,
    rates: Rates,
    ranking: Ranking,
    offspring: Int[Array, "S"],
    score: Float[Array, "P"],
) -> Mating:
    """Parents of the next generation, species by species, its elites first."""
    population = score.shape[0]
    ends = jnp.cumsum(offspring)
    slot = jnp.arange(population)
    mine = jnp.searchsorted(ends, slot, side="right", method="compare_all")
    turn = slot - (ends - offspring)[mine]
    begin, size = ranking.begin[mine], ranking.size[mine]
    removed = jnp.floor(rates.truncation * size).astype(jnp.int32)
    parents = jnp.maximum(size - removed, 1)
    stay = jnp.minimum(config.elites, size)
    elite = turn < (jnp.maximum(stay, parents) if config.keep else stay)
    pair_key, cross_key = jax.random.split(key)
    draws = jax.random.uniform(pair_key, (2, population))
    picks = jnp.minimum((draws * parents).astype(jnp.int32), parents - 1)
    first, second = ranking.order[begin + jnp.where(elite, turn, picks)]
    swap = score[second] > score[first]
    fitter, other = jnp.where(swap, second, first), jnp.where(swap, first, second)
    crossed = jax.random.uniform(cross_key, (population,)) < rates.crossover
    crossed &= ~elite
    # without crossover the child's only parent is the first drawn, not the fitter
    return Mating(jnp.where(crossed, fitter, first), other, crossed, elite)
