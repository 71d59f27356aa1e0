"""Liao 2023, Tables 2, 3, 5 and 6: architectures that cross between tasks, or do not.

    python -m experiments.papers.liao2023_multitasking --table 5 --scale laptop

Tables 2 (MedMNIST) and 3 (CIFAR) compare single-tasking with EMT-NAS, Table 5 all four
of single- and multi-tasking with and without fitness re-evaluation, Table 6 random
mating probabilities. Every variant gets the same data, weights' budget and evaluations.

Told of each variant: validation and test accuracy of what the search kept, in the
supernet; test accuracy, parameters and multiply-adds of its genotypes after training
from scratch (with stacks of 2 and of 3 normal cells in Table 3, at a scale below
``paper`` of 1 and of 2), and in Table 5, for single-tasking, after training on the
other task; seconds by phase; and how soon its mean accuracy reached the last one of the
first variant, in generations and in seconds.

Paper (five runs, retrained, CIFAR-10 / CIFAR-100): single-tasking 96.23 / 79.70, with
re-evaluation 96.29 / 80.48, multi-tasking 96.49 / 80.68, with re-evaluation 96.73 /
81.86 %, in 8.7 % less time than single-tasking. On MedMNIST 11 to 40 % less.

Found, on subsets of 3,000 to 9,000 training images (``results/``; mean test accuracy of
the individuals kept, in the supernet, and standard error over the seeds):

==============================  ============  ==============  ==============
``study``, two seeds            OrganA+Blood  CIFAR-10+OrganA  generations [1]_
==============================  ============  ==============  ==============
single-tasking                  65.9 +- 3.7   46.3 +- 6.3     33, 34; 33, 37
single-tasking, re-evaluation   59.3 +- 0.4
multi-tasking                   69.8 +- 8.8                   23, never
multi-tasking, re-evaluation    75.9 +- 1.0   47.5 +- 2.6     19, 15; never, 22
==============================  ============  ==============  ==============

.. [1] Until the mean validation accuracy that single-tasking ended with, by seed.

So on OrganA + Blood multi-tasking with re-evaluation gets there in about half of the
generations, and a generation takes as long; the two effects of Table 5 have the paper's
order but for re-evaluation without multi-tasking, which the paper finds to help a
little. With two seeds none but the largest difference, 16.6 points, is significant
(Welch, p = 0.02). CIFAR-10 beside OrganA says nothing: on some 3,000 photographs the
supernet is far from trained (14 to 35 %), the seeds differ more than the methods. At
``laptop`` (16 generations, three seeds) there is no significant difference either: on
OrganA + Blood 55.9 +- 2.8 single, 52.3 +- 2.9 multi-tasking (p = 0.43), on CIFAR-10 +
OrganA 31.9 +- 1.1 and 33.3 +- 1.6 (p = 0.51), where multi-tasking needs 15, 11 and 15
of the 16 generations to reach what single-tasking ends with. ``laptop`` ran on 2 CPU
cores a search, ``study`` on an H100 that several searches shared, which is why no
seconds are compared there.

Training from scratch levels the two (one normal cell a stage; mean test accuracy):

===========================  ======  ==================  ============  ============
searched at, on              epochs  thousand weights    single        multi
===========================  ======  ==================  ============  ============
``study``, OrganA + Blood        30  319 single, 255     90.3 +- 1.6   91.1 +- 1.0
``study``, CIFAR-10, OrganA      30  270 single, 261     71.5 +- 2.5   72.3 +- 1.3
``laptop``, OrganA + Blood       10  143 single, 143     88.7 +- 0.7   88.4 +- 0.7
``laptop``, CIFAR-10, OrganA     10  131 single, 120     67.6 +- 0.5   67.6 +- 1.1
===========================  ======  ==================  ============  ============

Multi-tasking is ahead at ``study``, by less than a standard error. A single-tasking
genotype of ``study``, trained for ten epochs on the task that it was not searched for,
comes to 80.6 +- 3.4 %, on its own to 82.3 +- 0.2 %.

On the four questions of ``digits`` at ``smoke`` (five generations, three seeds) both
are at the beginning: 56.7 +- 0.5 % single, 55.7 +- 0.8 % multi-tasking in the supernet,
98.9 and 99.1 +- 0.1 % trained from scratch for five epochs. Multi-tasking reaches what
single-tasking ends with in one of the three seeds. Table 3's stacks of 1 and 2 (two
seeds) come to 98.8 and 98.5 % single, 99.0 and 98.8 % multi-tasking; Table 6's random
mating probabilities 0 to 0.5 (one seed) to 55.1, 55.9, 55.2, 54.7, 56.3 and 56.5 % in
the supernet, no order that could be told from the seeds' spread.

Hardware: 2 CPU cores; ``smoke`` some minutes, ``laptop`` about ten minutes a search.
"""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.summary import mean_and_error
from experiments.papers import cards
from experiments.papers.cards import command, compare, retrain, run, write

Options = dict[str, object]
SINGLE: Options = {"tasking": "single"}
MULTI: Options = {"tasking": "multi"}
WITH: Options = {"reevaluation": "on"}
WITHOUT: Options = {"reevaluation": "off"}
PAIR: dict[str, Options] = {
    "single-tasking": SINGLE | WITHOUT,
    "multi-tasking with re-evaluation": MULTI | WITH,
}


class Table(NamedTuple):
    """What a table of the paper compares.

    Attributes:
      variants: options of the searches.
      tasks: on which, but at ``smoke``.
      stacks: normal cells a stage of the networks trained from scratch, at ``paper``;
        one less at other scales.
      transfer: whether single-tasking's genotypes are trained on the other tasks too.
    """

    variants: dict[str, Options]
    tasks: str
    stacks: tuple[int, ...] = (2,)
    transfer: bool = False


MEDICAL, PHOTOGRAPHS = "medmnist:organa+blood", "cifar10+cifar100"
TABLES: dict[str, Table] = {
    "2": Table(PAIR, MEDICAL),
    "3": Table(PAIR, PHOTOGRAPHS, (2, 3)),
    "5": Table(
        {
            "single-tasking": SINGLE | WITHOUT,
            "single-tasking with re-evaluation": SINGLE | WITH,
            "multi-tasking": MULTI | WITHOUT,
            "multi-tasking with re-evaluation": MULTI | WITH,
        },
        MEDICAL,
        transfer=True,
    ),
    "6": Table(
        {f"RMP {p}": {"random_mating": p} for p in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)},
        MEDICAL,
    ),
}
PHASES = ("training_seconds", "evaluation_seconds", "evolution_seconds")


def tasks_of(table: str, scale: str, asked: str | None) -> str:
    """The sources that a table is made on."""
    return asked or ("digits" if scale == "smoke" else TABLES[table].tasks)


def place(out: Path, table: str, scale: str, tasks: str) -> Path:
    """The folder of a table's runs."""
    return out / f"table{table}" / scale / tasks.replace(":", "-").replace(",", "-")


def run_variant(
    out: Path,
    table: str,
    scale: str,
    tasks: str,
    name: str,
    changes: Options,
    seed: int,
) -> tuple[Path, dict]:
    """Folder and summary of one search, which runs unless it did."""
    folder = place(out, table, scale, tasks) / name.replace(" ", "-") / str(seed)
    options: Options = {"tasks": tasks, "scale": scale} | changes | {"seed": seed}
    return folder, run(folder, "emt-nas", options, ["--profile"])


def measured(folder: Path, summary: dict) -> dict:
    """What the card tells of one search."""
    lines = RunFolder(folder).read_metrics()[1:]
    return {
        "validation": summary["mean_validation"],
        "test": summary["mean_test"],
        "tasks": {task["name"]: task["test"] for task in summary["tasks"]},
        "evaluations": summary["evaluations"],
        "devices": summary["devices"],
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


def trained(folder: Path, name: str, options: Options) -> dict:
    """The genotypes of a search after training from scratch, in a folder ``name``."""
    summary = retrain(folder / name, str(folder), options)
    keys = ("test", "parameters", "multiply_adds")
    return {task["name"]: {k: task[k] for k in keys} for task in summary["tasks"]}


def retrained(folder: Path, table: Table, options: Options, *, transfer: bool) -> dict:
    """All trainings from scratch that a table asks for, after one search.

    ``transfer``: each task's genotype on the other tasks too.
    """
    found: dict = {}
    for stack in table.stacks:
        stack = stack if options["scale"] == "paper" else stack - 1
        own = options | {"stack": stack}
        kind = f"stack {stack}"
        found[kind] = trained(folder, f"retrain-stack{stack}", own)
        pairs = itertools.permutations(found[kind], 2) if transfer else ()
        for origin, task in pairs:
            name = f"retrain-stack{stack}-{origin}-on-{task}"
            moved = trained(folder, name, own | {"from": origin, "task": task})
            found.setdefault(f"{kind}, transferred", {})[task] = moved[task]
    return found


def main() -> None:
    """Runs what is not there yet, and writes ``results/liao2023_...json``."""
    parser = cards.parser(
        "liao2023_multitasking", __doc__, "digits at smoke, else those of the table", 2
    )
    parser.add_argument("--table", choices=TABLES, default="5")
    parser.add_argument(
        "--epochs", type=int, default=0, help="of training from scratch; 0: the scale's"
    )
    parser.add_argument(
        "--no-retrain", action="store_true", help="leave out training from scratch"
    )
    parser.add_argument(
        "--variants", nargs="+", metavar="NAME", help="of the table; all if not given"
    )
    chosen = parser.parse_args()
    table = TABLES[chosen.table]
    variants = {
        name: changes
        for name, changes in table.variants.items()
        if name in (chosen.variants or table.variants)
    }
    if len(variants) < len(chosen.variants or variants):
        parser.error(f"--variants: must be of {', '.join(table.variants)}")
    tasks = tasks_of(chosen.table, chosen.scale, chosen.tasks)
    results, folders = {}, []
    for name, changes in variants.items():
        runs = []
        for seed in range(1, chosen.seeds + 1):
            folder, summary = run_variant(
                chosen.out, chosen.table, chosen.scale, tasks, name, changes, seed
            )
            told = measured(folder, summary)
            if not chosen.no_retrain:
                options: Options = {"scale": chosen.scale, "seed": seed}
                if chosen.epochs:
                    options["epochs"] = chosen.epochs
                moves = table.transfer and changes.get("tasking") == "single"
                told["retrained"] = retrained(folder, table, options, transfer=moves)
            runs.append(told)
            folders.append(str(folder))
        results[name] = {key: [one[key] for one in runs] for key in runs[0]}
        baseline = results[next(iter(results))]
        results[name]["reached"] = [
            reached(one, goal)
            for one, goal in zip(runs, baseline["validation"], strict=True)
        ]
    out = place(chosen.out, chosen.table, chosen.scale, tasks)
    command(["report", *folders, "--out", str(out / "report.html")])
    record = {
        "table": chosen.table,
        "scale": chosen.scale,
        "tasks": tasks,
        "seeds": chosen.seeds,
        "epochs": None if chosen.no_retrain else chosen.epochs or chosen.scale,
        "results": results,
        "comparisons": compare(results) if chosen.seeds > 1 else [],
    }
    parts = [f"liao2023_table{chosen.table}", chosen.scale, out.name]
    path = write("_".join(parts + (chosen.variants or [])), record)
    for name, result in results.items():
        print(f"{name:34} {_told(result)}")
    print(f"{path}; {out / 'report.html'}")


def _told(result: dict) -> str:
    mean, error = mean_and_error([100 * accuracy for accuracy in result["test"]])
    line = f"test {mean:.2f} +- {error:.2f} %"
    for kind in result.get("retrained", [{}])[0]:
        tests = [
            100 * np.mean([task["test"] for task in one[kind].values()])
            for one in result["retrained"]
        ]
        mean, error = mean_and_error(tests)
        line += f"; {kind}: {mean:.2f} +- {error:.2f} %"
    return f"{line}; {result['reached']}"


if __name__ == "__main__":
    main()
