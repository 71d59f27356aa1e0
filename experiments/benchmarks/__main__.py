"""``python -m experiments.benchmarks [NAME] [--json]``; all of them without a name."""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from evojax_mtl.runs.devices import use_cores
from experiments.benchmarks.harness import Benchmark, BenchmarkError, Case, Report

NAMES = (
    "balancing",
    "convolution",
    "ctr",
    "emt-nas",
    "min-norm",
    "neat",
    "node2vec",
    "population",
    "synflow",
    "tabular",
)
"""Modules of this package that define a ``BENCHMARK``, with ``-`` for ``_``."""


def load(name: str) -> Benchmark:
    """The benchmark called ``name``; ``_`` may stand for ``-``."""
    name = name.replace("_", "-")
    if name not in NAMES:
        raise BenchmarkError(
            f"benchmark: found {name!r}, must be one of {', '.join(NAMES)}"
        )
    module = f"experiments.benchmarks.{name.replace('-', '_')}"
    return importlib.import_module(module).BENCHMARK


def table(title: str, cases: Sequence[Case]) -> Table:
    """Cases for people."""
    grid = Table(title=title, title_justify="left")
    grid.add_column("case")
    grid.add_column("peer")
    for heading in ("ours (ms)", "peer (ms)", "ratio", "goal", "noise", "difference"):
        grid.add_column(heading, justify="right")
    for case in cases:
        reached = case.goal is None or case.ratio >= case.goal
        difference = case.max_abs_difference
        grid.add_row(
            case.case,
            case.peer,
            f"{1e3 * case.ours_seconds:.1f}",
            f"{1e3 * case.peer_seconds:.1f}",
            f"[{'green' if reached else 'red'}]{case.ratio:.2f}[/]",
            "" if case.goal is None else f"{case.goal:.2f}",
            f"{100 * case.spread:.0f} %",
            "" if difference is None else f"{difference:.1e}",
        )
    return grid


def show(report: Report, console: Console) -> None:
    """A report for people."""
    console.print(f"[bold]{report.name}[/]: {report.work}\n")
    console.print(table("Against peers (ratio above 1: ours is ahead)", report.cases))
    if report.own:
        console.print(table("Ours against ours", report.own))
    console.print(f"Smallest ratio against peers: {report.ratio:.2f}")
    found = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    console.print(f"[dim]{found}[/]\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks")
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    names = options.name or list(NAMES)
    use_cores()
    aside = Console(stderr=True, highlight=False)
    try:
        benchmarks = [load(name) for name in names]
        if options.json and len(benchmarks) > 1:
            raise BenchmarkError(f"--json: found {len(names)} names, must be one")
        for benchmark in benchmarks:
            report = benchmark.report(
                lambda line, name=benchmark.name: aside.print(f"[dim]{name}: {line}[/]")
            )
            if options.json:
                print(json.dumps(report.to_json(), indent=2))
            else:
                show(report, Console(highlight=False))
    except BenchmarkError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
