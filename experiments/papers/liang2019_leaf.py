"""Liang 2019, Figs. 3 and 4: architectures against hyperparameters alone, and fronts.

    python -m experiments.papers.liang2019_leaf --scale laptop --seeds 3

LEAF on texts in three ways: hyperparameters of a fixed network evolve; architectures
evolve for accuracy; architectures evolve for accuracy and few parameters. Told of each:
validation and test accuracy and parameters of the result, the best validation accuracy
by generation (Fig. 3), and of the two on architectures the front of all networks so far
with its hypervolume by generation and the share of one's last front that the other's
dominates (Fig. 4; the report draws the fronts).

Paper (Wikidetox, 40 generations of 100 networks): architectures end above
hyperparameters alone, which end slightly above Bayesian optimisation; two objectives'
front dominates one's at nearly every generation (on chest X-rays, by AUROC). The
services and the hand-made networks that Fig. 3 compares with are not run here.

Found at ``smoke`` (four questions about embedded remarks, five generations, two seeds):
hyperparameters alone 81.7 +- 1.0 %, architectures 85.9 +- 0.6 by one objective and 86.5
+- 1.2 by two. Neither front dominates the other: 31 % of one objective's is dominated,
42 % of two's; hypervolumes are 0.360 and 0.367.

Runs that are there already are not repeated, those cut off go on.

Hardware: 2 CPU cores; ``smoke`` (embedded texts) a minute a run, ``laptop`` about ten.
"""

import argparse
from pathlib import Path

import numpy as np

from evojax_mtl.runs.records import read_records
from evojax_mtl.runs.summary import mean_and_error
from experiments.papers.cards import command, compare, run, write

Front = list[tuple[float, float]]
HYPERPARAMETERS, SINGLE, MULTI = "hyperparameters", "one objective", "two objectives"
ROWS: dict[str, dict[str, object]] = {
    HYPERPARAMETERS: {"search": "hyperparameters"},
    SINGLE: {"objective": "single"},
    MULTI: {"objective": "multi"},
}


def dominated(front: Front, other: Front) -> float:
    """The share of a front that some member of another one dominates."""

    def better(cost, value):
        return any(
            c <= cost and v >= value and (c, v) != (cost, value) for c, v in other
        )

    return float(np.mean([better(*member) for member in front]))


def row_of(folder: Path, summary: dict) -> dict:
    """One run."""
    (record,) = read_records([folder])
    lines, (_, cost, accuracy) = record.lines[1:], record.fronts[-1]
    best = np.maximum.accumulate([line["mean_validation"] for line in lines])
    return {
        "validation": summary["mean_validation"],
        "test": summary["mean_test"],
        "parameters": summary["parameters"],
        "wall_seconds": summary["wall_seconds"],
        "best": best.tolist(),
        "hypervolume": [line["hypervolume"] for line in lines],
        "front": list(zip(cost.tolist(), accuracy.tolist(), strict=True)),
    }


def main() -> None:
    """Runs what is not there yet, and writes ``results/liang2019_leaf_SCALE.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="smoke")
    parser.add_argument("--tasks", help="remarks at smoke, else wikidetox")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/liang2019_leaf"))
    chosen = parser.parse_args()
    tasks = chosen.tasks or ("remarks" if chosen.scale == "smoke" else "wikidetox")
    out, results = chosen.out / chosen.scale / tasks.replace(":", "-"), {}
    folders = []
    for name, own in ROWS.items():
        runs = []
        for seed in range(1, chosen.seeds + 1):
            folder = out / name.replace(" ", "-") / str(seed)
            common = {"tasks": tasks, "scale": chosen.scale, "seed": seed}
            runs.append(row_of(folder, run(folder, "leaf", common | own)))
            folders.append(str(folder))
        results[name] = {key: [one[key] for one in runs] for key in runs[0]}
        mean, error = mean_and_error([100 * test for test in results[name]["test"]])
        sizes = np.mean(results[name]["parameters"])
        print(f"{name:16} test {mean:.2f} +- {error:.2f} %, {sizes:.0f} parameters")
    pairs = list(zip(results[SINGLE]["front"], results[MULTI]["front"], strict=True))
    both = {
        SINGLE: [dominated(single, multi) for single, multi in pairs],
        MULTI: [dominated(multi, single) for single, multi in pairs],
    }
    for name, shares in both.items():
        last = np.mean([own[-1] for own in results[name]["hypervolume"]])
        print(f"{name:16} {np.mean(shares):.0%} dominated, hypervolume {last:.4f}")
    command(["report", *folders, "--out", str(out / "report.html")])
    record = {
        "scale": chosen.scale,
        "tasks": tasks,
        "seeds": chosen.seeds,
        "results": results,
        "dominated": both,
        "comparisons": compare(results) if chosen.seeds > 1 else [],
    }
    path = write(f"liang2019_leaf_{chosen.scale}", record)
    print(f"{path}; {out / 'report.html'}")


if __name__ == "__main__":
    main()
