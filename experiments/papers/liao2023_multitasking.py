"""Liao 2023, Tables 2, 5 and 6: architectures that cross between tasks, or do not.

    python -m experiments.papers.liao2023_multitasking --table 5 --scale laptop

Table 2 compares single-tasking with EMT-NAS, Table 5 all four of single- and
multi-tasking with and without fitness re-evaluation, Table 6 random mating
probabilities. Every variant gets the same data, weights' budget and evaluations. The
accuracies are those of the best individual in the supernet, on the validation and test
splits, without retraining, which ``evojax-mtl retrain`` does. Told beside them: seconds
by phase, and how soon a variant's mean accuracy reached the last one of the first
variant, in generations and in seconds.

Paper (five runs, retrained, CIFAR-10 / CIFAR-100): single-tasking 96.23 / 79.70, with
re-evaluation 96.29 / 80.48, multi-tasking 96.49 / 80.68, with re-evaluation 96.73 /
81.86 %, in 8.7 % less time than single-tasking. On MedMNIST 11 to 40 % less.

Hardware: 2 CPU cores; ``smoke`` some minutes, ``laptop`` about ten minutes a run.
"""

import argparse
from pathlib import Path

import numpy as np

from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.summary import mean_and_error
from experiments.papers.cards import command, compare, run, write

Options = dict[str, object]
SINGLE: Options = {"tasking": "single"}
MULTI: Options = {"tasking": "multi"}
TABLES: dict[str, dict[str, Options]] = {
    "2": {
        "single-tasking": SINGLE | {"reevaluation": "off"},
        "multi-tasking with re-evaluation": MULTI | {"reevaluation": "on"},
    },
    "5": {
        "single-tasking": SINGLE | {"reevaluation": "off"},
        "single-tasking with re-evaluation": SINGLE | {"reevaluation": "on"},
        "multi-tasking": MULTI | {"reevaluation": "off"},
        "multi-tasking with re-evaluation": MULTI | {"reevaluation": "on"},
    },
    "6": {f"RMP {p}": {"random_mating": p} for p in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)},
}
PHASES = ("training_seconds", "evaluation_seconds", "evolution_seconds")


def measured(folder: Path, summary: dict) -> dict:
    """What the card tells of one run."""
    lines = RunFolder(folder).read_metrics()[1:]
    return {
        "validation": summary["mean_validation"],
        "test": summary["mean_test"],
        "tasks": {task["name"]: task["test"] for task in summary["tasks"]},
        "evaluations": summary["evaluations"],
        "seconds": {
            phase: sum(line.get(phase, 0.0) for line in lines) for phase in PHASES
        },
        "accuracy": [float(np.mean(line["kept"])) for line in lines],
        "elapsed": np.cumsum([line["seconds"] for line in lines]).tolist(),
    }


def reached(found: dict, goal: float) -> dict[str, float | None]:
    """Generations and seconds until the accuracy kept is ``goal``."""
    first = next((i for i, a in enumerate(found["accuracy"]) if a >= goal), None)
    if first is None:
        return {"generations": None, "seconds": None}
    return {"generations": first + 1, "seconds": found["elapsed"][first]}


def main() -> None:
    """Runs what is not there yet, and writes ``results/liao2023_...json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=TABLES, default="5")
    parser.add_argument("--scale", default="smoke")
    parser.add_argument("--tasks", help="digits at smoke, else medmnist:organa+blood")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/liao2023_multitasking"))
    chosen = parser.parse_args()
    usual = "digits" if chosen.scale == "smoke" else "medmnist:organa+blood"
    tasks = chosen.tasks or usual
    out = chosen.out / f"table{chosen.table}" / chosen.scale
    results, folders = {}, []
    for name, changes in TABLES[chosen.table].items():
        options: Options = {"tasks": tasks, "scale": chosen.scale} | changes
        runs = []
        for seed in range(1, chosen.seeds + 1):
            folder = out / name.replace(" ", "-") / str(seed)
            summary = run(folder, "emt-nas", options | {"seed": seed}, ["--profile"])
            runs.append(measured(folder, summary))
            folders.append(str(folder))
        results[name] = {key: [one[key] for one in runs] for key in runs[0]}
        baseline = results[next(iter(results))]
        results[name]["reached"] = [
            reached(one, goal)
            for one, goal in zip(runs, baseline["validation"], strict=True)
        ]
    command(["report", *folders, "--out", str(out / "report.html")])
    record = {
        "table": chosen.table,
        "scale": chosen.scale,
        "tasks": tasks,
        "seeds": chosen.seeds,
        "results": results,
        "comparisons": compare(results) if chosen.seeds > 1 else [],
    }
    path = write(f"liao2023_multitasking_table{chosen.table}_{chosen.scale}", record)
    for name, result in results.items():
        mean, error = mean_and_error([100 * accuracy for accuracy in result["test"]])
        print(f"{name:34} test {mean:.2f} +- {error:.2f} %, {result['reached']}")
    print(f"{path}; {out / 'report.html'}")


if __name__ == "__main__":
    main()
