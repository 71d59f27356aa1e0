"""Local search on tables, best first, with transfer of incumbents: a plain baseline.

The first architecture of a task is random. After that, a generation is one evaluation a
task, the first that there is of:

1. the best architecture of another task, not evaluated on this one yet (the tasks in
   turn);
2. the neighbour of the best architecture on this task that the proxy puts highest, of
   those not evaluated; where all are, of the next best one that was evaluated.

Shape legend: ``T`` tasks, ``A`` architectures, ``B`` evaluated ones that are kept in
mind, best first.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.evaluation.tabular import NOTHING
from evojax_mtl.evolution.tabular import best_of
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.tabular import TableSearch


class Frontier(Pytree):
    """The best evaluated architectures of each task, the best first.

    Attributes:
      rows: the architectures, ``NOTHING`` where there is none.
      fitness: of them.
    """

    rows: Int[Array, "T B"]
    fitness: Float[Array, "T B"]


class LocalSearch(TableSearch):
    """The search protocol for local search."""

    method = "local-search"

    def begin(self, key, hyperparameters, data):
        """Nothing was evaluated."""
        shape = (self.tasks, self.config.beam)
        return Frontier(
            rows=jnp.full(shape, NOTHING, jnp.int32),
            fitness=jnp.full(shape, -jnp.inf, jnp.float32),
        )

    def propose(self, key, state, hyperparameters, data):
        """One architecture of each task."""
        chance = jax.random.uniform(key, (self.tasks, 1 + self.config.beam))
        best = state.archive.best

        def one(task, chance, frontier, seen, proxy):
            elsewhere = jnp.roll(best, -task)[1:]
            wanted = ~seen[elsewhere]
            transferred = elsewhere[jnp.argmax(wanted)] if self.tasks > 1 else NOTHING
            near = data.neighbours[frontier]
            free = (near >= 0) & ~seen[near] & (frontier != NOTHING)[:, None]
            first = jnp.argmax(jnp.any(free, axis=1))
            own = near[
                first, best_of(chance[1 + first], proxy[near[first]], free[first])
            ]
            # all that is in mind is used up: begin anew
            anywhere = jnp.floor(chance[0] * self.architectures).astype(jnp.int32)
            own = jnp.where(jnp.any(free), own, anywhere)
            return jnp.where(jnp.any(wanted), transferred, own)

        rows = jax.vmap(one)(
            jnp.arange(self.tasks),
            chance,
            state.own.rows,
            state.archive.seen,
            data.proxy,
        )
        random = jnp.floor(chance[:, 0] * self.architectures).astype(jnp.int32)
        return jnp.where(state.generation == 0, random, rows)[:, None], state.own

    def select(self, key, state, fitness, hyperparameters, data):
        """The evaluated one takes its place."""
        rows = jnp.concatenate([state.own.rows, state.candidates], axis=1)
        values = jnp.concatenate([state.own.fitness, fitness], axis=1)
        rows = jnp.where(values > -jnp.inf, rows, NOTHING)
        values, order = jax.lax.top_k(values, self.config.beam)
        return Frontier(rows=jnp.take_along_axis(rows, order, 1), fitness=values)
