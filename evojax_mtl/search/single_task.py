"""Single-task training: for each task a chain of modules of its own (Liang 2018, 4).

The modules are those of soft ordering and CTR; nothing is shared, so each task keeps
the weights of its own best validation accuracy rather than the whole system those of
the best mean.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evojax_mtl.architectures.table import Architecture
from evojax_mtl.genomes import routings
from evojax_mtl.search.routed import RoutedSearch
from evojax_mtl.search.routed_state import RoutedState, Snapshot


class SingleTask(RoutedSearch):
    """One chain a task; ``config`` is a ``SingleTaskConfig``."""

    method = "single-task"

    def initial_genome(self) -> dict[str, Any]:
        """Nothing evolves."""
        return {}

    def slots(self) -> int:
        """Own weights for every position of every chain."""
        return self.tasks * self.config.depth

    def architecture(self, genome: dict[str, Any]) -> Architecture:
        """Slot ``t * D + d`` is position ``d`` of task ``t``'s chain."""
        depth = self.config.depth
        one = routings.decode(routings.chain(self.size, depth, depth, 0))
        stacked = jax.tree.map(
            lambda x: np.broadcast_to(x, (self.networks, *x.shape)), one
        )
        offset = np.arange(self.networks, dtype=np.int32)[:, None] * depth
        return stacked.replace(slot=stacked.slot + offset)

    def merge_shape(self, genome: dict[str, Any]) -> tuple[int, ...]:
        """Chains merge nothing: the scale of each edge has no effect."""
        return (self.networks, self.config.depth + 1)

    def keep(
        self, best: Snapshot, state: RoutedState, fitness: Float[Array, "T"]
    ) -> Snapshot:
        """Each task's weights of its own best fitness."""
        better = fitness > best.fitness

        def pick(new: Array, old: Array) -> Array:
            # every weight belongs to one task; tasks lead each leaf
            shape = (self.tasks, -1, *new.shape[1:])
            chosen = better.reshape(-1, *[1] * new.ndim)
            mixed = jnp.where(chosen, new.reshape(shape), old.reshape(shape))
            return mixed.reshape(new.shape)

        return Snapshot(
            params=jax.tree.map(pick, state.params, best.params),
            genome=state.genome,
            fitness=jnp.maximum(fitness, best.fitness),
        )
