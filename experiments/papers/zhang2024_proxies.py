"""Zhang 2024, Table I: what zero-cost proxies know about NAS-Bench-201.

    python -m experiments.papers.zhang2024_proxies --draw 0 --jacob 60

MTNAS and KTNAS screen cells by synflow. For each of the three data sets the card tells
how the proxies that need no training rank all 15,625 cells: Spearman's correlation
with the accuracy in the table, over all cells and over the tenth that the proxy likes
best, and at which rank a proxy puts the best cell. Synflow is computed here (the mean
over all draws of weights; one draw too, if asked); beside it stand parameters,
multiply-adds, synflow's and the parameters' ranks added, paths and depth of a cell.
Abdelfattah et al. 2021, Table 1, report for synflow 0.74, 0.76 and 0.75 and for
jacob_cov 0.73, 0.71 and 0.71.

Needs ``nasbench201*.npz``; jacob_cov also CIFAR-10. Hardware: 2 CPU cores; synflow's
mean takes a minute, one draw some ten minutes at 32 x 32 pixels and three at 16 x 16,
once and then kept on disk; jacob_cov a second or two a cell.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy import stats

from evojax_mtl import load_tasks
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.jacob_cov import jacob_cov_scores
from evojax_mtl.evaluation.synflow_cache import cached_synflow
from evojax_mtl.networks.nasbench201_network import EDGES
from evojax_mtl.tasks.files import Arrays, find_npz, missing
from evojax_mtl.tasks.request import search_folders
from experiments.papers.cards import write

DATA_SETS = {"c10": (10, 32), "c100": (100, 32), "in16": (120, 16)}
"""Classes, and pixels a side."""

PUBLISHED = {
    "synflow": {"c10": 0.74, "c100": 0.76, "in16": 0.75},
    "jacob_cov": {"c10": 0.73, "c100": 0.71, "in16": 0.71},
}

BATCH = 64


def paths(ops: np.ndarray) -> np.ndarray:
    """Ways from a cell's input to its output, ``(A,)``."""
    arrive = [np.ones(len(ops)), *(np.zeros(len(ops)) for _ in range(3))]
    for k, (source, target) in enumerate(EDGES):
        arrive[target] = arrive[target] + (ops[:, k] > 0) * arrive[source]
    return arrive[3]


def depth(ops: np.ndarray) -> np.ndarray:
    """The most convolutions on a way from input to output, ``(A,)``."""
    reach = [np.zeros(len(ops)), *(np.full(len(ops), -np.inf) for _ in range(3))]
    for k, (source, target) in enumerate(EDGES):
        step = np.where(ops[:, k] > 0, np.isin(ops[:, k], (2, 3)), -np.inf)
        reach[target] = np.maximum(reach[target], reach[source] + step)
    return np.maximum(reach[3], -1)


def place(proxy: np.ndarray, best: int) -> float:
    """Rank of a cell by a proxy, 1 the highest; the middle of those that tie."""
    above, equal = (proxy > proxy[best]).sum(), (proxy == proxy[best]).sum()
    return float(above + (equal + 1) / 2)


def correlation(proxy: np.ndarray, accuracy: np.ndarray) -> float:
    """Spearman's; 0 where the proxy tells no two cells apart."""
    if np.ptp(proxy) == 0:
        return 0.0
    return float(stats.spearmanr(proxy, accuracy).statistic)


def judge(proxy: np.ndarray, accuracy: np.ndarray) -> dict[str, float]:
    """How well a proxy knows an accuracy."""
    liked = np.argsort(-proxy, kind="stable")[: len(proxy) // 10]
    return {
        "spearman": correlation(proxy, accuracy),
        "spearman_best_tenth": correlation(proxy[liked], accuracy[liked]),
        "rank_of_optimum": place(proxy, int(accuracy.argmax())),
        "best_of_first_10": float(accuracy[liked[:10]].max()),
    }


def jacob_cov(ops: np.ndarray, seed: int) -> np.ndarray:
    """Of cells, on the first training images of CIFAR-10."""
    (task,) = load_tasks("cifar10")
    images = task.train.images[:BATCH].astype(np.float32) / 255
    images = (images - images.mean((0, 1, 2))) / images.std((0, 1, 2))
    return jacob_cov_scores(ops, images, 10, jax.random.key(seed))


def table(data_dir: Path | None) -> dict[str, np.ndarray]:
    """The arrays that the card needs."""
    folders = search_folders(data_dir)
    path = find_npz("nasbench201", folders)
    if path is None:
        raise missing("nasbench201*.npz", folders, "it holds the accuracies")
    arrays = Arrays(path)
    kinds = ("val_200", "test_200", "flops_M", "params_M")
    names = ["ops", *(f"{name}_{kind}" for name in DATA_SETS for kind in kinds)]
    return {name: arrays.read(name) for name in names}


def rows(cells: dict[str, np.ndarray], draw: int | None) -> dict[str, Any]:
    """What each proxy knows about each data set."""
    ops, found = cells["ops"], {}
    for name, (classes, size) in DATA_SETS.items():
        synflow = cached_synflow(ops, classes, size)
        parameters = cells[f"{name}_params_M"]
        both = stats.rankdata(synflow) + stats.rankdata(parameters)
        proxies = {
            "synflow": synflow,
            "parameters": parameters,
            "multiply_adds": cells[f"{name}_flops_M"],
            "synflow_and_parameters": both,
            "paths": paths(ops),
            "depth": depth(ops),
        }
        if draw is not None:
            proxies["synflow_draw"] = cached_synflow(ops, classes, size, draw)
        accuracies = {kind: cells[f"{name}_{kind}"] for kind in ("val_200", "test_200")}
        found[name] = {
            kind: {key: judge(proxy, accuracy) for key, proxy in proxies.items()}
            for kind, accuracy in accuracies.items()
        }
        found[name]["synflow_with"] = {
            key: correlation(proxies["synflow"], proxy)
            for key, proxy in proxies.items()
            if key != "synflow"
        }
    return found


def main() -> None:
    """Writes ``results/zhang2024_proxies.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", type=int, help="seed of one draw of weights, too")
    parser.add_argument("--jacob", type=int, default=0, help="cells for jacob_cov")
    parser.add_argument("--seed", type=int, default=1, help="of these cells' choice")
    parser.add_argument("--data-dir", type=Path)
    chosen = parser.parse_args()
    try:
        cells = table(chosen.data_dir)
    except UserError as error:
        sys.exit(f"zhang2024_proxies: error: {error}")
    record: dict[str, Any] = {"draw": chosen.draw, "published": PUBLISHED}
    record["data_sets"] = rows(cells, chosen.draw)
    if chosen.jacob:
        rng = np.random.default_rng(chosen.seed)
        some = rng.permutation(len(cells["ops"]))[: chosen.jacob]
        scores = jacob_cov(cells["ops"][some], chosen.seed)
        record["jacob_cov"] = {
            "cells": chosen.jacob,
            "seed": chosen.seed,
            "spearman": {
                f"{name}_{kind}": correlation(scores, cells[f"{name}_{kind}"][some])
                for name in DATA_SETS
                for kind in ("val_200", "test_200")
            },
        }
    for name, found in record["data_sets"].items():
        for proxy, told in found["val_200"].items():
            print(
                f"{name:5} {proxy:14} {told['spearman']:6.3f} "
                f"{told['spearman_best_tenth']:6.3f} {told['rank_of_optimum']:8.1f}"
            )
    print(write("zhang2024_proxies", record))


if __name__ == "__main__":
    main()
