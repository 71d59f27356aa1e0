"""Static choices of searches on tables, their bounds and presets. Imports no JAX."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from evojax_mtl.configs import Presets, SearchConfig, at_most, option
from evojax_mtl.errors import UserError
from evojax_mtl.transfer_configs import (
    AdaptiveTransferConfig,
    TransferRankConfig,
    WalksConfig,
)


@dataclass(frozen=True)
class TableConfig(SearchConfig):
    """What all searches on tables share.

    Raises:
      UserError: if a field is out of its bounds.
    """

    presets: ClassVar[Presets] = {
        "tiny": {"generations": 20},
        "smoke": {"generations": 60},
        "laptop": {},
        "study": {},
        "paper": {},
    }

    max_tasks: int | None = option(None, low=1)
    """Use the source's first tasks only; None uses all (tasks)."""


@dataclass(frozen=True)
class RandomSearchConfig(TableConfig):
    """Architectures drawn uniformly, none twice."""

    batch: int = option(10, low=1)
    """Evaluated at a time (architectures a task and generation)."""


@dataclass(frozen=True)
class PoolConfig(TableConfig):
    """Regularised evolution of a pool of each task."""

    presets: ClassVar[Presets] = {
        "tiny": {"generations": 60},
        "smoke": {"generations": 200},
        "laptop": {"generations": 1000},
        "study": {"generations": 1000},
        "paper": {"generations": 1000},
    }

    population: int = option(10, low=2)
    """Architectures in the pool of a task (architectures)."""

    tournament: int = option(5, low=1)
    """Drawn from the pool, the best of which is the parent (architectures)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        at_most("tournament", self.tournament, self.population)


@dataclass(frozen=True)
class ProxyConfig(TableConfig):
    """What architectures promise without being evaluated."""

    proxy: Literal["auto", "synflow", "multiply-adds", "none"] = option("auto")
    """What a search knows of architectures that are not evaluated; auto: synflow on the
    cells of NAS-Bench-201, multiply-adds elsewhere (a name)."""


@dataclass(frozen=True)
class EmbeddingConfig(WalksConfig, TableConfig):
    """Vectors of architectures."""

    embedding: Literal["node2vec", "arch2vec", "cate", "one-hot"] = option("node2vec")
    """Vectors of architectures that distances are measured in (a name)."""

    dimensions: int | None = option(None, low=1)
    """Of the vectors, for CATE a multiple of 4; None: 256 of node2vec, 128 of arch2vec,
    64 of CATE (dimensions)."""

    embedded: int = option(20000, low=1)
    """Architectures that the embedding is trained on, drawn at random where the space
    has more (architectures)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        if self.embedding == "cate" and (self.dimensions or 0) % 4:
            raise UserError(
                f"--dimensions: found {self.dimensions}, must be a multiple of 4 with "
                "--embedding cate"
            )


@dataclass(frozen=True)
class REAConfig(PoolConfig):
    """Regularised evolution, each task on its own."""


@dataclass(frozen=True)
class KTNASConfig(EmbeddingConfig, ProxyConfig, TransferRankConfig, PoolConfig):
    """KTNAS: transfer between tasks chosen by transfer rank."""

    presets: ClassVar[Presets] = {
        "tiny": {
            "generations": 10,
            "ranking_ratio": 0.8,
            "proxy": "multiply-adds",
            "predictor": "on",
            "evaluated": 4,
            "remembered": 16,
            "embedding": "one-hot",
        },
        "smoke": {
            "generations": 60,
            "proxy": "multiply-adds",
            "embedded": 500,
            "walks": 4,
        },
        "laptop": {},
        "study": {},
        "paper": {},
    }

    skip: Literal["off", "on"] = option("off")
    """on: nothing is transferred while no candidate's rank is above 0, as the journal
    version says (a name)."""

    offspring: int = option(2, low=0)
    """Mutants of the task's own population (architectures a generation)."""

    screened: int = option(1, low=0)
    """Children of each transferred architecture: the best by the proxy of itself and
    its one-edit neighbours that are not evaluated yet (architectures)."""

    survival: Literal["best", "age"] = option("best")
    """best: the top of population and children; age: the youngest of them, as in
    regularised evolution (a name)."""

    predictor: Literal["off", "on", "gcn"] = option("off")
    """on: children are screened by a Gaussian process on the embeddings, fitted to the
    evaluations of all tasks, whose prior is the proxy. gcn: by a graph-convolutional
    predictor of each task, as the paper does on TransNAS-Bench-101 (a name)."""

    evaluated: int | None = option(None, low=1)
    """With the predictor: evaluate the best by it of a generation's children only;
    None: all (architectures a generation)."""

    remembered: int = option(64, low=2)
    """With the predictor: evaluations of each task that it learns from, the last ones
    (architectures)."""

    steepness: float = option(3.0, low=0.0, traced=True)
    """Of the predictor's covariance, by the mean distance (factor)."""

    relation: float = option(0.9, low=0.0, high=1.0, traced=True)
    """Covariance of two tasks in the predictor (fraction)."""

    noise: float = option(0.1, low=1e-4, traced=True)
    """Variance of the predictor's targets beside the architectures' (variance)."""

    trust: float = option(1.0, low=0.0, traced=True)
    """Weight of the proxy in the predictor's prior (factor)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        at_most("transferred", self.transferred, self.population)
        if self.offspring == self.screened == 0:
            raise UserError(
                "--screened: found 0, must be at least 1 with --offspring 0"
            )
        if self.evaluated is not None and self.predictor == "off":
            raise UserError(
                f"--evaluated: found {self.evaluated}, must be with --predictor on or "
                "gcn"
            )


@dataclass(frozen=True)
class EMTNASTableConfig(TableConfig):
    """EMT-NAS on tables: one multifactorial population a task."""

    presets: ClassVar[Presets] = {
        "tiny": {"generations": 20},
        "smoke": {"generations": 60},
        "laptop": {},
        "study": {},
        "paper": {},
    }

    population: int = option(10, low=2)
    """Individuals a task (architectures)."""

    random_mating: float = option(0.3, low=0.0, high=1.0, traced=True)
    """RMP, that parents of two tasks cross (probability)."""

    crossover: float = option(1.0, low=0.0, high=1.0, traced=True)
    """CP, that parents of one task cross (probability)."""

    mutation: float = option(0.1, low=0.0, high=1.0, traced=True)
    """MP, that a gene of a child becomes any of its values (probability)."""


@dataclass(frozen=True)
class LocalSearchConfig(ProxyConfig):
    """Best-first local search of each task, with transfer of incumbents."""

    presets: ClassVar[Presets] = {
        "tiny": {"generations": 60},
        "smoke": {"generations": 120},
        "laptop": {"generations": 400},
        "study": {"generations": 400},
        "paper": {"generations": 400},
    }

    beam: int = option(32, low=1)
    """Evaluated architectures whose neighbours may be next, the best ones
    (architectures)."""

    proxy: Literal["auto", "synflow", "multiply-adds", "none"] = option("multiply-adds")
    """What orders the neighbours (a name)."""


@dataclass(frozen=True)
class MTNASConfig(AdaptiveTransferConfig, ProxyConfig, PoolConfig):
    """MTNAS: regularised evolution, and transfer by proxy when it pays."""

    presets: ClassVar[Presets] = {
        "tiny": {"generations": 180, "proxy": "multiply-adds", "diversity": 0.05},
        "smoke": {"generations": 500, "proxy": "multiply-adds"},
        "laptop": {"generations": 1000},
        "study": {"generations": 1000},
        "paper": {"generations": 1000},
    }

    turn: int = option(10, low=1)
    """Evaluations of a task in its turn (architectures)."""

    diversity: float = option(0.001, low=0.0, traced=True)
    """What a differing gene of a pair in the pool speaks for self-evolution (score)."""


@dataclass(frozen=True)
class ZeroCostConfig(TableConfig):
    """Architectures in the order of a proxy."""

    presets: ClassVar[Presets] = {
        "tiny": {"generations": 5, "proxy": "multiply-adds"},
        "smoke": {"generations": 60, "proxy": "multiply-adds"},
        "laptop": {},
        "study": {},
        "paper": {},
    }

    batch: int = option(10, low=1)
    """Evaluated at a time (architectures a task and generation)."""

    proxy: Literal["auto", "synflow", "multiply-adds"] = option("auto")
    """What orders the architectures; auto: synflow on the cells of NAS-Bench-201,
    multiply-adds elsewhere (a name)."""


@dataclass(frozen=True)
class PredictedConfig(TableConfig):
    """What searches by an accuracy predictor share."""

    presets: ClassVar[Presets] = {
        "tiny": {
            "generations": 6,
            "initial": 20,
            "steps": 40,
            "width": 16,
            "layers": 1,
        },
        "smoke": {"generations": 20},
        "laptop": {"generations": 40},
        "study": {},
        "paper": {},
    }

    initial: int = option(50, low=2)
    """Random architectures of generation 0 (architectures a task)."""

    batch: int = option(10, low=1)
    """Evaluated in each later generation (architectures a task)."""

    remembered: int = option(500, low=2)
    """Evaluations of each task that the predictor learns from, the last ones
    (architectures)."""

    width: int = option(32, low=1)
    """Of the predictor's layers (channels)."""

    layers: int = option(2, low=1)
    """Of the predictor: graph convolutions, or hidden layers (layers)."""

    steps: int = option(100, low=1)
    """Training of the predictor in a generation (steps)."""

    examples: int = option(16, low=1)
    """Evaluated architectures in a step of training (architectures)."""

    learning_rate: float = option(0.01, low=0.0, traced=True)
    """Of the predictor's first step; falls to 0 by a cosine (per step)."""

    weight_decay: float = option(1e-3, low=0.0, traced=True)
    """Factor of half the sum of the predictor's squared weights in the loss
    (factor)."""


@dataclass(frozen=True)
class GCNPredictorConfig(PredictedConfig):
    """The best by a graph-convolutional predictor are evaluated."""


@dataclass(frozen=True)
class WeakNASConfig(PredictedConfig):
    """WeakNAS: some of the best by a weak predictor are evaluated."""

    width: int = option(64, low=1)
    """Of the predictor's layers (channels)."""

    top: int = option(100, low=1)
    """The best by the predictor, among which the batch is drawn (architectures)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        at_most("batch", self.batch, self.top, of="top")
