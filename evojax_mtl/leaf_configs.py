"""Static choices of LEAF, and its presets; see ``configs``. Imports no JAX."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from evojax_mtl.configs import SearchConfig, at_most, flag, option
from evojax_mtl.errors import UserError

_OF_NEAT = ("species", "mutate", "deviation", "crossover", "truncation")


@dataclass(frozen=True)
class LEAFConfig(SearchConfig):
    """LEAF on texts: the hyperparameters of a fixed network evolve.

    Raises:
      UserError: if a field is out of its bounds, or fields do not fit each other.
    """

    generations: int = option(40, low=1, extends=True)
    """Length of the search (generations)."""

    search: Literal["hyperparameters"] = option("hyperparameters")
    """What evolves; hyperparameters: those of a network whose layers are fixed
    (a name)."""

    objective: Literal["single", "multi"] = option("single")
    """What is selected for: accuracy, or accuracy and few weights by Pareto fronts
    (a name)."""

    strategy: str = option("neat")
    """How tables of hyperparameters evolve: neat, or a strategy of evosax (a name; see
    evojax-mtl list strategies)."""

    max_tasks: int | None = option(None, low=1)
    """Use the source's first tasks only; None uses all (tasks)."""

    text_length: int | None = option(None, low=1)
    """Words that are kept of a text; None keeps as many as the source does (words)."""

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

    fewest_units: int = option(64, low=1)
    """Narrowest layers (units)."""

    units: int = option(192, low=1)
    """Widest layers (units)."""

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
        if self.taps % 2 == 0:
            raise UserError(f"--taps: found {self.taps}, must be odd")
        at_most("fewest_units", self.fewest_units, self.units, "widest layers' units")
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
LEAFConfig.presets = {
    "tiny": _TINY,
    "smoke": _SMALL,
    "laptop": _LARGE,
    "study": _LARGE | {"generations": 20, "population": 24, "iterations": 300},
    "paper": {},
}
