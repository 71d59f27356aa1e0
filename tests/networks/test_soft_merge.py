"""Soft merge: Eq. 1 and the scale of a new edge (Liang 2018, 3.3.2, step 6)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.networks.soft_merge import initial_scale, merge_weights, soft_merge

NODES = 5
TARGET = np.array([1, 1, 2, 1, 3, 2, 4], np.int32)
EDGE = np.array([True, True, True, False, True, True, True])
LOGITS = np.array([0.5, -1.0, 2.0, 9.0, 0.3, 1.5, -4.0], np.float32)


def test_a_soft_merge_is_the_sum_weighted_by_a_softmax():
    logits = jnp.array([0.0, math.log(3.0)])
    inputs = jnp.array([[[4.0, 8.0]], [[0.0, 4.0]]])
    np.testing.assert_allclose(soft_merge(logits, inputs), [[1.0, 5.0]], rtol=1e-6)


def test_a_masked_input_has_no_part_in_a_soft_merge():
    logits, mask = jnp.array([0.4, 7.0, -0.3]), jnp.array([True, False, True])
    inputs = jax.random.normal(jax.random.key(0), (3, 2, 5))
    kept = jnp.array([0, 2])
    expected = soft_merge(logits[kept], inputs[kept])
    np.testing.assert_allclose(soft_merge(logits, inputs, mask), expected, rtol=1e-6)


@jax.jit
def by_softmax(logits):
    """A softmax for each node's edges in use."""
    weights = jnp.zeros(len(TARGET))
    for node in range(NODES):
        into = np.flatnonzero(EDGE & (node == TARGET))
        weights = weights.at[into].set(jax.nn.softmax(logits[into]))
    return weights


@jax.jit
def ours(logits):
    return merge_weights(logits, jnp.asarray(TARGET), jnp.asarray(EDGE), NODES)


@pytest.mark.parametrize("offset", [0.0, 500.0, -500.0])
def test_merge_weights_are_softmaxes_over_the_edges_of_a_target(offset):
    logits = jnp.asarray(LOGITS + offset)
    np.testing.assert_allclose(ours(logits), by_softmax(logits), rtol=1e-5)


def test_merge_weights_have_the_gradient_of_a_softmax():
    slope = jnp.cos(jnp.arange(len(TARGET), dtype=jnp.float32))
    got, expected = (
        jax.jit(jax.grad(lambda x, f=f: jnp.vdot(slope, f(x))))(jnp.asarray(LOGITS))
        for f in (ours, by_softmax)
    )
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_an_unused_edge_may_hold_anything():
    logits = jnp.asarray(LOGITS).at[3].set(jnp.nan)
    weights, gradient = jax.value_and_grad(lambda x: (ours(x) ** 2).sum())(logits)
    expected = (by_softmax(jnp.asarray(LOGITS)) ** 2).sum()
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_a_lone_edge_has_weight_1_whatever_its_scale():
    weights = ours(jnp.asarray(LOGITS))
    assert weights[4] == 1
    assert weights[6] == 1


def test_step_6_by_hand():
    scales, into = jnp.array([0.3, 5.0, -1.2, 0.0]), jnp.array([1, 0, 1, 0], bool)
    expected = math.log(0.1 / 0.9 * (1 + math.exp(-1.5))) + 0.3
    np.testing.assert_allclose(initial_scale(scales, into, 0.1), expected, rtol=1e-6)


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("offset", [0.0, 300.0, -300.0])
def test_the_new_edge_has_weight_alpha_after_the_softmax(alpha, offset):
    existing = jnp.array([0.7, -2.0, 1.1]) + offset
    new = initial_scale(existing, jnp.ones(3, bool), alpha)
    before, after = jax.nn.softmax(existing), jax.nn.softmax(jnp.append(existing, new))
    np.testing.assert_allclose(after[3], alpha, rtol=2e-4)
    np.testing.assert_allclose(after[:3], (1 - alpha) * before, rtol=2e-4)
