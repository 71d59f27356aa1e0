"""The benchmark node2vec: both sides walk over the same graphs."""

import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evolution.node2vec import Node2VecConfig
from evojax_mtl.genomes.operation_graphs import nasbench201_graphs
from experiments.benchmarks import node2vec

TINY = Node2VecConfig(dimensions=8, walk_length=5, walks=2, window=2, epochs=1)


def test_rank_correlation_of_perfect_vectors():
    ops = node2vec.architectures(50)
    assert len(np.unique(ops, axis=0)) == 50
    # operations one-hot: the distance is the share of operations that differ
    vectors = np.eye(5)[ops].reshape(50, -1)
    assert node2vec.rank_correlation(ops, vectors) == pytest.approx(1)


def test_peer_walks_over_the_same_graphs():
    for package in ("node2vec", "gensim", "networkx"):
        pytest.importorskip(package)
    graphs = nasbench201_graphs(jnp.asarray(node2vec.architectures(3)))
    ours, peer = node2vec.Ours(graphs, TINY), node2vec.Peer(graphs, TINY)
    for side in (ours, peer):
        side.walk()
        side.train()
    assert np.shape(ours.table) == np.shape(peer.table)
    used = np.asarray(graphs.adjacency).any(-1)
    assert len(peer.walked) == TINY.walks * used.sum()
    seen = {int(token) for walk in peer.walked for token in walk}
    assert seen == set(np.asarray(graphs.tokens)[used].tolist())
    assert {len(walk) for walk in peer.walked} == {TINY.walk_length}
