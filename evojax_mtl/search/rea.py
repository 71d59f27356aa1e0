"""Regularised evolution on tables (Real 2019), each task on its own.

The first ``population`` architectures of a task are random. After that, a generation is
one evaluation a task: of ``tournament`` drawn from the pool without replacement the
best has one edge changed to another operation, so that the result was not evaluated
before (if that can be); it joins the pool, and the oldest leaves.

With a pool of 10 and 5 drawn this is the REA of KTNAS's Tables I and II, and the
evolution within MTNAS.

Shape legend: ``T`` tasks, ``N`` architectures of a pool, ``K`` neighbours.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.evaluation.seen import Seen
from evojax_mtl.evaluation.tabular import TableData
from evojax_mtl.evolution.tabular import mutant, tournament
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.tabular import TableSearch


class Pool(Pytree):
    """The last ``N`` evaluated architectures of each task.

    Attributes:
      rows: the architectures; the next one replaces the oldest, in turn.
      fitness: of them; minus infinity where there is none yet.
    """

    rows: Int[Array, "T N"]
    fitness: Float[Array, "T N"]


def no_pool(tasks: int, population: int) -> Pool:
    """Empty pools."""
    shape = (tasks, population)
    return Pool(
        rows=jnp.zeros(shape, jnp.int32),
        fitness=jnp.full(shape, -jnp.inf, jnp.float32),
    )


def mutants(
    key: Array, pool: Pool, seen: Seen, data: TableData, tournament_size: int
) -> Int[Array, "T"]:
    """A child of each task's pool, by tournament and one edit."""
    chance = jax.random.uniform(key, (len(pool.rows), 2))

    def child(chance, rows, fitness, seen):
        parent = rows[tournament(chance[0], fitness, tournament_size)]
        near = data.neighbours[parent]
        return mutant(chance[1], near, seen[near])

    return jax.vmap(child)(chance, pool.rows, pool.fitness, seen)


class REA(TableSearch):
    """The search protocol for regularised evolution."""

    method = "rea"

    def begin(self, key, hyperparameters, data):
        """Empty pools."""
        return no_pool(self.tasks, self.config.population)

    def propose(self, key, state, hyperparameters, data):
        """A random architecture, or a mutant once the pool is full."""
        random_key, child_key = jax.random.split(key)
        seen = state.archive.seen
        children = mutants(child_key, state.own, seen, data, self.config.tournament)
        random = jax.random.randint(random_key, (self.tasks,), 0, self.architectures)
        first = state.generation < self.config.population
        return jnp.where(first, random, children)[:, None], state.own

    def select(self, key, state, fitness, hyperparameters, data):
        """The newest replaces the oldest."""
        place = state.generation % self.config.population
        return Pool(
            rows=state.own.rows.at[:, place].set(state.candidates[:, 0]),
            fitness=state.own.fitness.at[:, place].set(fitness[:, 0]),
        )
