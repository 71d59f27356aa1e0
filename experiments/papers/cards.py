"""What the cards of papers share: runs that are made once, and comparisons."""

import argparse
import itertools
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from evojax_mtl import cli

RESULTS = Path(__file__).parent / "results"


def parser(
    name: str,
    description: str,
    tasks: str,
    seeds: int,
    scales: Sequence[str] | None = None,
) -> argparse.ArgumentParser:
    """What cards of several seeds are asked by.

    Args:
      name: of the folder in ``runs`` unless ``--out`` says another.
      description: whose first line is told.
      tasks: which ones there are unless ``--tasks`` says others.
      seeds: how many unless ``--seeds`` says.
      scales: that there may be; None for all.
    """
    asked = argparse.ArgumentParser(description=description.splitlines()[0])
    asked.add_argument("--scale", default="smoke", choices=scales)
    asked.add_argument("--tasks", help=tasks)
    asked.add_argument("--seeds", type=int, default=seeds)
    asked.add_argument("--out", type=Path, default=Path("runs") / name)
    return asked


def command(arguments: list[str]) -> None:
    """Runs ``evojax-mtl``; ends where it fails."""
    status = cli.main(arguments)
    if status:
        sys.exit(status)


def finished(folder: Path) -> dict | None:
    """The summary of a completed run."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    return summary if summary.get("status") == "completed" else None


def words(options: dict[str, object]) -> list[str]:
    """The flags of a command line."""
    pairs = ((f"--{k.replace('_', '-')}", str(v)) for k, v in options.items())
    return list(itertools.chain.from_iterable(pairs))


def once(folder: Path, begin: Sequence[str], resume: Sequence[str]) -> dict:
    """The summary of what a command leaves in ``folder``, which runs unless it did.

    Args:
      folder: of the run.
      begin: the command, without ``--out``.
      resume: the command that goes on with it, without the folder.
    """
    if not finished(folder):
        if any(folder.glob("checkpoints/*")):
            command([*resume, str(folder)])
        else:
            if (folder / "config.json").exists():
                # killed before its first checkpoint, it has nothing to go on with
                shutil.rmtree(folder)
            command([*begin, "--out", str(folder)])
    summary = finished(folder)
    if summary is None:
        sys.exit(f"{folder}: the run did not complete")
    return summary


def run(
    folder: Path, method: str, options: dict[str, object], flags: Sequence[str] = ()
) -> dict:
    """A run's summary, from its folder if it is complete there.

    Args:
      folder: of the run.
      method: its name.
      options: values of its flags.
      flags: those without a value.
    """
    return once(folder, ["run", method, *words(options), *flags], ["resume"])


def retrain(folder: Path, genotype: str, options: dict[str, object]) -> dict:
    """The summary of a retraining, from its folder if it is complete there."""
    begin = ["retrain", genotype, *words(options)]
    return once(folder, begin, ["retrain", "--resume"])


def compare(results: dict[str, dict]) -> list[dict]:
    """Differences of the mean test accuracies, with Welch's t-test over the seeds."""
    rows = []
    for a, b in itertools.combinations(results, 2):
        first, second = results[a]["test"], results[b]["test"]
        test = stats.ttest_ind(second, first, equal_var=False)
        gap = float(np.mean(second) - np.mean(first))
        rows.append({"methods": [a, b], "gap": gap, "p": float(test.pvalue)})
    return rows


def write(name: str, record: dict) -> Path:
    """``results/NAME.json``; returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
