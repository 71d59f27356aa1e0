"""What the cards of Zhang 2024, Tables IV to VI, share: searches of cells compared.

A row is a search on the same tasks, with the same budget of training and evaluations.
Told of each: validation and test accuracy of what it kept, in the supernet, on average
and of each task; its seconds as a percentage more than those of the first row; how soon
its mean accuracy reached the last one of the first row; the seconds by phase; and where
the table trains from scratch, test accuracy, parameters and multiply-adds.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from evojax_mtl.runs.summary import mean_and_error
from experiments.papers import cards
from experiments.papers.cards import command, compare, run, write
from experiments.papers.liao2023_multitasking import (
    Options,
    measured,
    reached,
    trained,
)

Row = tuple[str, Options]
SINGLE: dict[str, Row] = {
    "single-tasking": ("emt-nas", {"tasking": "single", "reevaluation": "off"})
}
EMT_NAS: dict[str, Row] = {"EMT-NAS": ("emt-nas", {})}
MTNAS: dict[str, Row] = {"MTNAS": ("mtnas", {})}
KTNAS: dict[str, Row] = {
    "KTNAS without transfer rank": ("ktnas", {"selection": "random"}),
    "KTNAS": ("ktnas", {}),
}


class CellTable(NamedTuple):
    """A table of the paper.

    Attributes:
      name: of the card.
      rows: method and options of each search.
      tasks: on which, but at ``smoke``.
      paper: options of all searches at the scale ``paper``.
      smoke: likewise at ``smoke``.
      scratch: options of training from scratch; None: there is none.
      own: more of them for a task, at the scale ``paper``.
    """

    name: str
    rows: dict[str, Row]
    tasks: str
    paper: Options
    scratch: Options | None = None
    own: dict[str, Options] | None = None
    smoke: Options | None = None


def tasks_of(table: CellTable, scale: str, asked: str | None) -> str:
    """The sources that a table is made on."""
    return asked or ("digits" if scale == "smoke" else table.tasks)


def search_options(
    table: CellTable, name: str, scale: str, tasks: str, seed: int
) -> Options:
    """Options of a row's search."""
    options: Options = {"tasks": tasks, "scale": scale, "seed": seed}
    given = {"paper": table.paper, "smoke": table.smoke}.get(scale)
    return options | (given or {}) | table.rows[name][1]


def from_scratch(
    table: CellTable, folder: Path, summary: dict, options: Options
) -> dict[str, dict]:
    """What a search found, after training from scratch, by task."""
    found = {}
    for task in (one["name"] for one in summary["tasks"]):
        own = table.own if table.own and options["scale"] == "paper" else {}
        given = options | (table.scratch or {}) | own.get(task, {})
        given |= {"task": task}
        found |= trained(folder, f"retrain-{task}", given)
    return found


def cost(seconds: list[float], baseline: list[float]) -> float:
    """How much longer the searches took than the first row's, in percent."""
    return 100 * (float(np.sum(seconds)) / float(np.sum(baseline)) - 1)


def told(name: str, result: dict) -> str:
    """The line of a row."""
    mean, error = mean_and_error([100 * accuracy for accuracy in result["test"]])
    parts = [f"{name:28} test {mean:.2f} +- {error:.2f} %"]
    for task in result["tasks"][0]:
        own = [100 * one[task] for one in result["tasks"]]
        parts.append(f"{task} {np.mean(own):.2f}")
    for task in result.get("scratch", [{}])[0]:
        own = [100 * one[task]["test"] for one in result["scratch"]]
        parts.append(f"{task} from scratch {np.mean(own):.2f}")
    return ", ".join([*parts, f"time {result['cost']:+.1f} %"])


def main(table: CellTable, description: str) -> None:
    """Runs what is not there yet, and writes ``results/NAME_SCALE_TASKS.json``."""
    parser = cards.parser(
        table.name, description, "digits at smoke, else those of the table", 2
    )
    parser.add_argument("--rows", nargs="*", choices=list(table.rows))
    if table.scratch is not None:
        parser.add_argument(
            "--no-retrain", action="store_true", help="leave out training from scratch"
        )
    chosen = parser.parse_args()
    tasks = tasks_of(table, chosen.scale, chosen.tasks)
    out = chosen.out / chosen.scale / tasks.replace(":", "-").replace(",", "-")
    scratch = table.scratch is not None and not chosen.no_retrain
    results, folders = {}, []
    for name in chosen.rows or table.rows:
        runs = []
        for seed in range(1, chosen.seeds + 1):
            folder = out / name.replace(" ", "-") / str(seed)
            options = search_options(table, name, chosen.scale, tasks, seed)
            summary = run(folder, table.rows[name][0], options, ["--profile"])
            one = measured(folder, summary)
            if scratch:
                again: Options = {"scale": chosen.scale, "seed": seed}
                one["scratch"] = from_scratch(table, folder, summary, again)
            runs.append(one)
            folders.append(str(folder))
        results[name] = {key: [one[key] for one in runs] for key in runs[0]}
        first = results[next(iter(results))]
        spent, baseline = (
            [one[-1] for one in rows["elapsed"]] for rows in (results[name], first)
        )
        results[name]["cost"] = cost(spent, baseline)
        results[name]["reached"] = [
            reached(one, goal)
            for one, goal in zip(runs, first["validation"], strict=True)
        ]
        print(told(name, results[name]), flush=True)
    command(["report", *folders, "--out", str(out / "report.html")])
    record = {
        "scale": chosen.scale,
        "tasks": tasks,
        "seeds": chosen.seeds,
        "results": results,
        "comparisons": compare(results) if chosen.seeds > 1 else [],
    }
    path = write(f"{table.name}_{chosen.scale}_{out.name}", record)
    print(f"{path}; {out / 'report.html'}")
