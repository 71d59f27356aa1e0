"""What a run is asked to do, as it stands in its ``config.json``. Imports no JAX."""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evojax_mtl.errors import UserError
from evojax_mtl.methods import Method, method_on
from evojax_mtl.runs.folder import RunFolder

FORMAT = 1


@dataclass(frozen=True)
class Member:
    """One search of a run's population.

    Attributes:
      seed: its own seed.
      changes: the swept fields and its values of them.
    """

    seed: int
    changes: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """A run: one search, or a population of them that differ in seed or rates.

    Attributes:
      method: name of the method.
      tasks: sources of tasks, joined by comma.
      scale: preset that the config started from.
      seed: seed of the first search.
      seeds: number of seeds, ``seed`` to ``seed + seeds - 1``.
      sweep: values of each swept field; all combinations run.
      mesh: devices along each axis.
      data_dir: folder of the data sets, absolute; None for the default.
      profile: whether the phases of a generation are timed apart.
      config: the method's config dataclass.
    """

    method: str
    tasks: str
    scale: str
    seed: int
    seeds: int
    sweep: dict[str, tuple[Any, ...]]
    mesh: dict[str, int]
    data_dir: str | None
    profile: bool
    config: Any

    @property
    def form(self) -> Method:
        """The method on these tasks."""
        search = getattr(self.config, "search", None)
        return method_on(self.method, self.tasks, search)

    def factory(self) -> Callable[..., Any]:
        """What makes the search, of a config and data (imports JAX)."""
        return self.form.load()

    @property
    def members(self) -> list[Member]:
        """Every search: for each combination of swept values, every seed."""
        combinations = itertools.product(*self.sweep.values())
        return [
            Member(self.seed + k, dict(zip(self.sweep, values, strict=True)))
            for values in combinations
            for k in range(self.seeds)
        ]

    @property
    def population(self) -> int:
        """Number of searches."""
        return len(self.members)

    def create(self, path: Path) -> RunFolder:
        """The folder of the run, new."""
        return RunFolder.create(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """JSON-able; ``from_json`` reads it back."""
        return {"format": FORMAT} | dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Settings":
        """The settings in a ``config.json``.

        Raises:
          UserError: if they were written by another version or damaged.
        """
        if stored.get("format") != FORMAT:
            raise UserError(
                f"config.json: found format {stored.get('format')}, must be {FORMAT}"
            )
        try:
            search = stored["config"].get("search")
            method = method_on(stored["method"], stored["tasks"], search)
            config = method.config(**stored["config"])
            sweep = {name: tuple(vs) for name, vs in stored["sweep"].items()}
            names = [f.name for f in dataclasses.fields(cls)]
            values = {name: stored[name] for name in names}
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"config.json: cannot be read: {error}") from None
        return cls(**values | {"config": config, "sweep": sweep})
