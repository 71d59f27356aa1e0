"""Graphs of operations: who is whose neighbour, and which token is whose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.genomes import cells
from evojax_mtl.genomes.genotypes import GENOTYPES
from evojax_mtl.genomes.operation_graphs import (
    TABULAR_EDGES,
    cell_graphs,
    nasbench201_graphs,
    transnasbench101_graphs,
)

INPUT, OUTPUT, KIND = 6, 7, 8


def edges(adjacency) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in np.argwhere(np.triu(adjacency))}


def test_a_cell_of_nasbench201():
    # edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3
    graphs = jax.jit(nasbench201_graphs)(jnp.array([[0, 1, 2, 3, 4, 4]]))
    assert graphs.vocabulary == 37
    assert graphs.tokens[0].tolist() == [0, 6, 12, 18, 24, 29, *range(30, 37)]
    assert graphs.mask[0].tolist() == [True] * 6 + [False] * 7
    flow = {(0, 2), (0, 4), (1, 5), (2, 5)}
    ends = {(0, INPUT), (1, INPUT), (3, INPUT), (3, OUTPUT), (4, OUTPUT), (5, OUTPUT)}
    kinds = {(k, KIND + kind) for k, kind in enumerate([0, 1, 2, 3, 4, 4])}
    assert edges(graphs.adjacency[0]) == flow | ends | kinds
    np.testing.assert_array_equal(
        graphs.adjacency[0], np.swapaxes(graphs.adjacency[0], 0, 1)
    )


@pytest.mark.parametrize(
    ("build", "kinds"), [(nasbench201_graphs, 5), (transnasbench101_graphs, 4)]
)
def test_tokens_tell_position_and_operation(build, kinds):
    every = np.indices((kinds,) * 6).reshape(6, -1).T
    graphs = build(jnp.asarray(every))
    tokens = np.asarray(graphs.tokens)
    assert graphs.vocabulary == 6 * kinds + 2 + kinds == tokens.max() + 1
    own = tokens[:, : len(TABULAR_EDGES)]
    np.testing.assert_array_equal(own // kinds, np.arange(6) + 0 * own)
    np.testing.assert_array_equal(own % kinds, every)


@pytest.mark.parametrize("name", GENOTYPES)
def test_graphs_of_published_cells(name):
    """Against a plain reading of the forty integers."""
    code = np.array(GENOTYPES[name])
    graphs = cell_graphs(jnp.asarray(code)[None])
    assert graphs.vocabulary == 375
    tokens, found = np.asarray(graphs.tokens[0]), edges(graphs.adjacency[0])
    assert graphs.mask[0].tolist() == [True] * 20 + [False] * 15
    ends = [(20, 21, 22), (23, 24, 25)]  # both inputs and the output of each cell
    expected = set()
    for t, genes in enumerate(code.reshape(2, 5, 4)):
        read = set(genes[:, :2].ravel())
        for block, gene in enumerate(genes):
            for k in range(2):
                node, source, kind = 10 * t + 2 * block + k, gene[k], gene[2 + k]
                slot = 20 * t + sum(2 + i for i in range(block)) + source
                assert tokens[node] == 9 * slot + kind
                expected.add((node, 26 + kind))
                if source < 2:
                    expected.add((node, ends[t][source]))
                else:
                    writers = 10 * t + 2 * (source - 2) + np.arange(2)
                    expected |= {tuple(sorted((node, w))) for w in writers}
                if block + 2 not in read:
                    expected.add((node, ends[t][2]))
        expected |= {tuple(sorted((ends[t][i], ends[1 - t][2]))) for i in range(2)}
    assert found == {(int(a), int(b)) for a, b in expected}


def test_order_within_a_block_changes_no_vector():
    genome = cells.random_cells(jax.random.key(0), (20,))
    swapped = genome[..., jnp.array([1, 0, 3, 2])]
    one, other = (cell_graphs(g.reshape(20, 40)) for g in (genome, swapped))
    np.testing.assert_array_equal(
        np.sort(one.tokens[:, :20]), np.sort(other.tokens[:, :20])
    )
    assert not np.array_equal(one.tokens, other.tokens)
