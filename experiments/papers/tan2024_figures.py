"""Drawings of the card ``tan2024_mamo``: Figs. 3 to 7 of Tan 2024, as PNG.

* fig3: the gain over STL against the number of weights;
* fig4: normals within 22.5 degrees and the error of depth by number of detections, 0
  being HPS;
* fig5: each metric's gain of CAGrad and PCGrad, by themselves and with MAMO (the paper
  draws the metrics themselves);
* fig6: normals within 11.25 degrees by threshold;
* fig7: the same on the validation split, generation by generation.

Values are means over the seeds, bars their standard errors.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.summary import mean_and_error

REFERENCE = "STL"
Found = dict[str, dict[str, list]]
"""Of each variant: ``folders`` of its runs, and ``seeds``, what the card tells."""


def values(one: dict[str, list], metric: str) -> list[float]:
    """A metric on the test split, by seed."""
    return [seed["run"]["metrics"][metric] for seed in one["seeds"]]


def curves(one: dict[str, list], metric: str) -> np.ndarray:
    """A metric on the validation split, ``(seeds, generations)``."""
    return np.array(
        [
            [line[metric] for line in RunFolder(folder).read_metrics()[1:]]
            for folder in one["folders"]
        ]
    )


def size_and_gain(figure: Figure, found: Found) -> None:
    """Fig. 3."""
    axis = figure.subplots()
    for name, one in found.items():
        weights = one["seeds"][0]["run"]["parameters"] / 1e6
        mean, error = mean_and_error([100 * s["flat_gain"] for s in one["seeds"]])
        axis.errorbar(weights, mean, error, fmt="o", capsize=2)
        axis.annotate(name, (weights, mean), xytext=(4, 3), textcoords="offset points")
    axis.set_xlabel("weights (millions)")
    axis.set_ylabel("gain over STL (%)")


def detections(figure: Figure, found: Found) -> None:
    """Fig. 4."""
    rows = [name for name in found if name != REFERENCE]
    panels = (
        ("within_22.5", "normals within 22.5 degrees (fraction)"),
        ("absolute_error", "error of depth (m)"),
    )
    for axis, (metric, label) in zip(figure.subplots(1, 2), panels, strict=True):
        pairs = [mean_and_error(values(found[name], metric)) for name in rows]
        means, errors = np.array(pairs).T
        axis.errorbar(range(len(rows)), means, errors, marker="o", capsize=2)
        axis.set_xlabel("detections")
        axis.set_ylabel(label)


def integrated(figure: Figure, found: Found) -> None:
    """Fig. 5."""
    for axis, name in zip(figure.subplots(1, 2), ("CAGrad", "PCGrad"), strict=True):
        for i, row in enumerate((name, f"MAMO with {name}")):
            seeds = found[row]["seeds"]
            metrics = list(seeds[0]["gains"])
            means = [100 * np.mean([s["gains"][m] for s in seeds]) for m in metrics]
            axis.barh(np.arange(len(metrics)) + 0.4 * i, means, 0.4, label=row)
        axis.set_yticks(np.arange(len(metrics)) + 0.2, metrics)
        axis.axvline(0, color="black", linewidth=0.5)
        axis.set_xlabel("gain over STL (%)")
        axis.legend()


def thresholds(figure: Figure, found: Found) -> None:
    """Fig. 6."""
    rows = [name for name in found if name != REFERENCE]
    pairs = [mean_and_error(values(found[name], "within_11.25")) for name in rows]
    means, errors = np.array(pairs).T
    axis = figure.subplots()
    axis.bar(rows, means, yerr=errors, capsize=2)
    _zoom(axis, means, errors)
    axis.set_ylabel("normals within 11.25 degrees (fraction)")


def courses(figure: Figure, found: Found) -> None:
    """Fig. 7."""
    axis = figure.subplots()
    for name, one in found.items():
        if name == REFERENCE:
            continue
        by_seed = curves(one, "within_11.25")
        generations = np.arange(1, by_seed.shape[1] + 1)
        (line,) = axis.plot(generations, by_seed.mean(0), label=name)
        for own in by_seed:
            axis.plot(generations, own, color=line.get_color(), alpha=0.3)
    axis.set_xlabel("generation")
    axis.set_ylabel("normals within 11.25 degrees, validation (fraction)")
    axis.legend()


def _zoom(axis: Axes, means: np.ndarray, errors: np.ndarray) -> None:
    """Leaves out what all bars have in common."""
    low, high = np.min(means - errors), np.max(means + errors)
    margin = 0.2 * (high - low) or 0.01
    axis.set_ylim(low - margin, high + margin)


DRAWN: dict[str, Callable[[Figure, Found], None]] = {
    "fig3": size_and_gain,
    "fig4": detections,
    "fig5": integrated,
    "fig6": thresholds,
    "fig7": courses,
}
"""How each figure is drawn."""


def draw(path: Path, name: str, found: Found) -> Path:
    """Draws a figure; returns its path."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    DRAWN[name](figure, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
