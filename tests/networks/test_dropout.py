"""Dropout: its rate, its scale, and masks that follow from key and identity alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.networks.dropout import LEVELS, dropout, keep_threshold, random_bytes

KEY, COUNT = jax.random.key(5), 1 << 16
draw = jax.jit(random_bytes, static_argnums=2)
drop = jax.jit(dropout)


def identity(network, node):
    return jnp.array([network, node], jnp.int32)


def mask(network, node, rate=0.5, key=KEY, count=COUNT):
    x = jnp.ones((count,))
    return np.asarray(drop(key, identity(network, node), x, keep_threshold(rate))) > 0


@pytest.mark.parametrize(
    ("rate", "kept"), [(0.0, 256), (0.1, 230), (0.5, 128), (0.998, 1), (0.9999, 1)]
)
def test_the_threshold_is_the_kept_share_of_all_draws(rate, kept):
    assert keep_threshold(rate) == kept


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 0.9])
def test_units_are_dropped_at_the_rate(rate):
    dropped = 1 - mask(3, 7, rate).mean()
    # draws have 8 bits: the rate is met to 1/512, and then there is chance
    deviation = np.sqrt(rate * (1 - rate) / COUNT)
    assert abs(dropped - rate) < 1 / 512 + 4 * deviation


def test_nothing_is_dropped_at_rate_0():
    x = jax.random.normal(jax.random.key(1), (COUNT,))
    np.testing.assert_array_equal(drop(KEY, identity(0, 2), x, keep_threshold(0.0)), x)


def test_units_that_stay_are_scaled_so_that_the_mean_stays():
    x = 1 + jax.random.uniform(jax.random.key(1), (COUNT,))
    threshold = keep_threshold(0.3)
    y = np.asarray(drop(KEY, identity(0, 2), x, threshold))
    kept = y != 0
    scale = LEVELS / int(threshold)
    np.testing.assert_allclose(y[kept], np.asarray(x)[kept] * scale, rtol=1e-6)
    np.testing.assert_allclose(y.mean(), x.mean(), rtol=0.02)


def test_a_mask_does_not_depend_on_its_position_in_a_stack():
    nodes = jnp.array([[0, 2], [1, 9], [0, 5], [2, 2]], jnp.int32)
    stacked = jax.jit(jax.vmap(lambda i: random_bytes(KEY, i, 64)))
    order = np.array([2, 0, 3, 1])
    rows = np.asarray(stacked(nodes))
    np.testing.assert_array_equal(stacked(nodes[order]), rows[order])
    for row, node in zip(rows, nodes, strict=True):
        np.testing.assert_array_equal(draw(KEY, node, 64), row)


def test_a_mask_does_not_depend_on_the_shape():
    x = jnp.ones((COUNT,))
    shaped = drop(KEY, identity(1, 4), x.reshape(4, 16, -1, 8), keep_threshold(0.4))
    np.testing.assert_array_equal(
        np.ravel(shaped), drop(KEY, identity(1, 4), x, keep_threshold(0.4))
    )


def correlation(a, b):
    return np.corrcoef(a.astype(float), b.astype(float))[0, 1]


@pytest.mark.parametrize(
    "other", [(1, 2), (2, 1), (1, 4), (0, 3), (1, 259), (257, 3), (65537, 3)]
)
def test_masks_of_different_identities_are_independent(other):
    assert abs(correlation(mask(1, 3), mask(*other))) < 4 / np.sqrt(COUNT)


def test_masks_of_different_keys_are_independent():
    others = [jax.random.key(6), jax.random.fold_in(KEY, 1)]
    for key in others:
        both = mask(1, 3), mask(1, 3, key=key)
        assert abs(correlation(*both)) < 4 / np.sqrt(COUNT)


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 64, 4096])
def test_units_of_one_mask_are_independent(lag):
    units = mask(2, 6)
    assert abs(correlation(units[:-lag], units[lag:])) < 4 / np.sqrt(COUNT)


@pytest.mark.parametrize("node", [0, 1, 2, 1000])
def test_all_256_bytes_are_equally_likely(node):
    counts = np.bincount(np.asarray(draw(KEY, identity(0, node), COUNT)), minlength=256)
    mean = COUNT / 256
    statistic = ((counts - mean) ** 2 / mean).sum()
    # chi-square with 255 degrees of freedom: mean 255, deviation 22.6; too even is
    # as unlikely as too uneven
    assert abs(statistic - 255) < 4.5 * np.sqrt(2 * 255)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 63])
def test_any_number_of_bytes_can_be_drawn(count):
    whole = np.asarray(draw(KEY, identity(4, 4), 64))
    np.testing.assert_array_equal(draw(KEY, identity(4, 4), count), whole[:count])
