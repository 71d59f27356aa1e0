"""A population and its generations: what NEAT's parts make together.

Shape legend: ``P`` individuals, ``S`` species there is room for.

One generation, after the fitness of all individuals is known:

1. the species' records (``reproduction.record``), and which of them may breed;
2. elites, parents and crossover (``reproduction``, ``crossover``);
3. mutation of the children (``mutation``), elites excepted;
4. a member of each species is drawn to stand for it, and the new generation is divided
   into species (``speciation``).

All of it is one traced function of the population's arrays: no step depends on
topologies, and memory grows with ``P`` times the capacities.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.errors import UserError
from evojax_mtl.evolution.neat import mutation, reproduction, speciation
from evojax_mtl.evolution.neat.crossover import crossover
from evojax_mtl.evolution.neat.markings import Counter
from evojax_mtl.evolution.neat.rates import NEAT, Rates
from evojax_mtl.evolution.neat.speciation import Species
from evojax_mtl.genomes import graphs
from evojax_mtl.genomes.graphs import Graph
from evojax_mtl.pytrees import Pytree

THRESHOLD = 1.0
"""Of the first division, before it moves."""


class Population(Pytree):
    """Everything that evolves.

    Attributes:
      graphs: the individuals.
      species: of each.
      table: the species.
      counter: the next markings.
      generation: how many there have been.
    """

    graphs: Graph
    species: Int[Array, "P"]
    table: Species
    counter: Counter
    generation: Int[Array, ""]


class Report(Pytree):
    """What a generation went through.

    Attributes:
      moved: for each place of a species before, the place to look for it now.
      species: living species.
      threshold: distance below which an individual belongs to a species.
      exhausted: mutations that fell back for lack of room.
      overflow: individuals that would have founded a species where no place was left.
      nonfinite: individuals whose fitness was not finite.
      nodes: mean nodes of a graph, the input and the output included.
    """

    moved: Int[Array, "S"]
    species: Int[Array, ""]
    threshold: Float[Array, ""]
    exhausted: Int[Array, ""]
    overflow: Int[Array, ""]
    nonfinite: Int[Array, ""]
    nodes: Float[Array, ""]


def check(config: NEAT, individuals: int) -> None:
    """Raises ``UserError`` where a population cannot hold the elites of its species."""
    least = config.species * max(config.elites, 1)
    if individuals < least:
        raise UserError(
            f"population: found {individuals} individuals, {config.species} species "
            f"with {config.elites} elites each need at least {least}"
        )


def init(
    key: Array, config: NEAT, rates: Rates, individuals: int, rounds: Any = 0
) -> Population:
    """Initial graphs with drawn hyperparameters, divided into species.

    Args:
      key: randomness.
      config: static choices.
      rates: traced ones.
      individuals: ``P``.
      rounds: nodes that mutation adds to each graph, ``(P,)`` or a number for all,
        each with a connection by the rate of those. It stops where there is no room.

    Raises:
      UserError: if the capacity is too small for the initial graphs, or the population
        for the elites of its species.
    """
    check(config, individuals)
    draw_key, grow_key = jax.random.split(key)
    capacity = config.nodes, config.edges
    one = graphs.chain(config.initial, capacity, config.space, config.whole)
    many = graphs.drawn(draw_key, one, config.space, config.whole, individuals)
    counter = Counter(
        node=jnp.int32(graphs.FIXED + config.initial),
        edge=jnp.int32(config.initial + 1),
    )
    rounds = jnp.broadcast_to(jnp.asarray(rounds, jnp.int32), (individuals,))
    growth = rates.replace(add_node=1.0, mutate=0.0)

    def grow(i, carry):
        many, counter = carry
        key = jax.random.fold_in(grow_key, i)
        wanted = rounds > i
        wanted &= graphs.nodes(many) < config.nodes
        wanted &= graphs.edges(many) + 2 <= config.edges
        return mutation.mutate(key, config, growth, many, wanted, counter)[:2]

    many, counter = jax.lax.fori_loop(0, rounds.max(), grow, (many, counter))
    table = speciation.no_species(config, one, THRESHOLD)
    division = speciation.divide(config, rates, many, table, 0)
    return Population(
        graphs=many,
        species=division.species,
        table=division.table,
        counter=counter,
        generation=jnp.int32(0),
    )


def next_parents(
    key: Array,
    config: NEAT,
    rates: Rates,
    population: Population,
    fitness: Float[Array, "P"],
    score: Float[Array, "P"] | None = None,
) -> tuple[reproduction.Mating, Species]:
    """Who reproduces, and the species that do, with what was learnt about them.

    Args:
      key: randomness.
      config: static choices.
      rates: traced ones.
      population: the individuals.
      fitness: of each, greater is better; species grow by its mean.
      score: what ranks individuals within their species, ``fitness`` by default.
    """
    fitness = reproduction.finite(fitness)
    score = fitness if score is None else reproduction.finite(score)
    species, number = population.species, population.generation
    table = reproduction.record(population.table, fitness, species, number)
    breeds = reproduction.breeding(config, rates, table, fitness, species, number)
    ranking = reproduction.rank(score, species, config.species)
    least = jnp.minimum(max(config.elites, 1), ranking.size)
    share = reproduction.shares(fitness, species, config.species)
    offspring = reproduction.allot(share, breeds, least, fitness.shape[0])
    mating = reproduction.mate(key, config, rates, ranking, offspring, score)
    return mating, table.replace(alive=breeds)


def children(
    key: Array, parents: Graph, mating: reproduction.Mating
) -> tuple[Graph, Bool[Array, "P"]]:
    """The graphs of the next generation before mutation, and which may mutate."""
    keys = jax.random.split(key, mating.crossed.shape[0])

    def child(key, fitter, other, crossed):
        a = jax.tree.map(lambda x: x[fitter], parents)
        b = jax.tree.map(lambda x: x[other], parents)
        mixed = crossover(key, a, b)
        return jax.tree.map(lambda x, y: jnp.where(crossed, x, y), mixed, a)

    bred = jax.vmap(child)(keys, mating.fitter, mating.other, mating.crossed)
    return bred, ~mating.elite


def evolve(
    key: Array,
    config: NEAT,
    rates: Rates,
    population: Population,
    fitness: Float[Array, "P"],
    score: Float[Array, "P"] | None = None,
) -> tuple[Population, Report]:
    """The next generation; see ``next_parents`` for the arguments."""
    keys = jax.random.split(key, 4)
    mating, table = next_parents(keys[0], config, rates, population, fitness, score)
    bred, wanted = children(keys[1], population.graphs, mating)
    grown, counter, exhausted = mutation.mutate(
        keys[2], config, rates, bred, wanted, population.counter
    )
    table = speciation.representatives(
        keys[3], population.graphs, population.species, table
    )
    generation = population.generation + 1
    division = speciation.divide(config, rates, grown, table, generation)
    evolved = Population(
        graphs=grown,
        species=division.species,
        table=division.table,
        counter=counter,
        generation=generation,
    )
    return evolved, Report(
        moved=division.moved,
        species=division.table.alive.sum(),
        threshold=division.table.threshold,
        exhausted=exhausted,
        overflow=division.overflow,
        nonfinite=jnp.sum(~jnp.isfinite(fitness)),
        nodes=jnp.mean(graphs.nodes(grown).astype(jnp.float32)),
    )
