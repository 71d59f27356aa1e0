"""What changes in a search of cells.

Shape legend: ``T`` tasks, ``G`` populations, ``N`` individuals of a population.
"""

from typing import Any

from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.cell_training import System
from evojax_mtl.pytrees import Pytree


class CellTally(Pytree):
    """Sums over the current generation.

    Attributes:
      loss: of the training steps (nats).
      skipped: steps whose gradient was not finite, which changed nothing.
      right: validation images that each candidate classifies right.
      seen: those with a label.
      finite: candidates whose outputs were.
      whole_right: of the best individuals, over their whole validation split.
      whole_seen: likewise.
    """

    loss: Float[Array, ""]
    skipped: Int[Array, ""]
    right: Int[Array, "T N"]
    seen: Int[Array, "T N"]
    finite: Bool[Array, "T N"]
    whole_right: Int[Array, "T"]
    whole_seen: Int[Array, "T"]


class Kept(Pytree):
    """The systems with the best accuracy so far, their genomes and accuracies."""

    params: Any
    statistics: Any
    genome: Int[Array, "T 2 5 4"]
    accuracy: Float[Array, "T"]


class EMTNASState(Pytree):
    """Everything that changes.

    Attributes:
      key: of the whole search; each use folds in generation and tick.
      generation: completed generations.
      system: weights, momentum, statistics.
      parents: the populations, best first.
      fitness: of the parents.
      children: the candidates of this generation.
      inherited: fitness of the parent that Eq. 2 takes for each candidate.
      tally: sums over the current generation.
      kept: what would be tested.
    """

    key: Array
    generation: Int[Array, ""]
    system: System
    parents: Int[Array, "G N 2 5 4"]
    fitness: Float[Array, "G N"]
    children: Int[Array, "G N 2 5 4"]
    inherited: Float[Array, "G N"]
    tally: CellTally
    kept: Kept

    @property
    def params(self) -> Any:
        """All weights."""
        return self.system.params
