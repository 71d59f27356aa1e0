"""What searches share that evaluate what an accuracy predictor promises most.

Shape legend: ``T`` tasks, ``A`` architectures, ``I`` first architectures, ``C``
candidates.

1. Generation 0 evaluates ``initial`` random architectures of each task, all different.
2. Each later one trains the predictor anew, a task on its own, on the last
   ``remembered`` evaluations, and scores all architectures.
3. Of the ``top`` by score that were not evaluated yet, ``batch`` drawn at random are
   evaluated; all of them where ``top`` is ``batch``.
"""

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from evojax_mtl.evaluation.accuracy_predictors import (
    AccuracyPredictor,
    expected_fitness,
)
from evojax_mtl.evaluation.table_predictor import Log, add, no_log
from evojax_mtl.evaluation.tabular import NOTHING, TableData
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.tabular import TableSearch


class Known(Pytree):
    """What the search remembers.

    Attributes:
      first: architectures of generation 0.
      log: evaluations that the predictor learns from.
    """

    first: Int[Array, "T I"]
    log: Log


class PredictedSearch(TableSearch):
    """The search protocol; a method gives predictor, inputs and ``top``."""

    predictor: AccuracyPredictor
    top: int

    @abstractmethod
    def inputs(self, data: TableData) -> Any:
        """What the predictor sees of all architectures."""

    def begin(self, key, hyperparameters, data):
        """Random architectures, and an empty log."""
        initial = min(self.config.initial, self.architectures)
        chance = jax.random.uniform(key, (self.tasks * self.architectures,))
        _, first = jax.lax.top_k(chance.reshape(self.tasks, -1), initial)
        return Known(first=first, log=no_log(self.tasks, self.config.remembered))

    def propose(self, key, state, hyperparameters, data):
        """The first ones; later, from the top by score."""
        keys = jax.random.split(key, 1 + self.tasks)
        rates, config = hyperparameters, self.config
        inputs, log = self.inputs(data), state.own.log

        def score(key, rows, fitness):
            return expected_fitness(
                key,
                self.predictor,
                inputs,
                rows,
                fitness,
                rates["learning_rate"],
                rates["weight_decay"],
                steps=config.steps,
                batch=config.examples,
            )

        scores = jax.vmap(score)(keys[1:], log.rows, log.fitness)
        scores = jnp.where(state.archive.seen.every(), -jnp.inf, scores)
        values, rows = jax.lax.top_k(scores, min(self.top, self.architectures))
        rows = jnp.where(values > -jnp.inf, rows, NOTHING)
        if self.top > config.batch:
            chance = jax.random.uniform(keys[0], rows.shape)
            chance = jnp.where(rows == NOTHING, -1, chance)
            _, chosen = jax.lax.top_k(chance, min(config.batch, rows.shape[1]))
            rows = jnp.take_along_axis(rows, chosen, axis=1)
        width = max(state.own.first.shape[1], rows.shape[1])

        def padded(x):
            room = ((0, 0), (0, width - x.shape[1]))
            return jnp.pad(x, room, constant_values=NOTHING)

        start = state.generation == 0
        return jnp.where(start, padded(state.own.first), padded(rows)), state.own

    def select(self, key, state, fitness, hyperparameters, data):
        """The log with the new evaluations."""
        return state.own.replace(log=add(state.own.log, state.candidates, fitness))

    def measures(self, state, data):
        """Mean true rank of the candidates, 1 the best."""
        there = state.candidates != NOTHING
        order = jnp.take_along_axis(data.order, state.candidates, axis=1) + 1.0
        count = jnp.maximum(jnp.sum(there, axis=1), 1)
        return {"candidates_rank": jnp.sum(order * there, axis=1) / count}
