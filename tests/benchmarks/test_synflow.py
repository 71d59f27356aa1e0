"""The benchmark of synflow on a few small cells."""

import numpy as np
import pytest

from evojax_mtl.networks.nasbench201_network import Skeleton
from experiments.benchmarks import synflow


def test_the_peer_finds_the_same_scores(monkeypatch):
    pytest.importorskip("torch", reason="PyTorch comes with the bench extra")
    monkeypatch.setitem(synflow.SETTINGS, "tiny", (3, 4))
    cells = np.random.default_rng(0).integers(0, 5, (8, 6)).astype(np.uint8)
    case, own = synflow.compare("tiny", cells, 4, print, Skeleton((2, 3), 2))
    assert case.max_abs_difference < 1e-10
    assert case.ratio > 0
    assert own.peer_seconds == case.ours_seconds


def test_a_score_of_zero_allows_no_difference():
    zero = np.zeros(2)
    assert synflow.relative(zero, zero) == 0
    assert synflow.relative(np.array([1e-9, 0]), zero) > 1
    assert synflow.relative(np.array([1.01]), np.array([1.0])) == pytest.approx(0.01)
