"""EMT-NAS on tables: one multifactorial population a task (Liao 2023, 3.3 to 3.5).

The evolution of ``emt_nas`` with look-ups in the place of training and evaluation.
Generation 0 evaluates the random populations. After that, one generation:

1. parents are drawn by roulette over all tasks (``multifactorial.mate``); those of one
   task cross, those of two by chance ``random_mating``;
2. crossover takes each gene from either parent, in two complementary children, as
   blocks are in cells; mutation then changes each gene by chance ``mutation`` to any
   value. A combination that the space has not becomes the parent of the child's task;
3. the best ``N`` of parents and children survive; of equal architectures one.

Fitness is the table's, so there is nothing to re-evaluate (Eq. 2). Architectures that
were evaluated before cost nothing again. ``transferred_rank`` is the true mean rank, on
the child's task, of the parents from another task.

Shape legend: ``T`` tasks, ``N`` individuals of a population, ``S`` genes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.evaluation.tabular import TableData
from evojax_mtl.evolution import multifactorial
from evojax_mtl.evolution.tabular import fittest
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.tabular import TableSearch


class EMTNASTableOwn(Pytree):
    """What the search remembers.

    Attributes:
      rows: the populations.
      fitness: of them; minus infinity in generation 0.
      transferred_rank: of the parents from other tasks in this generation, 0 for none.
    """

    rows: Int[Array, "T N"]
    fitness: Float[Array, "T N"]
    transferred_rank: Float[Array, "T"]


def breed(
    key: Array,
    rows: Int[Array, "T N"],
    mating: multifactorial.Mating,
    rates: Any,
    data: TableData,
) -> Int[Array, "T N"]:
    """Children of the couples, architectures of the space all of them."""
    shape, genes = rows.shape, data.genes.shape[1]
    couple_key, mutate_key, value_key = jax.random.split(key, 3)
    couples = rows.ravel()[mating.parents]
    first = jnp.take_along_axis(couples, mating.child[..., None], -1)[..., 0]
    second = jnp.take_along_axis(couples, 1 - mating.child[..., None], -1)[..., 0]
    # both children of a couple see the same draws, so that they complement each other
    keys = jax.vmap(lambda pair: jax.random.fold_in(couple_key, pair))(
        mating.pair.ravel()
    )
    draws = jax.vmap(lambda key: jax.random.uniform(key, (genes + 1,)))(keys)
    draws = draws.reshape(*shape, genes + 1)
    swap, chance = draws[..., 1:] < 0.5, draws[..., 0]
    mixed = mating.parents[..., 0] // shape[1] != mating.parents[..., 1] // shape[1]
    cross = mating.crossed & (mixed | (chance < rates["crossover"]))
    child = jnp.where((cross[..., None] & swap), data.genes[second], data.genes[first])
    choices = jnp.asarray(np.array(data.space.choices))
    values = jax.random.randint(value_key, child.shape, 0, choices)
    changed = jax.random.bernoulli(mutate_key, rates["mutation"], child.shape)
    child = jnp.where(changed, values, child)
    found = data.lookup[child @ jnp.asarray(data.space.strides)]
    return jnp.where(found < 0, rows.ravel()[mating.mapped], found)


class EMTNASTable(TableSearch):
    """The search protocol for EMT-NAS on tables."""

    method = "emt-nas"

    def begin(self, key, hyperparameters, data):
        """Random populations, not evaluated."""
        shape = (self.tasks, self.config.population)
        return EMTNASTableOwn(
            rows=jax.random.randint(key, shape, 0, self.architectures),
            fitness=jnp.full(shape, -jnp.inf, jnp.float32),
            transferred_rank=jnp.zeros(self.tasks),
        )

    def propose(self, key, state, hyperparameters, data):
        """The populations; later, children."""
        own = state.own
        mate_key, breed_key = jax.random.split(key)
        # a roulette needs fitness above 0: losses have none, ranks always do
        there = own.fitness > -jnp.inf
        lowest = jnp.min(jnp.where(there, own.fitness, jnp.inf), 1, keepdims=True)
        share = jnp.where(lowest < 0, own.fitness - lowest, own.fitness)
        share = jnp.where(there, share, 0)
        chance = hyperparameters["random_mating"]
        mating = multifactorial.mate(mate_key, share, chance)
        children = breed(breed_key, own.rows, mating, hyperparameters, data)
        task = jnp.arange(self.tasks)[:, None, None]
        foreign = (mating.parents // self.config.population != task) & mating.crossed[
            ..., None
        ]
        rank = data.order[task, own.rows.ravel()[mating.parents]] + 1.0
        count = jnp.maximum(jnp.sum(foreign, (1, 2)), 1)
        first = state.generation == 0
        mean = jnp.sum(rank * foreign, (1, 2)) / count
        own = own.replace(transferred_rank=jnp.where(first, 0.0, mean))
        return jnp.where(first, own.rows, children), own

    def select(self, key, state, fitness, hyperparameters, data):
        """The best of both survive."""

        def survive(rows, old, candidates, fitness):
            rows = jnp.concatenate([candidates, rows])
            values = jnp.concatenate([fitness, old])
            twice = jnp.tril(rows[:, None] == rows, -1) & (values > -jnp.inf)
            values = jnp.where(jnp.any(twice, axis=1), -jnp.inf, values)
            return fittest(rows, values, len(old))[:2]

        own = state.own
        survived = jax.vmap(survive)
        rows, kept = survived(own.rows, own.fitness, state.candidates, fitness)
        return own.replace(rows=rows, fitness=kept)

    def measures(self, state, data):
        """True rank of what crossed over from other tasks."""
        return {"transferred_rank": state.own.transferred_rank}
