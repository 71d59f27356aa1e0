"""jacob_cov against a plain network, PyTorch, and the formula as published."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation import jacob_cov
from evojax_mtl.networks.nasbench201_network import Skeleton, initial_weights
from evojax_mtl.runs.compilation import CompilationCounter
from tests.networks import nasbench201_reference as reference

SMALL = Skeleton(widths=(2, 4), cells=2)
RANDOM = np.random.default_rng(0)
IMAGES = jnp.array(RANDOM.normal(size=(6, 8, 8, 3)), jnp.float32)
CLASSIFIER = jnp.array(RANDOM.normal(size=(4, 3)), jnp.float32)
GRADIENTS = jax.jit(jacob_cov.input_gradients)
CELLS = ((3, 1, 2, 4, 3, 2), (2, 3, 4, 1, 0, 3))


@pytest.fixture(scope="module")
def weights():
    draw = partial(initial_weights, skeleton=SMALL)
    return jax.jit(draw)(jax.random.key(0))


@pytest.mark.parametrize("ops", CELLS)
def test_gradients_are_those_of_a_plain_network(weights, ops):
    def total(images):
        norm = reference.batch_norm
        return reference.outputs(weights, CLASSIFIER, ops, images, norm).sum()

    expected = jax.jit(jax.grad(total))(IMAGES).reshape(6, -1)
    found = GRADIENTS(weights, CLASSIFIER, jnp.array(ops), IMAGES)
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("ops", CELLS)
def test_gradients_are_those_of_pytorch(weights, ops):
    pytest.importorskip("torch", reason="PyTorch comes with the bench extra")
    from experiments.benchmarks import torch_nasbench201

    expected = torch_nasbench201.jacobian(ops, weights, CLASSIFIER, IMAGES)
    expected = expected.reshape(6, 3, 8, 8).transpose(0, 2, 3, 1).reshape(6, -1)
    found = GRADIENTS(weights, CLASSIFIER, jnp.array(ops), IMAGES)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale)


def test_the_score_is_the_published_formula():
    rows = RANDOM.normal(size=(5, 40)) + RANDOM.normal(size=40)
    values, _ = np.linalg.eig(np.corrcoef(rows))
    expected = -np.sum(np.log(values + 1e-5) + 1.0 / (values + 1e-5))
    assert jacob_cov.correlation_score(rows) == pytest.approx(expected)


def test_uncorrelated_gradients_score_best_and_equal_ones_worst():
    apart = np.kron(np.eye(4), [[1.0, -1.0]])
    assert jacob_cov.correlation_score(apart) == pytest.approx(-4, abs=1e-3)
    alike = apart[[0, 1, 2, 2]]
    assert jacob_cov.correlation_score(alike) < -9e4
    assert jacob_cov.correlation_score(np.zeros((4, 8))) == -np.inf


def test_one_compilation_serves_any_cells():
    key = jax.random.key(1)
    first = jacob_cov.jacob_cov_scores(np.array(CELLS), IMAGES, 3, key, SMALL)
    with CompilationCounter() as counter:
        more = np.array([CELLS[1], [0] * 6, [3] * 6])
        found = jacob_cov.jacob_cov_scores(more, IMAGES, 3, key, SMALL)
    assert counter.requests == 0
    assert found[0] == first[1]
    assert found[1] == -np.inf
    assert np.isfinite(found[2])


@pytest.mark.parametrize(
    ("shape", "classes", "field"),
    [((1, 8, 8, 3), 3, "images"), ((4, 8, 4, 3), 3, "images"),
     ((4, 8, 8, 1), 3, "images"), ((4, 6, 6, 3), 3, "size"),
     ((4, 8, 8, 3), 0, "classes")],
)  # fmt: skip
def test_bad_input(shape, classes, field):
    images = np.zeros(shape, np.float32)
    with pytest.raises(UserError, match=f"^{field}: found"):
        jacob_cov.jacob_cov_scores(np.array(CELLS), images, classes, jax.random.key(0))
