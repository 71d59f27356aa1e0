"""What the card of zero-cost proxies computes."""

import itertools

import numpy as np
import pytest

from evojax_mtl.evaluation.synflow import all_cells
from evojax_mtl.networks.nasbench201_network import EDGES
from experiments.papers.zhang2024_proxies import depth, judge, paths, place


def walks(ops):
    """Operations on every way from node 0 to node 3, found by trying all."""
    edges = {edge: int(op) for edge, op in zip(EDGES, ops, strict=True)}
    found = []
    for count in range(3):
        for inner in itertools.combinations((1, 2), count):
            nodes = (0, *inner, 3)
            steps = [edges[pair] for pair in itertools.pairwise(nodes)]
            if all(steps):
                found.append(steps)
    return found


def test_paths_and_depth_are_those_of_all_walks():
    cells = all_cells()[::97]
    ways = [walks(ops) for ops in cells]
    assert paths(cells).tolist() == [len(found) for found in ways]
    deepest = [
        max((sum(op in (2, 3) for op in steps) for steps in found), default=-1)
        for found in ways
    ]
    assert depth(cells).tolist() == deepest


def test_the_place_of_a_cell_is_the_middle_of_its_ties():
    proxy = np.array([3.0, 1.0, 2.0, 2.0, 2.0])
    assert [place(proxy, k) for k in range(5)] == [1, 5, 3, 3, 3]


def test_a_proxy_that_is_the_accuracy_is_perfect():
    accuracy = np.random.default_rng(0).permutation(100) / 100
    found = judge(accuracy, accuracy)
    expected = {"spearman": 1, "spearman_best_tenth": 1, "rank_of_optimum": 1}
    assert found == pytest.approx(expected | {"best_of_first_10": 0.99})
