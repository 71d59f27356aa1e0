"""Static choices of LEAF, and its presets; see ``configs``. Imports no JAX."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from evojax_mtl.codeepneat_configs import (
    BlueprintConfig,
    CMSRConfig,
    OneRoutingConfig,
)
from evojax_mtl.configs import SearchConfig, at_most, flag, option
from evojax_mtl.errors import UserError

_OF_NEAT = (
    "species",
    "survivors",
    "mutate",
    "deviation",
    "crossover",
    "truncation",
)


def _check_selection(config: Any, search: str) -> None:
    """Raises ``UserError`` for another search, or where nothing can be selected so."""
    if config.search != search:
        raise UserError(
            f"--search: found {config.search}, must be {search} with these tasks and "
            "fields"
        )
    if config.objective == "single" and config.front_order != "primary":
        raise UserError(
            f"--front-order: found {config.front_order} with --objective single, which "
            "ranks by accuracy alone; must be primary, or --objective multi"
        )
    if config.survivors == "all" and not config.truncation:
        raise UserError(
            f"--truncation: found {config.truncation} with --survivors all, which "
            "leaves no place for new individuals; must be above 0"
        )


@dataclass(frozen=True)
class FrontConfig(SearchConfig):
    """What all of LEAF's searches share.

    Raises:
      UserError: if a field is out of its bounds.
    """

    front_order: Literal["primary", "secondary"] = option("primary")
    """Objective that ranks within a Pareto front: the fitness, or the cost (a name)."""

    survivors: Literal["elites", "all"] = option("elites")
    """Who of each species survive as they are: its elites, or all but the worst F_l, in
    whose places alone new individuals come, as in Algorithm 2 (a name)."""


@dataclass(frozen=True)
class TextConfig(FrontConfig):
    """What LEAF's searches on texts share.

    Raises:
      UserError: if a field is out of its bounds.
    """

    generations: int = option(40, low=1, extends=True)
    """Length of the search (generations)."""

    max_tasks: int | None = option(None, low=1)
    """Use the source's first tasks only; None uses all (tasks)."""

    text_length: int | None = option(None, low=1)
    """Words that are kept of a text; None keeps as many as the source does (words)."""

    fewest_units: int = option(64, low=1)
    """Narrowest layers (units)."""

    units: int = option(192, low=1)
    """Widest layers (units)."""

    preprocessing: Literal["evolved", "none", "unit", "standardized"] = option(
        "evolved"
    )
    """Words' vectors are read as they are (none), each at length 1 (unit), or each
    text's by the mean and deviation of all its values (standardized); evolved: by each
    network in one of these ways (a name)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        at_most("fewest_units", self.fewest_units, self.units, "widest layers' units")


@dataclass(frozen=True)
class LEAFHyperparameterConfig(TextConfig):
    """LEAF on texts: the hyperparameters of a fixed network evolve.

    Raises:
      UserError: if a field is out of its bounds, or fields do not fit each other.
    """

    search: Literal["architecture", "hyperparameters"] = option("hyperparameters")
    """What evolves: architecture, with hyperparameters, or hyperparameters alone, those
    of a network whose layers are fixed (a name)."""

    objective: Literal["single", "multi"] = option("single")
    """What is selected for: accuracy, or accuracy and a low cost by Pareto fronts
    (a name)."""

    secondary: Literal["parameters", "flops"] = option("parameters")
    """The cost of a network: its weights, or its floating-point operations for one text
    (a name)."""

    strategy: str = option("neat")
    """How tables of hyperparameters evolve: neat, or a strategy of evosax (a name; see
    evojax-mtl list strategies)."""

    population: int = option(100, low=2)
    """Networks that are trained in a generation (networks)."""

    species: int = option(4, low=1)
    """Species that neat aims at (species)."""

    iterations: int | None = option(None, low=1)
    """Training of a network; None: as many as three epochs have (training
    iterations)."""

    batch: int = option(64, low=1)
    """Training batch (texts a task and iteration)."""

    evaluation_batch: int = option(128, low=1)
    """Validation and test batch; no result depends on it (texts a task)."""

    layers: int = option(5, low=1)
    """Convolutions, each with a pooling after it (layers)."""

    taps: int = option(3, low=1)
    """Window of the convolutions, odd (words)."""

    recurrent: Literal["lstm", "gru"] = option("lstm")
    """The layer after the convolutions (a name)."""

    buckets: int = option(2, low=1)
    """Widths that are computed, each half of the next; those between are masked
    (widths)."""

    most_dropout: float = option(0.5, low=0.0, below=1.0)
    """Largest rate of dropout (fraction)."""

    learning_range: float = option(10.0, low=1.0)
    """Networks evolve a learning rate from this part of ``learning_rate`` to so many
    times of it (factor)."""

    learning_rate: float = option(1e-3, low=0.0, traced=True)
    """Middle of the range of learning rates (per training iteration)."""

    mutate: float = option(0.2, low=0.0, high=1.0, traced=True)
    """Probability that a hyperparameter of a child changes, by neat (fraction)."""

    deviation: float = option(0.2, low=0.0, traced=True)
    """Deviation of the change of a number, by neat (parts of its range)."""

    crossover: float = option(0.5, low=0.0, high=1.0, traced=True)
    """Probability that a child has two parents, by neat (fraction)."""

    truncation: float = option(0.5, low=0.0, below=1.0, traced=True)
    """Worst of each species that have no children, F_l, by neat (fraction)."""

    def __post_init__(self) -> None:
        """Checks the bounds and what goes together."""
        super().__post_init__()
        _check_selection(self, "hyperparameters")
        if self.taps % 2 == 0:
            raise UserError(f"--taps: found {self.taps}, must be odd")
        if self.strategy == "neat":
            if self.population < self.species + 1:
                raise UserError(
                    f"--population: found {self.population}, must be at least "
                    f"{self.species + 1}, one more than --species"
                )
            return
        if self.objective == "multi":
            raise UserError(
                f"--objective: found multi with --strategy {self.strategy}, which has "
                "one objective; must be single, or --strategy neat"
            )
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            unasked = [fields.get(name) for fields in self.presets.values()]
            if name in _OF_NEAT and value not in (field.default, *unasked):
                raise UserError(
                    f"{flag(name)}: found {value} with --strategy "
                    f"{self.strategy}, which has none; must be left out, or "
                    "with --strategy neat"
                )


@dataclass(frozen=True)
class ArchitectureConfig(BlueprintConfig, FrontConfig):
    """What LEAF's searches of architectures share on all data.

    Raises:
      UserError: if a field is out of its bounds, or fields do not fit each other.
    """

    search: Literal["architecture", "hyperparameters"] = option("architecture")
    """What evolves: architecture, with hyperparameters, or, on texts, hyperparameters
    alone, those of a network whose layers are fixed (a name)."""

    objective: Literal["single", "multi"] = option("multi")
    """What is selected for: the fitness, or the fitness and a low cost by Pareto fronts
    (a name)."""

    secondary: Literal["parameters", "flops", "latency"] = option("parameters")
    """The cost of a network: its weights, its floating-point operations for one
    example, or the microseconds that it takes for one, measured, which differ from run
    to run (a name)."""

    modules: int = option(56, low=2)
    """Population of modules (modules)."""

    tables: int = option(22, low=2)
    """Population of blueprints (blueprints)."""

    initial_nodes: int = option(1, low=1)
    """Mean number of modules of the initial blueprints (modules)."""

    def __post_init__(self) -> None:
        """Checks the bounds and what goes together."""
        super().__post_init__()
        _check_selection(self, "architecture")


@dataclass(frozen=True)
class LEAFConfig(ArchitectureConfig, TextConfig):
    """LEAF on texts: architectures and hyperparameters of networks evolve.

    Raises:
      UserError: if a field is out of its bounds, or fields do not fit each other.
    """

    # texts need no longer training of the best networks (Liang 2019, 4.1)
    finals: ClassVar[int] = 0
    finalists: ClassVar[int] = 1
    decay_epochs: ClassVar[int] = 1

    iterations: int | None = option(None, low=1)
    """Training of a network; None: as many as three epochs have (training
    iterations)."""

    depth: int = option(5, low=1)
    """Poolings of a text on its way to the decoder, of those it is long enough for
    (poolings)."""

    buckets: int = option(2, low=1)
    """Widths that are computed, each half of the next; those between are masked
    (widths)."""

    most_dropout: float = option(0.5, low=0.0, below=1.0)
    """Largest rate that Dropout layers evolve (fraction)."""

    sharing: Literal["evolved", "on", "off"] = option("off")
    """Whether modules in several places share weights (a name)."""

    batch: int = option(64, low=1)
    """Batch, in training and evaluation (texts a task and iteration)."""

    add_node: float = option(0.05, low=0.0, high=1.0, traced=True)
    """Probability that a child gains a node (fraction)."""

    add_connection: float = option(0.05, low=0.0, high=1.0, traced=True)
    """Probability that a child gains a connection (fraction)."""


@dataclass(frozen=True)
class LEAFImageConfig(ArchitectureConfig, OneRoutingConfig):
    """LEAF on images: architectures and hyperparameters of networks evolve.

    Raises:
      UserError: if a field is out of its bounds, or fields do not fit each other.
    """

    fitness: Literal["accuracy", "auroc"] | None = option(None)
    """What fitness and results are: the accuracy, or the mean area under the ROC curve
    over a task's labels; None: the area where an image may have several labels, the
    accuracy elsewhere (a name)."""

    preprocessing: Literal["evolved", "none", "imagenet", "standardized"] = option(
        "evolved"
    )
    """Images are read from 0 to 1 (none), by the mean and deviation of ImageNet's
    channels (imagenet), or each by its own (standardized); evolved: by each network in
    one of these ways (a name)."""

    validation_batches: int | None = option(None, low=1)
    """Batches of the validation split that give fitness, the first ones; None takes all
    (batches)."""

    generations: int = option(41, low=1, extends=True)
    """Length of the search, the final training included (generations)."""

    finals: int = option(1, low=0)
    """The last generations, in which the best networks are trained longer
    (generations)."""

    finalists: int = option(10, low=1)
    """Best networks of the whole search that are trained longer (networks)."""

    decay_epochs: int = option(20, low=1)
    """Final training divides the learning rate by 10 after so many epochs, and again
    after as many (epochs)."""

    iterations: int | None = option(None, low=1)  # type: ignore[bad-override]
    """Training of a network; None: as many as eight epochs have (training
    iterations)."""

    largest_kernel: int = option(3, low=1, high=7)
    """Largest of the kernels 1, 3, 5 and 7 that layers may have, odd (pixels)."""

    fewest_filters: int = option(16, low=1)
    """Narrowest layer (channels)."""

    most_dropout: float = option(0.7, low=0.0, below=1.0)
    """Largest rate that Dropout layers evolve (fraction)."""

    batch: int = option(32, low=1)
    """Batch, in training and evaluation (images a task and iteration)."""

    add_node: float = option(0.08, low=0.0, high=1.0, traced=True)
    """Probability that a module's child gains a node (fraction)."""

    add_connection: float = option(0.08, low=0.0, high=1.0, traced=True)
    """Probability that a module's child gains a connection (fraction)."""

    add_blueprint_node: float = option(0.16, low=0.0, high=1.0, traced=True)
    """Probability that a blueprint's child gains a node (fraction)."""

    add_blueprint_connection: float = option(0.12, low=0.0, high=1.0, traced=True)
    """Probability that a blueprint's child gains a connection (fraction)."""


_TINY: dict[str, Any] = {
    "generations": 3,
    "max_tasks": 2,
    "population": 6,
    "species": 1,
    "iterations": 40,
    "batch": 16,
    "evaluation_batch": 48,
    "layers": 1,
    "recurrent": "gru",
    "fewest_units": 4,
    "units": 8,
    "buckets": 1,
    "most_dropout": 0.2,
    "learning_rate": 1e-2,
    "learning_range": 3.0,
}
_SMALL = _TINY | {
    "generations": 5,
    "max_tasks": None,
    "population": 8,
    "species": 2,
    "iterations": 60,
    "batch": 32,
    "evaluation_batch": 100,
    "layers": 2,
    "fewest_units": 8,
    "units": 32,
    "buckets": 2,
    "most_dropout": 0.5,
    "learning_range": 10.0,
}
_LARGE = _SMALL | {
    "generations": 10,
    "population": 16,
    "species": 3,
    "iterations": 150,
}
# ``paper``: Table 2 tells the networks of a generation, Table 3 the poolings and the
# ranges, Fig. 3 the generations
LEAFHyperparameterConfig.presets = {
    "tiny": _TINY,
    "smoke": _SMALL,
    "laptop": _LARGE,
    "study": _LARGE | {"generations": 20, "population": 24, "iterations": 300},
    "paper": {},
}

_TINY_NETWORKS: dict[str, Any] = {
    "generations": 3,
    "patience": 10,
    "max_tasks": 2,
    "networks": 4,
    "iterations": 40,
    "modules": 6,
    "species": 2,
    "tables": 4,
    "layers": 2,
    "nodes": 2,
    "depth": 1,
    "largest_kernel": 3,
    "fewest_units": 4,
    "units": 8,
    "buckets": 1,
    "most_dropout": 0.2,
    "batch": 16,
    "learning_rate": 1e-2,
    "learning_range": 2.0,
}
_SMALL_NETWORKS = _TINY_NETWORKS | {
    "generations": 5,
    "max_tasks": None,
    "text_length": 48,
    "networks": 8,
    "iterations": 60,
    "modules": 12,
    "species": 3,
    "tables": 6,
    "layers": 4,
    "nodes": 6,
    "initial_nodes": 2,
    "depth": 2,
    "fewest_units": 8,
    "units": 32,
    "most_dropout": 0.5,
    "batch": 32,
    "learning_range": 5.0,
    # few generations see networks grow too
    "add_node": 0.2,
    "add_connection": 0.1,
}
_LARGE_NETWORKS = _SMALL_NETWORKS | {
    "generations": 10,
    "text_length": None,
    "networks": 16,
    "iterations": 150,
    "modules": 20,
    "tables": 10,
    "nodes": 8,
    "depth": 3,
    "largest_kernel": 5,
    "buckets": 2,
}
# ``paper``: Table 2 tells populations and rates, Table 3 the layers and the poolings,
# Fig. 3 the generations, Algorithm 2 who survives
LEAFConfig.presets = {
    "tiny": _TINY_NETWORKS,
    "smoke": _SMALL_NETWORKS,
    "laptop": _LARGE_NETWORKS,
    "study": _LARGE_NETWORKS | {"generations": 20, "networks": 24, "iterations": 300},
    "paper": {"survivors": "all"},
}

_FEW: dict[str, Any] = {
    # few generations see networks grow too
    "add_node": 0.2,
    "add_connection": 0.1,
    "add_blueprint_node": 0.2,
    "add_blueprint_connection": 0.1,
}
_SMALL_IMAGES: dict[str, Any] = (
    CMSRConfig.presets["smoke"]
    | _FEW
    | {
        "initial_nodes": 2,
        "largest_kernel": 3,
        "max_tasks": 4,
        # as many as chest X-rays have labels
        "max_classes": 14,
        "batch": 4,
        "validation_batches": 80,
    }
)
_LARGE_IMAGES: dict[str, Any] = (
    CMSRConfig.presets["laptop"]
    | _FEW
    | {"finals": 1, "largest_kernel": 3, "batch": 16, "validation_batches": 100}
)
# ``paper``: Table 2 tells populations and rates, Table 3 the layers and the poolings,
# Fig. 4 the generations, 4.2 the preprocessing of chest X-rays, Algorithm 2 who
# survives
LEAFImageConfig.presets = {
    "tiny": CMSRConfig.presets["tiny"] | {"initial_nodes": 1, "networks": 4},
    "smoke": _SMALL_IMAGES,
    "laptop": _LARGE_IMAGES,
    "study": _LARGE_IMAGES
    | {"generations": 16, "networks": 14, "iterations": 200, "validation_batches": 200},
    "paper": {"preprocessing": "imagenet", "survivors": "all"},
}
