"""Species: by compatibility distance, with a threshold that moves (Stanley 2002, 3.3).

Shape legend: ``P`` individuals, ``S`` species there is room for.

An individual joins the first species whose representative, a member drawn from the
generation before, is nearer than the threshold; one that none is near to founds a
species. The threshold then moves by a fraction, up where there are more species than
the target, down where there are fewer. With ``tries`` above 1 the generation is divided
again with the moved threshold until the target is met, by half steps after it was
passed.

Species keep their place while they live, since blueprints point to places. Where no
place is left an individual joins the nearest species instead and is counted. A species
without members dies; its place goes to the next founder in the same generation, and
``moved`` tells for each place where those who pointed there should point now: to the
living species nearest to what it was.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evolution.neat.distance import columns, distances
from evojax_mtl.evolution.neat.rates import NEAT, Rates
from evojax_mtl.genomes.graphs import Graph
from evojax_mtl.pytrees import Pytree


class Species(Pytree):
    """The species of a population.

    Attributes:
      representative: whom newcomers are compared with.
      alive: the places taken.
      born: generation of the founder.
      best: best fitness of a member so far.
      improved: generation in which it was found.
      threshold: distance below which an individual belongs.
    """

    representative: Graph
    alive: Bool[Array, "S"]
    born: Int[Array, "S"]
    best: Float[Array, "S"]
    improved: Int[Array, "S"]
    threshold: Float[Array, ""]


class Division(NamedTuple):
    """A population divided into species.

    Attributes:
      species: of each individual.
      table: the species, without those that died.
      moved: for each place before, the place to look for it now.
      overflow: individuals that would have founded a species where no place was left.
    """

    species: Int[Array, "P"]
    table: Species
    moved: Int[Array, "S"]
    overflow: Int[Array, ""]


def no_species(config: NEAT, like: Graph, threshold: Array | float) -> Species:
    """No species yet; ``like`` is one graph, whose shapes count."""
    places = config.species
    return Species(
        representative=jax.tree.map(
            lambda x: jnp.broadcast_to(x, (places, *x.shape)), like
        ),
        alive=jnp.zeros(places, bool),
        born=jnp.zeros(places, jnp.int32),
        best=jnp.full(places, -jnp.inf, jnp.float32),
        improved=jnp.zeros(places, jnp.int32),
        threshold=jnp.asarray(threshold, jnp.float32),
    )


def _members(species: Int[Array, "P"], places: int) -> Int[Array, "S"]:
    return jnp.zeros(places, jnp.int32).at[species].add(1, mode="drop")


def divide_once(
    config: NEAT,
    rates: Rates,
    population: Graph,
    table: Species,
    generation: Int[Array, ""] | int,
) -> Division:
    """One division with the threshold as it is."""
    places = config.species

    apart = partial(distances, config, rates)
    everyone = columns(config, population)

    def from_living(place):
        one, alive = place
        far = jnp.full(population.node.shape[0], jnp.inf)
        return jax.lax.cond(alive, lambda: apart(one, everyone), lambda: far)

    far = jax.lax.map(from_living, (table.representative, table.alive))
    near = (far < table.threshold) & table.alive[:, None]
    joined = near.any(0)
    species = jnp.where(joined, jnp.argmax(near, 0), places)
    # empty species die before founders look for a place
    alive = table.alive & (_members(species, places) > 0)

    def lonely(carry):
        species, alive, *_ = carry
        return (species == places).any() & ~alive.all()

    def found(carry):
        species, alive, far, representative, founded = carry
        founder = jnp.argmax(species == places)
        place = jnp.argmin(alive)
        one = jax.tree.map(lambda x: x[founder], population)
        away = apart(one, everyone)
        joins = (species == places) & (away < table.threshold)
        joins = joins.at[founder].set(True)
        representative = jax.tree.map(
            lambda all_of, new: all_of.at[place].set(new), representative, one
        )
        return (
            jnp.where(joins, place, species),
            alive.at[place].set(True),
            far.at[place].set(away),
            representative,
            founded.at[place].set(True),
        )

    start = (species, alive, far, table.representative, jnp.zeros(places, bool))
    carry = jax.lax.while_loop(lonely, found, start)
    species, alive, far, representative, founded = carry
    overflow = species == places
    nearest = jnp.argmin(jnp.where(alive[:, None], far, jnp.inf), 0)
    species = jnp.where(overflow, nearest, species)
    died = ~(alive & ~founded)
    number = jnp.asarray(generation, jnp.int32)
    divided = table.replace(
        representative=representative,
        alive=alive,
        born=jnp.where(founded, number, table.born),
        best=jnp.where(founded, -jnp.inf, table.best),
        improved=jnp.where(founded, number, table.improved),
    )

    living = columns(config, representative)

    def closest(old):
        place, one, died = old

        def nearest():
            far = jnp.where(alive, apart(one, living), jnp.inf)
            return jnp.argmin(far).astype(jnp.int32)

        return jax.lax.cond(died, nearest, lambda: place)

    numbers = jnp.arange(places, dtype=jnp.int32)
    moved = jax.lax.map(closest, (numbers, table.representative, died))
    return Division(species.astype(jnp.int32), divided, moved, overflow.sum())


def divide(
    config: NEAT,
    rates: Rates,
    population: Graph,
    table: Species,
    generation: Int[Array, ""] | int,
) -> Division:
    """Divides a population, and moves the threshold towards the target."""

    def once(table, pace=1.0):
        found = divide_once(config, rates, population, table, generation)
        off = jnp.sign(found.table.alive.sum() - config.target)
        step = (1 + jnp.asarray(rates.step, jnp.float32)) ** (off * pace)
        moved = found.table.replace(threshold=found.table.threshold * step)
        return found._replace(table=moved), off

    if config.tries == 1:
        return once(table)[0]

    def again(carry):
        tried, _, _, off = carry
        return (tried < config.tries) & ((off != 0) | (tried == 0))

    def retry(carry):
        tried, division, pace, off = carry
        threshold = jnp.where(tried > 0, division.table.threshold, table.threshold)
        found, now = once(table.replace(threshold=threshold), pace)
        # beyond the target on the other side: come back by smaller steps
        pace = jnp.where(now * off < 0, pace / 2, pace)
        return tried + 1, found, pace, now

    # a first division of the right shape, which the loop never reads
    shapes, sign = jax.eval_shape(once, table)
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes, sign))
    start = (jnp.int32(0), blank[0], jnp.float32(1), blank[1])
    return jax.lax.while_loop(again, retry, start)[1]


def representatives(
    key: Array, population: Graph, species: Int[Array, "P"], table: Species
) -> Species:
    """A random member of each living species to stand for it."""
    draws = jax.random.uniform(key, species.shape)
    mine = species == jnp.arange(table.alive.shape[0])[:, None]
    who = jnp.argmax(jnp.where(mine, draws, -1), 1)

    def pick(new, old):
        keep = table.alive.reshape(-1, *[1] * (old.ndim - 1))
        return jnp.where(keep, new[who], old)

    chosen = jax.tree.map(pick, population, table.representative)
    return table.replace(representative=chosen)
