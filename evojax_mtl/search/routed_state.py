"""What changes in a search of routings.

Shape legend: ``T`` tasks, ``R`` resolutions.
"""

from typing import Any

from jaxtyping import Array, Float, Int

from evojax_mtl.evaluation.balanced_training import Balance
from evojax_mtl.evaluation.training import Tally
from evojax_mtl.pytrees import Pytree, static


class Snapshot(Pytree):
    """A system worth keeping: weights, genomes, and the champions' fitness."""

    params: Any
    genome: Any
    fitness: Float[Array, "T"]


class RoutedState(Pytree):
    """Everything that changes.

    Attributes:
      key: of the whole search; each use folds in generation and tick.
      generation: completed generations.
      params: weights of modules, merges and decoders.
      optimizer: the optimiser's state.
      genome: what the method evolves, ``(T, I, ...)``.
      tally: sums over the current generation.
      best: the last system kept.
      room: rows per resolution that the champions and their copies need on the
        fullest device, or of the largest task.
      capacities: rows per resolution that each device has; each task, where tasks are
        balanced and so run one after the other.
      balance: of the balancing method; None without one.
    """

    key: Array
    generation: Int[Array, ""]
    params: Any
    optimizer: Any
    genome: Any
    tally: Tally
    best: Snapshot
    room: Int[Array, "R"]
    capacities: tuple[int, ...] = static()
    balance: Balance | None = None
