"""Liao 2023, Fig. 5: estimated and true fitness, with and without re-evaluation.

    python -m experiments.papers.liao2023_reevaluation --scale laptop

Runs, or finds where ``liao2023_multitasking --table 5`` left them, multi-tasking with
and without fitness re-evaluation, and draws for each generation and task the fitness
that the best individual was chosen by (dashed) and its accuracy on the whole validation
split (solid). Told of each: how far the two are apart, how much the true fitness moves
from one generation to the next, and how much of that is falling, all means over
generations, in points.

The paper shows one run, and says that re-evaluation makes the true fitness steadier.
Found at ``study`` (OrganA + Blood, two seeds): on Blood it falls by 3.3 points a
generation instead of 4.4 and moves by 7.2 instead of 8.9; on OrganA it falls by 3.2
instead of 2.3 and moves by 7.6 instead of 6.2. So of two tasks one is steadier.
At ``smoke`` (the four questions of ``digits``, five generations, one seed) the true
fitness falls by 2.6 points a generation without and by 1.9 with re-evaluation.

Hardware: 2 CPU cores; ``smoke`` some minutes, ``laptop`` about twenty.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from evojax_mtl.runs.folder import RunFolder
from experiments.papers import cards
from experiments.papers.cards import write
from experiments.papers.liao2023_multitasking import (
    TABLES,
    place,
    run_variant,
    tasks_of,
)

VARIANTS = ("multi-tasking", "multi-tasking with re-evaluation")


def steadiness(estimated: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Of fitness over generations, ``(generations,)`` in ``[0, 1]``; in points."""
    steps = np.diff(true)
    return {
        "gap": 100 * float(np.mean(np.abs(estimated - true))),
        "movement": 100 * float(np.mean(np.abs(steps))),
        "falling": 100 * float(np.mean(np.maximum(-steps, 0))),
    }


def draw(path: Path, curves: dict[str, dict[str, tuple]]) -> None:
    """The figure, as PNG: a row a variant, a column a task."""
    tasks = list(next(iter(curves.values())))
    size = (5 * len(tasks), 3 * len(curves))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(
        len(curves), len(tasks), squeeze=False, sharex=True, sharey="col"
    )
    for row, (variant, found) in zip(axes, curves.items(), strict=True):
        for axis, task in zip(row, tasks, strict=True):
            estimated, true = found[task]
            generations = np.arange(1, len(true) + 1)
            axis.plot(generations, true, label="true")
            axis.plot(generations, estimated, "--", label="estimated")
            axis.set_title(f"{task}, {variant}", fontsize=9)
            axis.set_xlabel("generation")
            axis.set_ylabel("validation accuracy")
    axes[0, 0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Runs what is not there yet; writes JSON and draws the first seed's curves."""
    parser = cards.parser(
        "liao2023_multitasking", __doc__, "as of liao2023_multitasking", 2
    )
    chosen = parser.parse_args()
    tasks = tasks_of("5", chosen.scale, chosen.tasks)
    results, curves = {}, {}
    for name in VARIANTS:
        changes = TABLES["5"].variants[name]
        results[name] = {}
        for seed in range(1, chosen.seeds + 1):
            folder, summary = run_variant(
                chosen.out, "5", chosen.scale, tasks, name, changes, seed
            )
            lines = RunFolder(folder).read_metrics()[1:]
            for t, task in enumerate(summary["tasks"]):
                pair = tuple(
                    np.array([line[key][t] for line in lines])
                    for key in ("estimated", "validation")
                )
                found = results[name].setdefault(task["name"], [])
                found.append(steadiness(*pair))
                if seed == 1:
                    curves.setdefault(name, {})[task["name"]] = pair
    picture = place(chosen.out, "5", chosen.scale, tasks) / "figure5.png"
    draw(picture, curves)
    record = {
        "scale": chosen.scale,
        "tasks": tasks,
        "seeds": chosen.seeds,
        "results": results,
    }
    path = write(f"liao2023_reevaluation_{chosen.scale}", record)
    for name, by_task in results.items():
        for task, found in by_task.items():
            means = {key: np.mean([one[key] for one in found]) for key in found[0]}
            told = ", ".join(f"{key} {value:.2f}" for key, value in means.items())
            print(f"{name:34} {task:16} {told}")
    print(f"{path}; {picture}")


if __name__ == "__main__":
    main()
