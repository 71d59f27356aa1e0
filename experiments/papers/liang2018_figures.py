"""Liang 2018, Figs. 6 to 8: how fitness improves with CoDeepNEAT, drawn as PNG.

    python -m experiments.papers.liang2018_figures --figure 8 --scale laptop --seeds 3

* 6: the best and the mean network of each generation, for CM, CMSR and CMTR, until the
  final training;
* 7: the best accuracy so far by meta-iteration of CTR, with its own modules, and of the
  final training of CMTR's best set, which has a generation's meta-iterations a point;
* 8: the best of each generation of CM with sharing of weights off, on and evolved.

Accuracies are means over the tasks on the validation split; lines are means over the
seeds, bands their standard errors.

Paper: in Fig. 6 (single runs) all three converge to about 78 %, CMTR fastest and CMSR
slowest; in Fig. 7 (10 runs) CTR is ahead for 10 of 120 meta-iterations and then
behind; in Fig. 8 no sharing is better than sharing, and evolved sharing better still.

Found at ``smoke`` (embedded alphabets, a few generations of four or five networks, one
seed), which tells that the card works and no more: the best network of the last
generation is at 60.0 % for CM, 58.7 for CMSR and 22.1 for CMTR; sharing off 60.0, on
60.8, evolved 60.0; after 48 meta-iterations CTR is at 88.7 and CMTR's best set at 85.0.

Fig. 6 at ``study`` (20 alphabets, two seeds, five generations of ten networks): the
best network rises from 21.3 to 35.1 % for CM and from 12.4 to 25.2 for CMTR, with the
mean of a generation behind it; for CMSR it does not rise (24.0 and 21.8). CM is ahead
at the end of the search, and behind CMTR after the final training
(``liang2018_codeepneat``).

Runs that are there already are not repeated, those cut off go on; with ``--out`` of
``liang2018_codeepneat`` Fig. 6 is drawn of its runs.

Hardware: 2 CPU cores; ``smoke`` (embedded alphabets) a minute a run, ``laptop`` up to
ten, ``study`` up to three hours.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evojax_mtl.methods import find_method
from evojax_mtl.runs.folder import RunFolder
from experiments.papers import cards
from experiments.papers.cards import run, write

Options = dict[str, object]
FINALS = 6
"""Generations that CMTR's best set is trained for in Fig. 7."""

VARIANTS: dict[str, dict[str, tuple[str, Options]]] = {
    "6": {name.upper(): (name, {}) for name in ("cm", "cmsr", "cmtr")},
    "7": {"CTR": ("ctr", {}), "CMTR": ("cmtr", {"finals": FINALS, "finalists": 1})},
    "8": {
        sharing: ("cm", {"sharing": sharing}) for sharing in ("off", "on", "evolved")
    },
}
"""Method and options of each line."""


ALIKE = ("iterations", "batch", "image_size", "max_tasks", "max_classes")
"""Options that CTR has of CMTR in Fig. 7."""


def options_of(figure: str, method: str, scale: str, own: Options) -> Options:
    """The options of a line at a scale; in Fig. 7 both train equally long."""
    if figure != "7":
        return own
    config = find_method("cmtr").configure(scale)
    if method == "cmtr":
        return own | {"generations": config.generations - config.finals + FINALS}
    alike = {name: getattr(config, name) for name in ALIKE}
    given = {name: value for name, value in alike.items() if value is not None}
    return own | given | {"generations": FINALS * meta_iterations(scale)}


def meta_iterations(scale: str) -> int:
    """Those of a generation of CMTR."""
    config = find_method("cmtr").configure(scale)
    return config.networks * config.meta_iterations


def curves(figure: str, method: str, scale: str, lines: list[dict]) -> dict[str, list]:
    """What a run's generations give: ``x``, ``best`` and, for Fig. 6, ``mean``."""
    if figure == "7":
        final = [line for line in lines if line.get("final_training", True)]
        best = np.maximum.accumulate([line["mean_validation"] for line in final])
        each = meta_iterations(scale) if method == "cmtr" else 1
        x = each * np.arange(1, len(final) + 1)
        return {"x": x.tolist(), "best": best.tolist()}
    searching = [line for line in lines if not line["final_training"]]
    found = {
        "x": list(range(1, len(searching) + 1)),
        "best": [line["mean_validation"] for line in searching],
    }
    if figure == "6":
        found["mean"] = [line["mean_fitness"] for line in searching]
    return found


def band(axis: Axes, runs: list[dict], key: str, label: str | None, style: str) -> None:
    """The mean of the runs and its standard error."""
    shortest = min(len(one[key]) for one in runs)
    values = 100 * np.array([one[key][:shortest] for one in runs])
    x, mean = runs[0]["x"][:shortest], values.mean(0)
    color = axis.get_lines()[-1].get_color() if label is None else None
    (line,) = axis.plot(x, mean, style, label=label, color=color)
    if len(runs) > 1:
        error = values.std(0, ddof=1) / np.sqrt(len(runs))
        axis.fill_between(
            x, mean - error, mean + error, alpha=0.2, color=line.get_color()
        )


def draw(path: Path, figure: str, found: dict[str, list[dict]]) -> Path:
    """Draws a figure; returns its path."""
    drawing = Figure(figsize=(7, 4.5), layout="constrained")
    axis = drawing.subplots()
    for name, runs in found.items():
        band(axis, runs, "best", name, "-")
        if figure == "6":
            band(axis, runs, "mean", None, ":")
    axis.set_xlabel("meta-iteration" if figure == "7" else "generation")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel("validation accuracy (%)")
    axis.legend(title="sharing" if figure == "8" else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=120)
    return path


def main() -> None:
    """Runs what is not there yet; writes ``results/liang2018_figN_SCALE.json``."""
    parser = cards.parser(
        "liang2018_figures", __doc__, "glyphs at smoke, else omniglot", 1
    )
    parser.add_argument("--figure", choices=VARIANTS, default="6")
    chosen = parser.parse_args()
    tasks = chosen.tasks or ("glyphs" if chosen.scale == "smoke" else "omniglot")
    out, found = chosen.out / chosen.scale, {}
    for name, (method, own) in VARIANTS[chosen.figure].items():
        own = options_of(chosen.figure, method, chosen.scale, own)
        place = "-".join([method, *(f"{k}-{v}" for k, v in own.items())])
        found[name] = []
        for seed in range(1, chosen.seeds + 1):
            folder = out / place / str(seed)
            common = {"tasks": tasks, "scale": chosen.scale, "seed": seed}
            run(folder, method, common | own)
            lines = RunFolder(folder).read_metrics()[1:]
            found[name].append(curves(chosen.figure, method, chosen.scale, lines))
        last = [100 * one["best"][-1] for one in found[name]]
        print(f"{name:8} last {np.mean(last):.1f} %")
    label = f"liang2018_fig{chosen.figure}_{chosen.scale}"
    record = {"figure": chosen.figure, "scale": chosen.scale, "tasks": tasks}
    print(write(label, record | {"seeds": chosen.seeds, "results": found}))
    print(draw(out / f"fig{chosen.figure}.png", chosen.figure, found))


if __name__ == "__main__":
    main()
