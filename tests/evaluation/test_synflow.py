"""Synflow against automatic differentiation of plain networks, and its mean."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation import synflow
from evojax_mtl.networks.nasbench201_network import Skeleton, initial_weights
from tests.networks import nasbench201_reference as reference

SMALL = Skeleton(widths=(2, 3), cells=2)
SIDE, CLASSES = 4, 5


def random_cells(count, seed=0):
    return np.random.default_rng(seed).integers(0, 5, (count, 6)).astype(np.uint8)


def small_weights(seed=0):
    return synflow.random_weights(jax.random.key(seed), SMALL)


def small_classifier(seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (SMALL.widths[-1], CLASSES))


def by_gradients(weights, classifier, ops):
    """Sum of ``|w dR/dw|``, as the paper writes it."""
    images = jnp.ones((1, SIDE, SIDE, 3), jnp.float64)

    def total(weights, classifier):
        return reference.outputs(weights, classifier, ops, images).sum()

    parts = weights, jnp.asarray(classifier)
    gradients = jax.jit(jax.grad(total, (0, 1)))(*parts)
    products = jax.tree.map(lambda w, g: jnp.abs(w * g).sum(), parts, gradients)
    return float(sum(jax.tree.leaves(products)))


def test_scores_are_those_of_automatic_differentiation():
    # every operation on every edge, and an edge that leads nowhere
    cells = (np.arange(6) + np.arange(5)[:, None]) % 5
    cells[0, 0] = 0
    weights, classifier = small_weights(), small_classifier()
    found = synflow.score(synflow.flows(weights, cells, SIDE), classifier)
    assert found.dtype == np.float64
    with jax.enable_x64(True):
        expected = [by_gradients(weights, classifier, ops) for ops in cells]
    assert np.count_nonzero(expected) == 5
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_scores_are_those_of_pytorch():
    pytest.importorskip("torch", reason="PyTorch comes with the bench extra")
    from experiments.benchmarks import torch_nasbench201

    weights, classifier = small_weights(1), small_classifier(1)
    cells = random_cells(20, 1)
    found = synflow.score(synflow.flows(weights, cells, SIDE), classifier)
    expected = [
        torch_nasbench201.synflow(ops, weights, classifier, SIDE) for ops in cells
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_expected_score_is_the_mean_over_draws():
    cells = np.array([[3, 2, 3, 1, 4, 3], [1, 3, 2, 4, 1, 2], [3, 0, 0, 1, 3, 0]])
    keys = jax.random.split(jax.random.key(0), 400)
    draws = np.array(
        [synflow.synflow_scores(cells, 3, SIDE, key, SMALL) for key in keys]
    )
    expected = synflow.expected_synflow_scores(cells, 3, SIDE, SMALL)
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    assert (error < 0.1 * expected).all()
    assert (np.abs(draws.mean(0) - expected) < 4 * error).all()


def test_equal_channels_merge_exactly():
    """The expected score is that of a network of full width with equal weights."""
    cells = random_cells(20, 2)
    with jax.enable_x64(True):
        key, equal = jax.random.key(0), synflow.mean_uniform
        weights = initial_weights(key, SMALL, equal, jnp.float64)
    classifier = np.full((SMALL.widths[-1], 7), 0.5 / np.sqrt(SMALL.widths[-1]))
    expected = synflow.score(synflow.flows(weights, cells, SIDE), classifier)
    found = synflow.expected_synflow_scores(cells, 7, SIDE, SMALL)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_several_devices_score_the_same():
    """More cells than a chunk holds, over three devices of another process."""
    script = """
import jax
jax.config.update("jax_num_cpu_devices", 3)
import numpy as np
from evojax_mtl.evaluation import synflow
from evojax_mtl.networks.nasbench201_network import Skeleton
assert jax.device_count() == 3
cells = np.random.default_rng(0).integers(0, 5, (1000, 6)).astype(np.uint8)
key, small = jax.random.key(0), Skeleton((1, 2), 1)
print(synflow.synflow_scores(cells, 5, 4, key, small).tolist())
"""
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    cells = np.random.default_rng(0).integers(0, 5, (1000, 6)).astype(np.uint8)
    key, narrow = jax.random.key(0), Skeleton((1, 2), 1)
    found = synflow.synflow_scores(cells, 5, 4, key, narrow)
    np.testing.assert_allclose(json.loads(done.stdout), found, rtol=1e-12)


def test_cells_that_let_nothing_through_score_nothing():
    cells = np.array([[0] * 6, [3, 3, 3, 0, 0, 0], [0, 0, 3, 0, 3, 3]])
    assert (synflow.expected_synflow_scores(cells, 10, SIDE, SMALL) == 0).all()


def test_the_outside_keeps_single_precision():
    synflow.expected_synflow_scores(random_cells(1), 10, SIDE, SMALL)
    assert jnp.ones(()).dtype == jnp.float32


def test_no_cells_no_scores():
    found = synflow.expected_synflow_scores(np.zeros((0, 6), np.uint8), 10, SIDE, SMALL)
    assert found.shape == (0,)


@pytest.mark.parametrize(
    ("ops", "classes", "size", "field"),
    [
        (np.full((2, 6), 5), 10, 32, "ops"),
        (np.full((2, 6), -1), 10, 32, "ops"),
        (np.zeros((2, 6), int), 0, 32, "classes"),
        (np.zeros((2, 6), int), 10, 6, "size"),
        (np.zeros((2, 6), int), 10, 0, "size"),
    ],
)
def test_bad_input(ops, classes, size, field):
    for call in (
        lambda: synflow.synflow_scores(ops, classes, size, jax.random.key(0)),
        lambda: synflow.expected_synflow_scores(ops, classes, size),
    ):
        with pytest.raises(UserError, match=f"^{field}: found"):
            call()


@pytest.mark.parametrize("ops", [np.zeros((2, 5), int), np.zeros(6, int), np.eye(6)])
def test_what_is_no_list_of_cells(ops):
    with pytest.raises(UserError, match=r"^ops: found .* must be integers \(A, 6\)"):
        synflow.checked(ops, 32)
