"""What the report reads of a run's folder. Imports no JAX.

Shape legend: ``G`` lines of metrics, ``P`` searches, ``T`` tasks.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.runs.folder import RunFolder

_COSTS = {
    "parameters": "parameters",
    "flops": "floating-point operations of one example",
    "latency": "microseconds of one example",
}

_GLOBAL = ("learning_rate_factor", "optimizer", "preprocessing", "initializer")
"""Hyperparameters of a whole network, as methods name them in ``best.json``."""


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
      path: its folder.
      label: its name among the runs of one report.
      config: ``config.json``.
      summary: ``summary.json``; empty if there is none yet.
      best: ``best.json``; empty if there is none yet.
      lines: of ``metrics.jsonl``.
    """

    path: Path
    label: str
    config: dict[str, Any]
    summary: dict[str, Any]
    best: dict[str, Any]
    lines: list[dict[str, Any]]

    @property
    def generations(self) -> np.ndarray:
        """Generation of each line, ``(G,)``."""
        return np.array([line["generation"] for line in self.lines], int)

    @property
    def spent(self) -> np.ndarray | None:
        """Evaluations up to each line, a mean over the searches, ``(G,)``.

        None for methods whose metrics do not say what each task has spent: theirs run
        by generations.
        """
        if not any("spent" in line for line in self.lines):
            return None
        values = np.nan_to_num(self.series("spent")).sum(-1)
        return values.mean(1) if values.ndim == 2 else values

    def series(self, name: str) -> np.ndarray:
        """One metric over the lines, each of the last one's shape.

        NaN where a line lacks it, is not finite or of a shape that cannot be spread.
        """
        values = [line.get(name) for line in self.lines]
        told = [value for value in values if value is not None]
        shape = np.shape(told[-1]) if told else ()
        rows = np.full((len(values), *shape), np.nan)
        for row, value in enumerate(values):
            # Lines may differ: capacities grow, and the initial line is not measured
            # search by search in everything.
            with contextlib.suppress(ValueError):
                rows[row] = np.array(value, float)
        return rows

    @property
    def fitness(self) -> np.ndarray:
        """Mean validation metric of each search, ``(G, P)``."""
        values = self.series("mean_validation")
        return values if values.ndim == 2 else values[:, None]

    @property
    def task_fitness(self) -> np.ndarray:
        """Validation metric of each task, mean over the searches, ``(G, T)``."""
        values = self.series("validation")
        return values.mean(1) if values.ndim == 3 else values

    @property
    def fronts(self) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """Pareto fronts after the first generation and the last one.

        Of each the generation, and by ascending cost the members' costs and validation
        metrics, ``(K,)``; of the first search where there are several. Empty for
        methods with one objective.
        """
        told = [line for line in self.lines if "front_cost" in line]
        found = []
        for line in (told[:1] + told[-1:])[: len(told)]:
            pair = (line["front_cost"], line["front_validation"])
            cost, metric = (np.array(x, float) for x in pair)
            if cost.ndim == 2:
                cost, metric = cost[0], metric[0]
            there = np.isfinite(cost)
            order = np.argsort(cost[there], kind="stable")
            found.append((line["generation"], cost[there][order], metric[there][order]))
        return found

    @property
    def cost(self) -> str:
        """What the second objective of the fronts is, in words."""
        name = self.config.get("config", {}).get("secondary")
        return _COSTS.get(name, "cost")

    def scalars(self) -> list[str]:
        """Metrics that are one number a search and tell something of their own."""
        known = {
            "generation",
            "spent",
            "mean_validation",
            "seconds",
            "wall_seconds",
            "compilations",
        }
        shape = self.fitness.shape[1:]
        names = dict.fromkeys(name for line in self.lines for name in line)
        found = []
        for name in names:
            if name in known or name == "validation":
                continue
            values = self.series(name)
            if values.ndim == 1 or values.shape[1:] == shape:
                # A count that is constant but for the initial line tells nothing.
                values = values[1:][np.isfinite(values[1:])]
                if values.size and values.min() != values.max():
                    found.append(name)
        return found

    @property
    def networks(self) -> list[dict[str, Any]]:
        """The networks found, of the first search where there are several."""
        return self._first.get("networks", [])

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What a method found beside architectures, of the first search likewise."""
        first = self._first
        own = {name: first[name] for name in _GLOBAL if name in first}
        return own | first.get("hyperparameters", {})

    @property
    def _first(self) -> dict[str, Any]:
        return self.best.get("searches", [self.best])[0]


def read_records(paths: Sequence[Path]) -> list[Record]:
    """The runs in these folders.

    Raises:
      UserError: if one of them is not the folder of a run.
    """
    folders = [RunFolder(path) for path in paths]
    configs = [folder.read_config() for folder in folders]
    methods = [str(config.get("method", "?")) for config in configs]
    records = []
    for folder, config, method in zip(folders, configs, methods, strict=True):
        name = folder.path.resolve().name
        alone = methods.count(method) == 1 or len(methods) == 1
        summary = folder.read("summary.json")
        if not isinstance(summary.get("tasks", []), list):
            raise UserError(f"{folder.path}/summary.json: tasks must be a list")
        records.append(
            Record(
                path=folder.path,
                label=method if alone else f"{method} ({name})",
                config=config,
                summary=summary,
                best=folder.read("best.json"),
                lines=folder.read_metrics(),
            )
        )
    return records
