"""Max-pooling against XLA's, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.networks.pooling import max_pool, max_pool_gradient


def plain(x):
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


@pytest.mark.parametrize("size", [(4, 6), (5, 4), (7, 9), (2, 3)])
def test_it_and_its_gradient_are_those_of_a_plain_pool_even_where_values_tie(size):
    rng = np.random.default_rng(0)
    # few levels: most blocks have several largest values, zero or not
    x = jnp.asarray(rng.integers(0, 3, (3, *size, 2)), jnp.float32)
    expected, pull = jax.vjp(jax.jit(plain), x)
    gradient = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)
    y = jax.jit(max_pool)(x)
    np.testing.assert_array_equal(y, expected)
    got = jax.jit(max_pool_gradient)(x, y, gradient)
    np.testing.assert_array_equal(got, pull(gradient)[0])


def test_any_leading_axes_do():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 5, 4))
    y = max_pool(x)
    got = max_pool_gradient(x, y, y)
    for i in range(2):
        np.testing.assert_array_equal(got[i], max_pool_gradient(x[i], y[i], y[i]))
