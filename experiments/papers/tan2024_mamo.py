"""Tan 2024 (MAMO), Tables 1 to 5 and Figs. 3 to 7: where gradients conflict.

    python -m experiments.papers.tan2024_mamo --table 1 --scale laptop --seeds 3

Told of each variant: every metric on the test split by seed, its gain over STL of the
same seed (MAMO's flat mean over all metrics, Eq. 15, and LibMTL's mean over the tasks),
the share of metrics that win, parameters, seconds a generation without the first, and
of MAMO the kernels that each detection made. Figures are drawn beside the runs, by
``tan2024_figures``.

``--table`` 1 and 2 compare all methods, on Cityscapes and on NYUv2 at ``paper``, on
``rooms`` at the other scales; 3 the kernels a detection; 4 MAMO without multi-objective
optimisation and without its kernels; 5 speed; fig3 gain against size; fig4 detections;
fig5 MAMO with CAGrad and PCGrad; fig6 the threshold; fig7 the course of the training.

The first generations of CoNAL and Recon are their search, what is left trains the
network found. Recon is not in the paper's tables.

Paper, overall gain (Table 1; Table 2), printed as percentages: HPS -1.75; -2.74,
GradNorm -3.49; -2.00, PCGrad -0.31; -2.25, CAGrad +0.42; +0.25, RotoGrad -2.10; -1.22,
MGDA -1.38; -1.77, MTL-NAS -6.84; +0.66, CoNAL +2.21; +2.18, MAMO +2.57; +3.00. Table 5,
speed over STL: HPS 1.61, CAGrad 0.73, CoNAL 0.60, MAMO 0.56.

Found of speed: a step of the small backbone on 8 rooms of 72 x 96, on 2 busy cores,
each in turns with STL (``python -m experiments.benchmarks balancing``): over STL 2.8
for HPS, 1.5 for CAGrad, 0.86 for MAMO without a kernel, 0.36 with all fifteen.

Found of gains over STL at ``laptop`` on ``rooms``, three seeds, in percent: MTL-NAS
+4.1 +- 1.1, RotoGrad +3.3 +- 0.5, CAGrad +3.1 +- 1.3, GradNorm +1.0 +- 0.9, MGDA +0.9
+- 0.5, CoNAL +0.4 +- 1.7, Recon -1.1 +- 2.2, MAMO -2.0 +- 0.7, PCGrad -2.1 +- 1.4, HPS
-2.5 +- 0.8. So the paper's order does not come out: MAMO is not first, and on every
seed behind MGDA, which it trains with (by 2.9 +- 0.6), so that its kernels did not help
in these 20 generations. As in the paper sharing helps depth (HPS +7 %) and harms
normals (within 11.25 degrees -11 %), and MGDA gives up segmentation (mean IoU -12 %,
there -13 % on NYUv2); MAMO does too (-12 %), which the paper's does not. Detections
made 9, 7 and 7 kernels. CoNAL branched all tasks off before the stem on every seed, and
MTL-NAS is STL with edges between the networks. The first seed was run with an earlier
batch norm, which differs by rounding; MAMO's first run goes over from one to the other
in its middle, and had -2.7 where it now has -2.5. The speeds in the record are of a
busy machine, and tell nothing.

At ``smoke``, one seed of five short generations, which tells that the cards work and
little else: in Table 4 MAMO is at -4.5 %, without multi-objective optimisation at -2.8,
without its kernels at -3.7, hard sharing at -2.3; in Fig. 5 MAMO with CAGrad and PCGrad
is behind both, in Fig. 6 the threshold makes no difference.

Hardware: 2 CPU cores; ``smoke`` half a minute a run; ``laptop`` one to three minutes a
run, some six for MAMO, CoNAL and MTL-NAS.
"""

from pathlib import Path

import numpy as np

from evojax_mtl.evaluation.dense_metrics import HIGHER, OF_TASK
from evojax_mtl.evaluation.overall_gain import flat_gain, gains, task_gain, win_rate
from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.summary import mean_and_error
from experiments.papers import cards
from experiments.papers.cards import command, run, write
from experiments.papers.tan2024_figures import DRAWN, REFERENCE, draw

Options = dict[str, object]
STL: tuple[str, Options] = ("stl", {})
HPS: tuple[str, Options] = ("hps", {})
MAMO: tuple[str, Options] = ("mamo", {})


def variant(method: str, **options: object) -> tuple[str, Options]:
    """A method with options."""
    return method, options


METHODS: dict[str, tuple[str, Options]] = {
    REFERENCE: STL,
    "HPS": HPS,
    "GradNorm": variant("hps", balancing="gradnorm"),
    "PCGrad": variant("hps", balancing="pcgrad"),
    "CAGrad": variant("hps", balancing="cagrad"),
    "RotoGrad": variant("hps", balancing="rotograd"),
    "MGDA": variant("hps", balancing="mgda"),
    "MTL-NAS": variant("mtl-nas"),
    "CoNAL": variant("conal"),
    "Recon": variant("recon"),
    "MAMO": MAMO,
}
DETECTIONS = {f"MAMO-{z}": variant("mamo", detections=z) for z in (1, 2, 3, 4)}
"""With fewer than the five detections of MAMO."""
TABLES: dict[str, dict[str, tuple[str, Options]]] = {
    "1": METHODS,
    "2": METHODS,
    "3": {REFERENCE: STL, "MAMO": MAMO},
    "4": {
        REFERENCE: STL,
        "HPS": HPS,
        "MAMO": MAMO,
        "without MO": variant("mamo", balancing="equal"),
        "without GMK": variant("mamo", kernels="exclusive"),
    },
    "5": {n: METHODS[n] for n in (REFERENCE, "HPS", "CAGrad", "CoNAL", "MAMO")},
    "fig3": {**METHODS, **DETECTIONS},
    "fig4": {REFERENCE: STL, "HPS": HPS, **DETECTIONS, "MAMO": MAMO},
    "fig5": {
        **{n: METHODS[n] for n in (REFERENCE, "CAGrad", "PCGrad")},
        "MAMO with CAGrad": variant("mamo", balancing="cagrad"),
        "MAMO with PCGrad": variant("mamo", balancing="pcgrad"),
    },
    "fig6": {
        REFERENCE: STL,
        "average": MAMO,
        **{f"top {k}": variant("mamo", threshold="top", top=k) for k in (1, 2, 3)},
    },
    "fig7": {REFERENCE: STL, "HPS": HPS, "MAMO": MAMO},
}
"""Method and options of each variant; the reference comes first."""


def tasks_of(table: str, scale: str, asked: str | None) -> str:
    """The source that a table is made on."""
    if asked or scale != "paper":
        return asked or "rooms"
    return "cityscapes" if table == "1" else "nyuv2"


def measured(folder: Path, summary: dict) -> dict:
    """What the card tells of one run."""
    lines = RunFolder(folder).read_metrics()[1:]
    kernels = [
        int(line["active_kernels"]) for line in lines if "active_kernels" in line
    ]
    made = np.diff([0, *kernels])
    # the first generation may wait for the compiler
    seconds = [line["seconds"] for line in lines[1:] or lines]
    return {
        "metrics": summary["test_metrics"],
        "parameters": summary["parameters"],
        "generation_seconds": float(np.median(seconds)),
        "devices": summary["devices"],
        "kernels": made[made > 0].tolist(),
    }


def compared(found: dict, reference: dict) -> dict:
    """Gains over the reference of the same seed, and the speed."""
    own = gains(found["metrics"], reference["metrics"], HIGHER)
    return {
        "gains": own,
        "flat_gain": flat_gain(own),
        "task_gain": task_gain(own, OF_TASK),
        "win_rate": win_rate(own),
        "speed": reference["generation_seconds"] / found["generation_seconds"],
    }


def options_of(table: str, scale: str, tasks: str) -> Options:
    """Options of all variants."""
    common: Options = {"tasks": tasks, "scale": scale}
    if scale == "paper" and tasks == "cityscapes":
        common["batch"] = 16
    return common


def compare_all(
    out: Path, variants: dict[str, tuple[str, Options]], common: Options, seeds: int
) -> dict[str, dict[str, list]]:
    """Each variant's runs and comparisons, seed by seed; runs what is not there yet."""
    found: dict[str, dict[str, list]] = {
        name: {"folders": [], "seeds": []} for name in variants
    }
    for seed in range(1, seeds + 1):
        for name, (method, options) in variants.items():
            folder = out / place(method, options, common) / str(seed)
            summary = run(folder, method, common | options | {"seed": seed})
            one = measured(folder, summary)
            kept = found[REFERENCE]["seeds"]
            reference = kept[seed - 1]["run"] if len(kept) == seed else one
            found[name]["folders"].append(folder)
            found[name]["seeds"].append({"run": one, **compared(one, reference)})
    return found


def place(method: str, options: Options, common: Options) -> str:
    """A variant's folder, the same in every table."""
    asked = options | {k: v for k, v in common.items() if k == "generations"}
    return "-".join([method, *(f"{k}-{v}" for k, v in asked.items())])


def main() -> None:
    """Runs what is not there yet; draws; writes ``results/tan2024_...json``."""
    parser = cards.parser(
        "tan2024_mamo", __doc__, "rooms, else those of the table at paper", 3
    )
    parser.add_argument("--table", choices=TABLES, default="1")
    parser.add_argument("--variants", nargs="+", help="STL and these; all unless given")
    parser.add_argument("--generations", type=int, help="the scale's unless given")
    chosen = parser.parse_args()
    tasks = tasks_of(chosen.table, chosen.scale, chosen.tasks)
    common = options_of(chosen.table, chosen.scale, tasks)
    if chosen.generations:
        common["generations"] = chosen.generations
    out = chosen.out / chosen.scale / tasks.replace(":", "-").replace("/", "-")
    variants = TABLES[chosen.table]
    if chosen.variants:
        if unknown := [name for name in chosen.variants if name not in variants]:
            parser.error(f"--variants: found {unknown}, must be of {list(variants)}")
        variants = {n: variants[n] for n in (REFERENCE, *chosen.variants)}
    found = compare_all(out, variants, common, chosen.seeds)
    label = chosen.table if chosen.table in DRAWN else f"table{chosen.table}"
    folders = [str(folder) for one in found.values() for folder in one["folders"]]
    command(["report", *folders, "--out", str(out / f"{label}.html")])
    record = {
        "table": chosen.table,
        "scale": chosen.scale,
        "tasks": tasks,
        "generations": chosen.generations or "the scale's",
        "results": {name: {"seeds": one["seeds"]} for name, one in found.items()},
    }
    path = write(f"tan2024_{label}_{chosen.scale}", record)
    for name, one in found.items():
        print(f"{name:18} {told(one['seeds'])}")
    print(path)
    if chosen.table in DRAWN:
        print(draw(out / f"{label}.png", chosen.table, found))


def told(seeds: list[dict]) -> str:
    """A variant's line: means over the seeds, and the gain's standard error."""
    mean, error = mean_and_error([100 * seed["flat_gain"] for seed in seeds])
    by_task, wins, speed = (
        np.mean([seed[key] for seed in seeds])
        for key in ("task_gain", "win_rate", "speed")
    )
    kernels = seeds[0]["run"]["kernels"]
    return (
        f"gain {mean:+.2f} +- {error:.2f} %, by task {100 * by_task:+.2f} %, "
        f"win {100 * wins:.0f} %, speed {speed:.2f}"
        + (f", kernels {kernels}" if kernels else "")
    )


if __name__ == "__main__":
    main()
