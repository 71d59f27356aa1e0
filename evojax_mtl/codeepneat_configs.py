"""Static choices of CoDeepNEAT's searches; see ``configs``. Imports no JAX."""

from dataclasses import dataclass
from typing import Any, Literal

from evojax_mtl.configs import ImageConfig, SearchConfig, at_most, option
from evojax_mtl.errors import UserError


@dataclass(frozen=True)
class AssembledConfig(SearchConfig):
    """What the searches that assemble networks from modules share on all data.

    Raises:
      UserError: if a field is out of its bounds, or the populations are too small.
    """

    patience: int = option(20, low=1)
    """Where the best fitness has not grown for so long evolution ends, and the final
    training, if there is one, begins early (generations)."""

    networks: int = option(100, low=1)
    """Networks that are assembled in a generation (networks)."""

    modules: int = option(50, low=2)
    """Population of modules (modules)."""

    species: int = option(4, low=1)
    """Species of modules to have; a network has a module of each (species)."""

    tables: int = option(20, low=2)
    """Population of blueprints, or of global hyperparameters (individuals)."""

    layers: int = option(6, low=1)
    """Layers that a module may have besides its final one (layers)."""

    depth: int = option(4, low=1)
    """Modules after one another that may pool; CM's largest D (modules)."""

    largest_kernel: int = option(7, low=1, high=7)
    """Largest of the kernels 1, 3, 5 and 7 that layers may have, odd (pixels, on texts
    words)."""

    buckets: int = option(3, low=1)
    """Widths that are computed, each half of the next; those between are masked
    (widths)."""

    learning_range: float = option(10.0, low=1.0)
    """Networks evolve a learning rate from this part of ``learning_rate`` to so many
    times of it (factor)."""

    elites: int = option(1, low=0)
    """Best individuals of each species that survive as they are (individuals)."""

    learning_rate: float = option(1e-3, low=0.0, traced=True)
    """Middle of the range of learning rates (per training iteration)."""

    add_node: float = option(0.1, low=0.0, high=1.0, traced=True)
    """Probability that a child gains a node (fraction)."""

    add_connection: float = option(0.1, low=0.0, high=1.0, traced=True)
    """Probability that a child gains a connection (fraction)."""

    mutate: float = option(0.2, low=0.0, high=1.0, traced=True)
    """Probability that a hyperparameter of a child changes (fraction)."""

    deviation: float = option(0.2, low=0.0, traced=True)
    """Deviation of the change of a number (parts of its range)."""

    crossover: float = option(0.5, low=0.0, high=1.0, traced=True)
    """Probability that a child has two parents (fraction)."""

    truncation: float = option(0.5, low=0.0, below=1.0, traced=True)
    """Worst of each species that have no children, F_l (fraction)."""

    @property
    def places(self) -> int:
        """Species of modules that there is room for."""
        return self.species + 1

    def __post_init__(self) -> None:
        """Checks the bounds, and that they fit together."""
        super().__post_init__()
        if self.largest_kernel % 2 == 0:
            raise UserError(
                f"--largest-kernel: found {self.largest_kernel}, must be 1, 3, 5 or 7"
            )
        least = self.places * max(self.elites, 1)
        if self.modules < least:
            raise UserError(
                f"--modules: found {self.modules}, must be at least {least} for the "
                f"elites of {self.places} species, one more than --species"
            )
        if self.tables < self.elites:
            raise UserError(
                f"--tables: found {self.tables}, must be at least the elites, "
                f"{self.elites}"
            )


@dataclass(frozen=True)
class BlueprintConfig(AssembledConfig):
    """What the searches share whose networks follow blueprints.

    Raises:
      UserError: if a field is out of its bounds, or the populations are too small.
    """

    nodes: int = option(12, low=1)
    """Modules that a blueprint may have (modules)."""

    initial_nodes: int = option(5, low=1)
    """Mean number of modules of the initial blueprints (modules)."""

    def __post_init__(self) -> None:
        """Checks the bounds, and that the initial blueprints fit."""
        super().__post_init__()
        if self.initial_nodes > self.nodes:
            raise UserError(
                f"--initial-nodes: found {self.initial_nodes}, must be at most --nodes,"
                f" {self.nodes}"
            )


@dataclass(frozen=True)
class CoDeepNEATConfig(AssembledConfig, ImageConfig):
    """What the searches on images that assemble networks from modules share.

    Raises:
      UserError: if a field is out of its bounds, or the populations are too small.
    """

    generations: int = option(45, low=1, extends=True)
    """Length of the search, the final training included (generations)."""

    finals: int = option(5, low=0)
    """The last generations, in which the best networks are trained longer
    (generations)."""

    finalists: int = option(50, low=1)
    """Best networks of the whole search that are trained longer (networks)."""

    iterations: int = option(3000, low=1)
    """Training of a network before its fitness is measured; a final network is trained
    by as many at a time (training iterations)."""

    fewest_filters: int = option(8, low=1)
    """Narrowest layer (channels)."""

    filters: int = option(64, low=1)
    """Widest layer (channels)."""

    most_dropout: float = option(0.7, low=0.0, below=1.0)
    """Largest rate of dropout that layers evolve (fraction)."""

    batch: int = option(1, low=1)
    """Batch, in training and evaluation (examples a task and iteration)."""

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = option("adam")
    """Optimiser of all weights (a name)."""

    def __post_init__(self) -> None:
        """Checks the bounds, and that they fit together."""
        super().__post_init__()
        at_most(
            "fewest_filters",
            self.fewest_filters,
            self.filters,
            "widest layer's filters",
        )
        if self.finals >= self.generations:
            raise UserError(
                f"--finals: found {self.finals}, must be below the generations, "
                f"{self.generations}"
            )
        if self.finals and self.finalists > self.finals * self.networks:
            raise UserError(
                f"--finalists: found {self.finalists}, must be at most "
                f"{self.finals * self.networks}, the networks of the final generations"
            )


@dataclass(frozen=True)
class OneRoutingConfig(CoDeepNEATConfig):
    """What the searches share whose networks have one routing for all tasks.

    Raises:
      UserError: if a field is out of its bounds, or the populations are too small.
    """

    decay_epochs: int = option(10, low=1)
    """Final training divides the learning rate by 10 after so many epochs, and again
    after as many (epochs)."""

    sharing: Literal["evolved", "on", "off"] = option("evolved")
    """Whether modules in several places share weights (a name)."""


@dataclass(frozen=True)
class CMConfig(OneRoutingConfig):
    """Coevolution of modules: evolved modules in a grid, softly ordered by each task.

    Raises:
      UserError: if a field is out of its bounds, or the populations are too small.
    """

    rows: int = option(4, low=1)
    """Modules side by side at each depth, the largest K (modules)."""


@dataclass(frozen=True)
class CMSRConfig(BlueprintConfig, OneRoutingConfig):
    """Coevolution of modules and of one routing of them that all tasks share.

    Raises:
      UserError: if a field is out of its bounds, or the populations are too small.
    """


@dataclass(frozen=True)
class CMTRConfig(CoDeepNEATConfig):
    """Coevolution of modules and of a routing of them for each task.

    Raises:
      UserError: if a field is out of its bounds, or the populations are too small.
    """

    networks: int = option(100, low=1)
    """Sets of modules that are assembled in a generation (sets)."""

    meta_iterations: int = option(12, low=1)
    """Meta-iterations of CTR before a set's fitness is measured; a final set goes
    through as many at a time (meta-iterations)."""

    iterations: int = option(250, low=1)
    """Training in a meta-iteration, M (training iterations)."""

    modules: int = option(25, low=2)
    """Population of modules (modules)."""

    species: int = option(2, low=1)
    """Species of modules to have; a set has a module of each (species)."""

    tables: int = option(20, low=2)
    """Population of global hyperparameters (individuals)."""

    depth: int = option(4, low=1)
    """Modules with weights of their own that a set makes, K: the chain that every
    task's routing begins as (modules)."""

    alpha: float = option(0.1, low=1e-6, below=1.0, traced=True)
    """Weight that a new module starts with in the soft merge it joins (fraction)."""

    @property
    def additions(self) -> int:
        """Nodes that a routing may gain, at most."""
        turns = self.finals * self.networks
        each = max(1, turns // self.finalists)
        # the last finalist has what is left over
        last = turns - each * (min(self.finalists, turns) - 1)
        return self.meta_iterations * max(1, each, last)


_TINY: dict[str, Any] = {
    "generations": 3,
    "finals": 1,
    "finalists": 1,
    "patience": 10,
    "networks": 3,
    "iterations": 30,
    "modules": 6,
    "species": 2,
    "tables": 4,
    "layers": 2,
    "depth": 2,
    "largest_kernel": 3,
    "fewest_filters": 2,
    "filters": 4,
    "buckets": 1,
    "most_dropout": 0.1,
    "batch": 4,
    "image_size": 6,
    "max_tasks": 2,
    "max_classes": 3,
    "learning_range": 2.0,
}
_SMALL = _TINY | {
    "generations": 4,
    "finalists": 1,
    "networks": 5,
    "iterations": 70,
    "batch": 2,
    "modules": 12,
    "species": 3,
    "tables": 6,
    "layers": 4,
    "depth": 3,
    "largest_kernel": 5,
    "fewest_filters": 8,
    "filters": 16,
    "buckets": 2,
    "most_dropout": 0.2,
    "image_size": 28,
    "max_tasks": 6,
    "max_classes": 10,
    "learning_range": 3.0,
    "learning_rate": 3e-3,
}
_LARGE = _SMALL | {
    "generations": 8,
    "finals": 2,
    "finalists": 2,
    "patience": 6,
    "networks": 10,
    "iterations": 130,
    "modules": 16,
    "tables": 10,
    "filters": 24,
    "buckets": 3,
    "max_tasks": 10,
    "max_classes": None,
}
_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": _TINY,
    "smoke": _SMALL,
    "laptop": _LARGE,
    # the best network trains as long as those of the other methods do at this scale
    "study": _LARGE
    | {
        "finals": 3,
        "finalists": 1,
        "iterations": 100,
        "batch": 4,
        "max_tasks": 20,
    },
    "paper": {"image_size": 105, "max_tasks": 20},
}
# ``paper`` keeps the defaults; where the paper tells numbers, they are these.
CoDeepNEATConfig.presets = _PRESETS
CMConfig.presets = {
    "tiny": _TINY | {"rows": 2},
    "paper": _PRESETS["paper"],
    **{s: _PRESETS[s] | {"rows": 3} for s in ("smoke", "laptop", "study")},
}
CMSRConfig.presets = {
    "tiny": _TINY | {"nodes": 3, "initial_nodes": 2},
    "smoke": _SMALL | {"nodes": 8, "initial_nodes": 4},
    **{s: _PRESETS[s] | {"nodes": 10} for s in ("laptop", "study")},
    "paper": _PRESETS["paper"],
}
_INNER: dict[str, Any] = {"species": 2, "largest_kernel": 3}
_LONG = _INNER | {"depth": 4, "iterations": 40}
CMTRConfig.presets = {
    "tiny": _TINY | _INNER | {"meta_iterations": 3, "iterations": 10},
    "smoke": _SMALL | _INNER | {"networks": 4, "meta_iterations": 2, "iterations": 30},
    "laptop": _LARGE | _LONG | {"generations": 6, "networks": 7, "meta_iterations": 3},
    "study": _PRESETS["study"] | _LONG | {"meta_iterations": 2, "iterations": 50},
    "paper": _PRESETS["paper"],
}
