"""Zhang 2024, III-C: are near architectures near in the embedding?

    python -m experiments.papers.zhang2024_embedding --scale study

Embeds cells of NAS-Bench-201 by node2vec on their operation graphs and ranks pairs of
cells by distance. Told is Spearman's correlation of distances with

* the edit distance: operations in which two cells differ;
* the edit distance up to isomorphism: the fewest changes of one operation from one cell
  to the other, where cells that compute the same count as one cell;
* the difference of validation accuracy after 200 epochs on each data set;

and the gap of 10 neighbours: how far, in ranks of CIFAR-10 accuracy as a share of all
cells, a cell is from the ten nearest to it on average (a third for random ones).

Beside p = q = 1, the default, stand other rates of return and in-out, and the untrained
table, whose vectors are random: since random vectors of 256 dimensions are nearly
orthogonal, it ranks pairs by how many operations they share. arch2vec, which the
journal version takes, stands there trained and untrained.

Hardware: 2 CPU cores; ``smoke`` (300 cells embedded, pairs of all cells) and ``study``
(all 15,625, two seeds) a few minutes.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path

from evojax_mtl.evolution import arch2vec, node2vec
from evojax_mtl.evolution.arch2vec import Arch2VecConfig
from evojax_mtl.evolution.node2vec import Node2VecConfig
from evojax_mtl.genomes.operation_graphs import nasbench201_graphs
from evojax_mtl.tasks.files import find_npz, missing
from evojax_mtl.tasks.request import search_folders
from experiments.papers.cards import write

SCALES = {"smoke": (300, 1), "study": (15_625, 2)}
"""Cells that are embedded, and seeds."""
RATES = {
    "p = q = 1": (1.0, 1.0),
    "p = 0.25, q = 4": (0.25, 4.0),
    "p = 4, q = 0.25": (4.0, 0.25),
}
FROM, PAIRS, NEIGHBOURS = 300, 200_000, 10
DATASETS = ("c10", "c100", "in16")


def edit_distances(
    ops: np.ndarray, classes: np.ndarray, begin: np.ndarray
) -> np.ndarray:
    """Fewest edits from each of ``begin`` to every cell, isomorphic ones being one.

    Args:
      ops: operations of every cell of the space, ``(A, P)``.
      classes: the isomorphism class of each, ``(A,)``.
      begin: cells to start at.

    Returns:
      ``(len(begin), A)``.
    """
    kinds = ops.max() + 1
    place = kinds ** np.arange(ops.shape[1])
    cell = np.empty(len(ops), int)
    cell[ops @ place] = np.arange(len(ops))
    _, number = np.unique(classes, return_inverse=True)
    ends = []
    for position in range(ops.shape[1]):
        for kind in range(kinds):
            changed = ops.copy()
            changed[:, position] = kind
            ends.append(number[cell[changed @ place]])
    columns = np.concatenate(ends)
    rows = np.tile(number, len(ends))
    steps = csr_matrix((np.ones(len(rows)), (rows, columns)))
    return shortest_path(steps, unweighted=True, indices=number[begin])[:, number]


def measure(
    vectors: np.ndarray, table: dict[str, np.ndarray], seed: int = 0
) -> dict[str, float]:
    """What the docstring of this module tells, for vectors of all cells."""
    random = np.random.default_rng(seed)
    ops = table["ops"].astype(int)
    begin = random.permutation(len(ops))[:FROM]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = 1 - unit[begin] @ unit.T
    rows = random.integers(0, FROM, PAIRS)
    columns = random.integers(0, len(ops), PAIRS)
    distances = apart[rows, columns]

    def correlation(values):
        return float(stats.spearmanr(distances, values).statistic)

    first = begin[rows]
    found = {
        "edits": correlation((ops[first] != ops[columns]).sum(1)),
        "edits up to isomorphism": correlation(
            edit_distances(ops, table["iso_class"], begin)[rows, columns]
        ),
    }
    for name in DATASETS:
        accuracy = table[f"{name}_val_200"].astype(float)
        gaps = np.abs(accuracy[first] - accuracy[columns])
        found[f"accuracy {name}"] = correlation(gaps)
    rank = stats.rankdata(table["c10_val_200"]) / len(ops)
    apart[np.arange(FROM), begin] = np.inf
    near = np.argpartition(apart, NEIGHBOURS, 1)[:, :NEIGHBOURS]
    found["gap of 10 neighbours"] = float(
        np.abs(rank[begin][:, None] - rank[near]).mean()
    )
    return found


def main() -> None:
    """Embeds, measures, and writes ``results/zhang2024_embedding_SCALE.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="smoke", choices=SCALES)
    chosen = parser.parse_args()
    folders = search_folders(None)
    path = find_npz("nasbench201", folders)
    if path is None:
        raise missing("nasbench201.npz", folders, "a table of all cells")
    with np.load(path) as file:
        table = dict(file)
    count, seeds = SCALES[chosen.scale]
    graphs = nasbench201_graphs(jnp.asarray(table["ops"], jnp.int32))
    own = np.random.default_rng(0).permutation(len(table["ops"]))[:count]
    embedded = jax.tree.map(lambda leaf: leaf[own], graphs)
    embed, encode = jax.jit(node2vec.node2vec), jax.jit(arch2vec.arch2vec)
    vectors = jax.jit(arch2vec.architecture_vectors)
    config = Arch2VecConfig()
    results: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        key = jax.random.key(seed)
        size = (graphs.vocabulary, Node2VecConfig().dimensions)
        tables = {"untrained": node2vec.initial_table(key, *size)}
        for name, (p, q) in RATES.items():
            tables[name] = embed(key, embedded, Node2VecConfig(p=p, q=q))
        found = {
            name: node2vec.architecture_vectors(graphs, each)
            for name, each in tables.items()
        }
        weights = {
            "arch2vec, untrained": arch2vec.initial_params(key, graphs, config),
            "arch2vec": encode(key, embedded, config),
        }
        for name, params in weights.items():
            found[name] = vectors(graphs, params, config)
        for name, each in found.items():
            measured = measure(np.asarray(each), table, seed)
            results.setdefault(name, []).append(measured)
    for name, rows in results.items():
        means = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
        print(f"{name:20} " + ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
    record = {"scale": chosen.scale, "cells": count, "seeds": seeds, "results": results}
    print(write(f"zhang2024_embedding_{chosen.scale}", record))


if __name__ == "__main__":
    main()
