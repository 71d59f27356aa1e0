"""Random search on tables: architectures drawn uniformly, none twice.

Each task goes through a random order of all architectures, ``batch`` a generation. So
the best of ``A`` is found, where ``n`` are equally good, after ``(A + 1) / (n + 1)``
evaluations on average.

Shape legend: ``T`` tasks, ``A`` architectures, ``B`` a batch of them.
"""

import jax
import jax.numpy as jnp

from evojax_mtl.evaluation.tabular import NOTHING
from evojax_mtl.search.tabular import TableSearch


class RandomSearch(TableSearch):
    """The search protocol for random search; ``own`` is the order, ``(T, A + B)``."""

    method = "random-search"

    def begin(self, key, hyperparameters, data):
        """A random order of each task."""
        keys = jax.random.split(key, self.tasks)
        permute = jax.vmap(lambda key: jax.random.permutation(key, self.architectures))
        end = jnp.full((self.tasks, self.config.batch), NOTHING, jnp.int32)
        return jnp.concatenate([permute(keys).astype(jnp.int32), end], axis=1)

    def propose(self, key, state, hyperparameters, data):
        """The next ones of each order."""
        start = state.generation * self.config.batch
        rows = jax.lax.dynamic_slice_in_dim(state.own, start, self.config.batch, 1)
        return rows, state.own

    def select(self, key, state, fitness, hyperparameters, data):
        """Nothing to select."""
        return state.own
