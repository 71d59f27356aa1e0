"""Static choices of searches of cells, their bounds and presets. Imports no JAX."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from evojax_mtl.configs import (
    SCALES,
    ImageConfig,
    Presets,
    at_most,
    check_balancing,
    option,
)
from evojax_mtl.errors import UserError
from evojax_mtl.transfer_configs import (
    AdaptiveTransferConfig,
    TransferRankConfig,
    WalksConfig,
)

_BRIEF = {"drop_path_from": 1, "crop": 2}
# ``paper`` keeps the defaults, which are the papers'.
_CELLS: Presets = {
    "tiny": _BRIEF
    | {
        "channels": 4,
        "population": 6,
        "statistics": "batch",
        "batches": 20,
        "batch": 12,
        "evaluation_batch": 16,
        "generations": 3,
        "image_size": 6,
        "max_tasks": 2,
        "crop": 0,
        "flip": "off",
    },
    "smoke": _BRIEF
    | {
        "image_size": 14,
        "channels": 8,
        "population": 6,
        "statistics": "batch",
        "batches": 12,
        "batch": 32,
        "evaluation_batch": 100,
        "generations": 5,
        "max_tasks": 4,
    },
    "laptop": _BRIEF
    | {
        "channels": 8,
        "population": 10,
        "batches": 30,
        "batch": 64,
        "evaluation_batch": 250,
        "generations": 16,
        "max_tasks": 4,
    },
    "study": _BRIEF
    | {
        "channels": 12,
        "population": 16,
        "batches": 40,
        "batch": 64,
        "evaluation_batch": 250,
        "generations": 40,
        "max_tasks": 4,
    },
    "paper": {},
}


def _presets(**changes: dict[str, Any]) -> Presets:
    """Those of all searches of cells, with changes by scale."""
    return {scale: _CELLS[scale] | changes.get(scale, {}) for scale in SCALES}


@dataclass(frozen=True)
class CellConfig(ImageConfig):
    """What searches of cells share.

    Raises:
      UserError: if a field is out of its bounds.
    """

    presets: ClassVar[Presets] = _CELLS

    generations: int = option(300, low=1, extends=True)
    """Length of the search (generations)."""

    channels: int = option(20, low=1)
    """Channels of the first of three stacks of cells, doubled twice (channels)."""

    repeats: int = option(1, low=1)
    """Normal cells in a row (cells)."""

    population: int = option(20, low=2)
    """Individuals a task (individuals)."""

    crossover: float = option(1.0, low=0.0, high=1.0, traced=True)
    """CP, that parents of one task cross (probability)."""

    mutation: float = option(0.02, low=0.0, high=1.0, traced=True)
    """MP, that an integer of a child changes (probability)."""

    mutation_kind: Literal["uniform", "step"] = option("uniform")
    """uniform: to any candidate, as the paper says; step: by one, with wrap-around, as
    the authors' code does (a name)."""

    batches: int | None = option(None, low=1)
    """Training of each task in a generation; None: one epoch (mini-batches)."""

    batch: int = option(128, low=1)
    """Training batch (examples)."""

    evaluation_batch: int = option(1000, low=1)
    """Validation batch that an individual is scored on (examples)."""

    accuracy: Literal["batch", "running"] = option("batch")
    """batch: an individual's own; running: over it and those before it, as the
    authors' code does (a name)."""

    statistics: Literal["running", "batch"] = option("running")
    """Whose mean and variance batch norms use in evaluation (a name)."""

    learning_rate: float = option(0.1, low=0.0, traced=True)
    """Of SGD in the first generation; falls to 0 by a cosine (per training step)."""

    momentum: float = option(0.9, low=0.0, below=1.0, traced=True)
    """Nesterov momentum (fraction)."""

    weight_decay: float = option(1e-4, low=0.0, traced=True)
    """Of the weights that an individual uses (per training step)."""

    dropout: float = option(0.1, low=0.0, below=1.0, traced=True)
    """Probability that a feature is dropped before the classifier (fraction)."""

    drop_path: float = option(0.1, low=0.0, below=1.0, traced=True)
    """Probability that an edge of a cell is dropped for a batch (fraction)."""

    drop_path_from: int = option(50, low=0, traced=True)
    """Generation, counted from 0, that drop-path begins with (generations)."""

    crop: int = option(4, low=0)
    """Padding of random crops in training; 0: none (pixels)."""

    flip: Literal["on", "off"] = option("on")
    """Whether training images are flipped left to right at random (a name)."""


@dataclass(frozen=True)
class EMTNASConfig(CellConfig):
    """EMT-NAS: a cell architecture a task, evolved in one multifactorial population."""

    presets: ClassVar[Presets] = _presets(tiny={"random_mating": 1.0})

    tasking: Literal["multi", "single", "joint"] = option("multi")
    """multi: architectures mate across tasks, weights are each task's own. single:
    tasks neither mate nor share. joint: tasks share the supernet's weights (a name)."""

    architectures: Literal["personal", "shared"] = option("personal")
    """shared: with joint tasking, one population whose fitness is the mean over the
    tasks (a name)."""

    balancing: str | None = option(None)
    """With joint tasking, how the tasks' gradients of the shared supernet make one
    update, of those that ``evojax-mtl list balancing`` names; each step then takes a
    mini-batch of every task. None: the tasks take turns (a name)."""

    reevaluation: Literal["on", "off"] = option("on")
    """Whether a child's fitness is drawn towards its parent's, Eq. 2 (a name)."""

    random_mating: float = option(0.3, low=0.0, high=1.0, traced=True)
    """RMP, that parents of two tasks cross; they never meet where tasking is single
    (probability)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        if self.architectures == "shared" and self.tasking != "joint":
            raise UserError(
                f"--architectures: found shared with --tasking {self.tasking}, must be "
                "with --tasking joint"
            )
        check_balancing(self.balancing)
        if self.balancing is not None and self.tasking != "joint":
            raise UserError(
                f"--balancing: found {self.balancing} with --tasking {self.tasking}, "
                "whose tasks share no weights; must be with --tasking joint"
            )


@dataclass(frozen=True)
class TournamentConfig(CellConfig):
    """Parents that win tournaments."""

    tournament: int = option(2, low=1)
    """Individuals drawn, the best of which is a parent (individuals)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        at_most("tournament", self.tournament, self.population)


@dataclass(frozen=True)
class KTNASCellConfig(WalksConfig, TransferRankConfig, TournamentConfig):
    """KTNAS on cells: transfer between tasks chosen by transfer rank."""

    presets: ClassVar[Presets] = _presets(
        tiny={"embedding": "one-hot", "transferred": 2, "ranking_ratio": 0.7},
        smoke={"embedded": 500, "walks": 4},
        laptop={"embedded": 2000},
        study={"embedded": 2000},
    )

    embedding: Literal["node2vec", "one-hot"] = option("node2vec")
    """Vectors of cells that distances are measured in; one-hot: a place for each
    operation at each position (a name)."""

    dimensions: int | None = option(None, low=1)
    """Of node2vec's vectors; None: 256 (dimensions)."""

    embedded: int = option(10000, low=1)
    """Random cells that node2vec walks on (architectures)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        at_most("transferred", self.transferred, self.population)


@dataclass(frozen=True)
class MTNASCellConfig(AdaptiveTransferConfig, TournamentConfig):
    """MTNAS on cells: a population a task, and transfer by synflow when it pays."""

    presets: ClassVar[Presets] = _presets(tiny={"diversity": 0.002})

    diversity: float = option(3e-5, low=0.0, traced=True)
    """What a differing integer of a pair in the population speaks for self-evolution
    (score)."""
