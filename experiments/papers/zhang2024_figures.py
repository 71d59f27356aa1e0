"""Zhang 2024, Figs. 2, 5 and 6: related tasks, convergence, what is transferred.

    python -m experiments.papers.zhang2024_figures --seeds 500

Fig. 2: Spearman's rank correlation of the seven tasks of TransNAS-Bench-101's micro
space, over all architectures and over those that KTNAS transferred between the seven
(each as often as it was; the generations after the first, in which none is random).

Figs. 5 and 6 on NAS-Bench-201, 100 generations of EMT-NAS, MTNAS and KTNAS with and
without transfer rank, each evaluating as it does by default. A generation of MTNAS is
here a turn of each task, ten evaluations. Told are the best validation accuracy by
generation and by evaluations of a task, mean and standard deviation over the searches,
and the true rank, on the target task, of the architectures that were transferred, 1
the best; a mean over the searches that transferred any in that generation.

Hardware: 2 CPU cores; some minutes.
"""

import argparse
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from evojax_mtl.evaluation.tabular import NOTHING
from experiments.papers.cards import RESULTS, write
from experiments.papers.table_searches import KEY, prepare, throughout

SEVEN = (
    "transnasbench101:class_scene+class_object+room_layout+jigsaw+segmentsemantic+"
    "normal+autoencoder"
)
GENERATIONS, TURN = 100, 10
ROWS: dict[str, tuple[str, dict[str, Any], int]] = {
    "EMT-NAS": ("emt-nas", {}, 1),
    "MTNAS": ("mtnas", {"turn": TURN}, 3 * TURN),
    "KTNAS without transfer rank": ("ktnas", {"selection": "random"}, 1),
    "KTNAS": ("ktnas", {}, 1),
}
"""Method, options, and how many of its generations count as one."""
GRID = (10, 20, 30, 40, 50, 75, 100, 150, 200, 300, 400, 500)
"""Evaluations of a task at which accuracies are told."""


def transferred(seeds: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Fig. 2's tables ``(T, A)``, how often each one was transferred, names."""
    search, data = prepare("ktnas", {"generations": GENERATIONS}, SEVEN)
    rates = search.hyperparameters()

    @jax.jit
    def count(keys, data):
        def step(state, _):
            state, _ = search.step(state, rates, data)
            return state, state.own.transferred

        def one(key):
            state, _ = search.step(search.init(key, rates, data), rates, data)
            return jax.lax.scan(step, state, length=GENERATIONS - 1)[1]

        rows = jax.lax.map(one, keys, batch_size=10).ravel()
        rows = jnp.where(rows == NOTHING, data.architectures, rows)
        return jnp.zeros(data.architectures, jnp.int32).at[rows].add(1, mode="drop")

    times = count(jax.random.split(jax.random.key(KEY), seeds), data)
    return np.asarray(data.validation), np.asarray(times), data.names


def figure_2(seeds: int) -> dict[str, Any]:
    """Correlations of the seven tasks."""
    values, times, names = transferred(seeds)
    often = np.repeat(np.arange(values.shape[1]), times)
    found = {
        "all architectures": stats.spearmanr(values, axis=1).statistic,
        "transferred": stats.spearmanr(values[:, often], axis=1).statistic,
    }
    for name, matrix in found.items():
        pairs = matrix[np.triu_indices(len(matrix), 1)]
        print(f"Fig. 2, {name:20} {pairs.min():.2f} to {pairs.max():.2f}", flush=True)
    return {
        "tasks": names,
        "architectures_transferred": int((times > 0).sum()),
        "correlations": {name: matrix.tolist() for name, matrix in found.items()},
    }


def by_evaluations(spent: np.ndarray, best: np.ndarray) -> list[dict[str, float]]:
    """Best accuracy at each of ``GRID``.

    Args:
      spent: evaluations after each generation, ``(seeds, G)``.
      best: accuracy then.
    """
    points = []
    for count in GRID:
        # the last generation within the count; none is told where there is none
        last = (spent <= count).sum(1) - 1
        there = (last >= 0) & (spent[:, -1] >= count)
        if not there.any():
            continue
        values = best[np.flatnonzero(there), last[there]]
        points.append(
            {
                "evaluations": count,
                "mean": float(values.mean()),
                "deviation": float(values.std()),
                "searches": int(there.sum()),
            }
        )
    return points


def figures_5_and_6(name: str, seeds: int) -> dict[str, Any]:
    """Curves of one method."""
    method, options, together = ROWS[name]
    options = options | {"generations": GENERATIONS * together}
    search, data = prepare(method, options, "nasbench201")
    _, metrics = throughout(search, data, seeds)
    best, spent = metrics["validation"], metrics["spent"]
    ranks = metrics["transferred_rank"].astype(float)
    ranks = ranks.reshape(seeds, GENERATIONS, together, data.tasks)
    there = ranks > 0
    count = np.maximum(there.sum(2), 1)
    own = np.where(there.any(2), ranks.sum(2, where=there) / count, np.nan)
    curves: dict[str, Any] = {"by_generation": {}, "by_evaluations": {}}
    curves["transferred_rank"] = {}
    for t, task in enumerate(data.names):
        ends = best[:, together - 1 :: together, t]
        curves["by_generation"][task] = {
            "mean": ends.mean(0).tolist(),
            "deviation": ends.std(0).tolist(),
        }
        curves["by_evaluations"][task] = by_evaluations(spent[..., t], best[..., t])
        told = [own[:, g, t] for g in range(GENERATIONS)]
        curves["transferred_rank"][task] = [
            float(np.nanmean(each)) if np.isfinite(each).any() else None
            for each in told
        ]
    means = np.nanmean(own.reshape(seeds, -1), axis=1)
    means = means[np.isfinite(means)]
    curves["mean_transferred_rank"] = float(means.mean())
    curves["standard_error"] = float(means.std(ddof=1) / np.sqrt(len(means)))
    curves["final"] = best[:, -1].mean(0).tolist()
    curves["evaluations"] = spent[:, -1].mean(0).tolist()
    print(
        f"{name:30} transferred rank {curves['mean_transferred_rank']:7.1f} +- "
        f"{curves['standard_error']:.1f}, best {np.round(curves['final'], 4)}, "
        f"evaluations {np.round(curves['evaluations'])}",
        flush=True,
    )
    return curves


def main() -> None:
    """Writes ``results/zhang2024_figures.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--related-seeds", type=int, default=50, help="of Fig. 2")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    chosen = parser.parse_args()
    path = RESULTS / "zhang2024_figures.json"
    record = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    record["seeds"] = chosen.seeds
    record["figure_2"] = figure_2(chosen.related_seeds)
    for name in chosen.rows:
        record["rows"][name] = figures_5_and_6(name, chosen.seeds)
        write("zhang2024_figures", record)


if __name__ == "__main__":
    main()
