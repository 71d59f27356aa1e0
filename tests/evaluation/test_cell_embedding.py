"""Vectors of cells are those of node2vec, and near cells have near vectors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from evojax_mtl.cell_configs import KTNASCellConfig
from evojax_mtl.evaluation import cell_embedding
from evojax_mtl.evaluation.cell_embedding import cell_vectors, token_table
from evojax_mtl.evolution.node2vec import (
    architecture_vectors,
    distance,
    initial_table,
)
from evojax_mtl.genomes.cells import LENGTH, mutate, random_cells
from evojax_mtl.genomes.operation_graphs import CELL_TOKENS, cell_graphs, cell_tokens

SMALL = KTNASCellConfig(
    embedded=60, walks=2, walk_length=20, window=5, dimensions=16, population=4
)
ONE_HOT = dataclasses.replace(SMALL, embedding="one-hot")


def chains():
    """Cells, and others that differ from them in ever more integers."""
    first = random_cells(jax.random.key(0), (40,))
    steps = [first]
    for k in range(8):
        steps.append(mutate(jax.random.key(k), steps[-1], 0.05, step=False))
    return first, steps


def apart(table, a, b):
    return 1 - (cell_vectors(table, a) * cell_vectors(table, b)).sum(-1)


def test_a_genomes_vector_is_that_of_its_graph():
    table = np.random.default_rng(0).normal(size=(375, 8)).astype(np.float32)
    genomes = random_cells(jax.random.key(1), (3, 2))
    flat = genomes.reshape(-1, LENGTH)
    expected = architecture_vectors(cell_graphs(flat), jnp.asarray(table))
    found = cell_vectors(table[:CELL_TOKENS], genomes).reshape(6, -1)
    np.testing.assert_allclose(distance(found, expected), 0, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(found, axis=-1), 1, rtol=1e-5)


def test_one_hot_distances_are_shares_of_operations_not_in_common():
    a, b = (random_cells(jax.random.key(k)) for k in (2, 3))
    # without an operation twice at a place
    tokens = [np.asarray(cell_tokens(g)) for g in (a, b)]
    shared = sum((np.asarray(tokens[1]) == token).sum() for token in tokens[0])
    lengths = [
        np.sqrt((np.unique(own, return_counts=True)[1] ** 2).sum()) for own in tokens
    ]
    found = apart(token_table(ONE_HOT), a, b)
    np.testing.assert_allclose(found, 1 - shared / np.prod(lengths), atol=1e-6)


def test_near_cells_are_near_in_the_embedding_and_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cell_embedding._kept_table.cache_clear()
    table = token_table(SMALL)
    assert table.shape == (CELL_TOKENS, SMALL.dimensions)
    assert len(list(tmp_path.rglob("cells-node2vec-*.npz"))) == 1
    first, steps = chains()
    edits = [(np.asarray(s) != np.asarray(first)).sum((1, 2, 3)) for s in steps]
    edits = np.concatenate(edits)

    def correlation(table):
        found = np.concatenate([apart(table, first, s) for s in steps])
        return stats.spearmanr(found, edits).statistic

    assert correlation(table) > 0.8
    # read again, not computed
    cell_embedding._kept_table.cache_clear()
    monkeypatch.setattr(cell_embedding, "embed", None)
    np.testing.assert_array_equal(token_table(SMALL), table)
    # kinds of operation are nearer to each other than to others at the same place,
    # which no untrained table knows
    same = table.reshape(-1, 9, SMALL.dimensions)
    unit = same / np.linalg.norm(same, axis=-1, keepdims=True)
    of_kind = np.einsum("akd,bkd->k", unit, unit) / len(unit) ** 2
    of_all = np.einsum("akd,bjd->", unit, unit) / unit[..., 0].size ** 2
    assert of_kind.mean() > of_all + 0.05
    random = np.asarray(initial_table(jax.random.key(0), CELL_TOKENS, 16))
    random = (random / np.linalg.norm(random, axis=-1, keepdims=True)).reshape(
        -1, 9, 16
    )
    assert abs(np.einsum("akd,bkd->", random, random) / 9 / len(unit) ** 2) < 0.05
