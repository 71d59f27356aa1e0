"""RotoGrad's matrix exponential."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from evojax_mtl.balancing.rotograd import rotations


@pytest.mark.parametrize("scale", [0.0, 1e-4, 0.1, 3.0])
def test_they_are_exponentials_of_skew_parts(scale):
    rng = np.random.default_rng(0)
    generators = (scale * rng.normal(size=(3, 12, 12))).astype(np.float32)
    found = np.asarray(jax.jit(rotations)(generators))
    for one, turn in zip(generators.astype(float), found, strict=True):
        np.testing.assert_allclose(turn, scipy.linalg.expm(one - one.T), atol=1e-4)
        np.testing.assert_allclose(turn @ turn.T, np.eye(12), atol=1e-4)


def test_gradients_are_those_of_the_exponential():
    rng = np.random.default_rng(1)
    generators = (0.5 * rng.normal(size=(2, 5, 5))).astype(np.float32)
    weights = rng.normal(size=(2, 5, 5)).astype(np.float32)
    slope = jax.grad(lambda g: jnp.sum(weights * rotations(g)))(generators)
    directions = rng.normal(size=generators.shape)
    for task, (one, way) in enumerate(zip(generators, directions, strict=True)):
        expected = np.sum(
            weights[task]
            * scipy.linalg.expm_frechet(
                one.astype(float) - one.T, way - way.T, compute_expm=False
            )
        )
        np.testing.assert_allclose(np.sum(slope[task] * way), expected, rtol=1e-3)


def test_nothing_calls_lapack():
    """Its batched factorisations can block each other in a small thread pool."""
    slope = jax.grad(lambda g: jnp.sum(rotations(g) ** 2 * jnp.arange(5.0)))
    program = jax.jit(slope).lower(jnp.zeros((3, 5, 5))).as_text()
    assert "custom_call" not in program
