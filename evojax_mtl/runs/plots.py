"""Curves and comparisons as inline SVG, by matplotlib. Imports no JAX."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evojax_mtl.runs.drawings import COLORS
from evojax_mtl.runs.records import Record

INK, FAINT, GRID = "#1d2733", "#66707d", "#e4e8ee"
_STYLE = {
    # Text stays text: it takes the page's font and can be searched.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def fitness_curves(records: Sequence[Record]) -> str:
    """Validation fitness by generation: mean over tasks, best so far, single tasks.

    A band is one standard error over the searches of a run. Runs on tables, whose cost
    is in evaluations, are drawn by evaluations where all runs are such.
    """
    by_cost = all(record.spent is not None for record in records)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 3.5), layout="constrained")
        axes = figure.subplots()
        for k, record in enumerate(records):
            color = COLORS[k % len(COLORS)]
            if len(records) == 1:
                _task_lines(axes, record, by_cost)
            _mean_and_best(axes, record, color, len(records) == 1, by_cost)
        axes.set_xlabel("evaluations" if by_cost else "generation")
        axes.set_ylabel("validation fitness")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.01)
        figure.legend(loc="outside right upper")
        return _svg(figure, "fitness")


def _steps(record: Record, by_cost: bool) -> np.ndarray:
    spent = record.spent if by_cost else None
    return record.generations if spent is None else spent


def _task_lines(axes: Axes, record: Record, by_cost: bool) -> None:
    values = record.task_fitness
    for t in range(values.shape[1]):
        axes.plot(
            _steps(record, by_cost),
            values[:, t],
            color="#b8c1cc",
            linewidth=0.9,
            label="single tasks" if t == 0 else None,
        )


def _mean_and_best(
    axes: Axes, record: Record, color: str, alone: bool, by_cost: bool
) -> None:
    values = record.fitness
    if not len(values):
        return
    steps = _steps(record, by_cost)
    mean = values.mean(1)
    best = np.fmax.accumulate(mean)
    name = "mean of tasks" if alone else record.label
    axes.plot(
        steps,
        best,
        color=color,
        linewidth=1.2,
        linestyle=(0, (3, 2)),
        label="best so far" if alone else None,
    )
    axes.plot(
        steps,
        mean,
        color=color,
        linewidth=2.2,
        label=name,
        marker="o",
        markersize=3.5 if len(mean) <= 60 else 0,
    )
    if values.shape[1] > 1:
        error = values.std(1, ddof=1) / np.sqrt(values.shape[1])
        axes.fill_between(
            steps,
            mean - error,
            mean + error,
            color=color,
            alpha=0.18,
            linewidth=0,
        )


def metric_curves(records: Sequence[Record], limit: int = 8) -> str:
    """Small curves of the other scalar metrics, the first ``limit`` of them."""
    names = list(dict.fromkeys(n for record in records for n in record.scalars()))
    names = names[:limit]
    if not names:
        return ""
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(_STYLE | {"font.size": 8.5}):
        figure = Figure(figsize=(9.2, 1.75 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.flat, names, strict=False):
            for k, record in enumerate(records):
                values = record.series(name)
                if values.size:
                    values = values.reshape(len(values), -1).mean(1)
                    color = COLORS[k % len(COLORS)]
                    axes.plot(record.generations, values, color=color, linewidth=1.5)
            axes.set_title(name.replace("_", " "), loc="left", fontsize=9)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))
        return _svg(figure, "metrics")


def front_curves(records: Sequence[Record]) -> str:
    """Pareto fronts: validation metric by cost, after the first and last generation.

    A network reaches to the right as far as it is the best of its cost or less. Of
    several runs the last fronts. Empty where there are none.
    """
    alone = len(records) == 1
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 3.5), layout="constrained")
        axes = figure.subplots()
        drawn = 0
        for k, record in enumerate(records):
            fronts = record.fronts if alone else record.fronts[-1:]
            for f, (generation, cost, metric) in enumerate(fronts):
                last = f + 1 == len(fronts)
                name = f"generation {generation}"
                axes.plot(
                    cost,
                    metric,
                    color=COLORS[k % len(COLORS)] if last else "#b8c1cc",
                    drawstyle="steps-post",
                    linewidth=2.0 if last else 1.4,
                    marker="o",
                    markersize=5,
                    label=name if alone else f"{record.label}, {name}",
                )
                drawn += len(cost)
        if not drawn:
            return ""
        axes.set_xscale("log")
        axes.set_xlabel(next(r.cost for r in records if r.fronts))
        axes.set_ylabel("validation")
        figure.legend(loc="outside right upper")
        return _svg(figure, "front")


def task_dots(records: Sequence[Record]) -> str:
    """Test metric of every task, one dot a run."""
    rows = {
        record.label: {
            task["name"]: task.get("test") for task in record.summary["tasks"]
        }
        for record in records
        if record.summary.get("tasks")
    }
    names = list(dict.fromkeys(name for tasks in rows.values() for name in tasks))
    if not any(
        value is not None for tasks in rows.values() for value in tasks.values()
    ):
        return ""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 0.9 + 0.27 * len(names)), layout="constrained")
        axes = figure.subplots()
        for k, (label, tasks) in enumerate(rows.items()):
            values = [np.nan if tasks.get(n) is None else tasks[n] for n in names]
            color = COLORS[k % len(COLORS)]
            axes.scatter(values, range(len(names)), s=38, color=color, label=label)
        axes.set_yticks(range(len(names)), names, color=INK)
        axes.invert_yaxis()
        axes.set_xlabel("test")
        figure.legend(loc="outside right upper")
        return _svg(figure, "tasks")


def _svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element that fits its column."""
    file = io.StringIO()
    # Ids must differ between the figures of one page, and not between two writes.
    with mpl.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(\bid="|href="#)(\w)', rf"\1{name}-\2", text)
    text = text.replace("url(#", f"url(#{name}-")
    return text.replace("<svg", f'<svg class="plot" role="img" aria-label="{name}"', 1)


def accuracy_curves(lines: Sequence[dict[str, Any]]) -> str:
    """Training and test accuracy by epoch, a panel a task, of lines of metrics."""
    names = list(dict.fromkeys(str(line["task"]) for line in lines))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(_STYLE):
        size = (9.2, 3.5 if rows == columns == 1 else 2.6 * rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.flat, names, strict=False):
            own = [line for line in lines if line["task"] == name]
            for k, key in enumerate(("train_accuracy", "test_accuracy")):
                told = [line for line in own if line.get(key) is not None]
                axes.plot(
                    [line["epoch"] for line in told],
                    [line[key] for line in told],
                    color=(FAINT, COLORS[0])[k],
                    linewidth=(1.2, 2.2)[k],
                    marker="o" if len(told) <= 60 else "",
                    markersize=3,
                    label=key.split("_")[0] if axes is grid.flat[0] else None,
                )
            axes.set_title(name, loc="left", fontsize=10)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        grid[0, 0].set_ylabel("accuracy")
        figure.legend(loc="outside right upper")
        return _svg(figure, "accuracy")


def confusion(matrix: Sequence[Sequence[int]], name: str) -> str:
    """Examples by true class and class chosen; ``name`` is unique in the page."""
    counts = np.array(matrix, float)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with mpl.rc_context(_STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(4.4, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        if len(counts) <= 12:
            for i, j in np.argwhere(counts):
                color = "white" if share[i, j] > 0.5 else INK
                label = f"{counts[i, j]:.0f}"
                axes.text(j, i, label, ha="center", va="center", color=color)
        axes.set_xlabel("class chosen")
        axes.set_ylabel("true class")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(min(12, len(counts)), integer=True))
        return _svg(figure, name)
