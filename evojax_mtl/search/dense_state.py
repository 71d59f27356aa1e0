"""What changes in a search on scenes.

Shape legend: ``T`` tasks.
"""

from typing import Any

from jaxtyping import Array, Float, Int

from evojax_mtl.evaluation.conflicts import Conflicts
from evojax_mtl.evaluation.dense_metrics import DenseTally
from evojax_mtl.evaluation.dense_training import DenseSystem
from evojax_mtl.pytrees import Pytree


class DenseSums(Pytree):
    """Sums over the current generation.

    Attributes:
      losses: of the training steps.
      weights: of the tasks, where the balancing has them; of groups of weights their
        mean.
      skipped: steps that changed nothing.
      left_out: tasks that were left out of steps.
      conflicting: pairs of tasks whose whole gradients conflict.
      conflicts: of the tasks at each stage, where they are looked for; else None.
      measured: of the validation split.
    """

    losses: Float[Array, "T"]
    weights: Float[Array, "T"]
    skipped: Int[Array, ""]
    left_out: Int[Array, ""]
    conflicting: Int[Array, ""]
    conflicts: Conflicts | None
    measured: DenseTally


class DenseState(Pytree):
    """Everything that changes.

    Attributes:
      key: of the whole search; each use folds in generation and tick.
      generation: completed generations.
      system: weights, moments, the balancing's state.
      architecture: of the network.
      sums: of the current generation.
    """

    key: Array
    generation: Int[Array, ""]
    system: DenseSystem
    architecture: Any
    sums: DenseSums

    @property
    def params(self) -> dict[str, Any]:
        """All weights."""
        return self.system.params
