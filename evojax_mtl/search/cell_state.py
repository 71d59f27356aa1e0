"""What changes in a search of cells.

Shape legend: ``T`` tasks, ``G`` populations, ``N`` individuals of a population, ``C``
candidates.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.balanced_training import Balance
from evojax_mtl.evaluation.cell_training import System
from evojax_mtl.pytrees import Pytree


class CellTally(Pytree):
    """Sums over the current generation.

    Attributes:
      loss: of the training steps (nats).
      skipped: steps whose gradient was not finite, which changed nothing.
      evaluations: candidates measured so far.
      right: validation images that each candidate classifies right.
      seen: those with a label.
      finite: candidates whose outputs were.
      whole_right: of the best individuals, over their whole validation split.
      whole_seen: likewise.
    """

    loss: Float[Array, ""]
    skipped: Int[Array, ""]
    evaluations: Int[Array, ""]
    right: Int[Array, "T C"]
    seen: Int[Array, "T C"]
    finite: Bool[Array, "T C"]
    whole_right: Int[Array, "T"]
    whole_seen: Int[Array, "T"]


def no_tally(tasks: int, candidates: int) -> CellTally:
    """Nothing measured."""
    shape = (tasks, candidates)
    zero = jnp.zeros((), jnp.int32)
    return CellTally(
        loss=jnp.zeros((), jnp.float32),
        skipped=zero,
        evaluations=zero,
        right=jnp.zeros(shape, jnp.int32),
        seen=jnp.zeros(shape, jnp.int32),
        finite=jnp.ones(shape, bool),
        whole_right=jnp.zeros((tasks,), jnp.int32),
        whole_seen=jnp.zeros((tasks,), jnp.int32),
    )


class Kept(Pytree):
    """The systems with the best accuracy so far, their genomes and accuracies."""

    params: Any
    statistics: Any
    genome: Int[Array, "T 2 5 4"]
    accuracy: Float[Array, "T"]


class CellState(Pytree):
    """Everything that changes.

    Attributes:
      key: of the whole search; each use folds in generation and tick.
      generation: completed generations.
      system: weights, momentum, statistics.
      parents: the populations, best first.
      fitness: of the parents.
      candidates: of this generation.
      tally: sums over the current generation.
      kept: what would be tested.
      own: what the method remembers.
      balance: of the balancing method; None without one.
    """

    key: Array
    generation: Int[Array, ""]
    system: System
    parents: Int[Array, "G N 2 5 4"]
    fitness: Float[Array, "G N"]
    candidates: Int[Array, "G C 2 5 4"]
    tally: CellTally
    kept: Kept
    own: Any
    balance: Balance | None = None

    @property
    def params(self) -> Any:
        """All weights."""
        return self.system.params
