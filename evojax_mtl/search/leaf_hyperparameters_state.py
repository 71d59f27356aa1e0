"""What changes in LEAF's search of hyperparameters.

Shape legend: ``P`` individuals, ``F`` genes, ``T`` tasks.
"""

from typing import Any

from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.text_training import TextTally
from evojax_mtl.evolution.front import Front
from evojax_mtl.pytrees import Pytree


class Result(Pytree):
    """A trained network.

    Attributes:
      values: its table, a point of the unit cube.
      genes: what it stands for, by name.
      weights: of the network.
      scores: validation accuracy of each task, 0 where its outputs are not finite.
    """

    values: Float[Array, "F"]
    genes: dict[str, Array]
    weights: Any
    scores: Float[Array, "T"]


class LEAFState(Pytree):
    """Everything that changes.

    Attributes:
      key: of the whole search; each use folds in generation and tick.
      generation: completed generations.
      strategy: the strategy's own.
      values: tables of the population.
      scores: of each individual that was scored in this generation.
      failed: those whose outputs are not all finite.
      losses: sum of each individual's, over training iterations and tasks (nats).
      skipped: training iterations of each that changed nothing.
      weights: of the individual at hand.
      optimizer: its moments.
      tally: of the individual at hand.
      best: of the whole search.
      front: the tables of all networks so far that no other dominates.
    """

    key: Array
    generation: Int[Array, ""]
    strategy: Any
    values: Float[Array, "P F"]
    scores: Float[Array, "P T"]
    failed: Bool[Array, "P"]
    losses: Float[Array, "P"]
    skipped: Int[Array, "P"]
    weights: Any
    optimizer: Any
    tally: TextTally
    best: Result
    front: Front

    @property
    def params(self) -> Any:
        """The weights of the result."""
        return self.best.weights
