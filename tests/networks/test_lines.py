"""Depthwise convolutions and spread values against XLA's own operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.networks import lines

CHANNELS = 6


def reference(x, kernel, dilation):
    """The convolution of NHWC images by ``lax.conv``."""
    return jax.lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (1, 1),
        "SAME",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=CHANNELS,
    )


@pytest.mark.parametrize(("size", "dilation"), [(1, 2), (3, 1), (3, 2), (5, 2), (7, 1)])
@pytest.mark.usefixtures("platform")
def test_depthwise_equals_lax_convolution_values_and_gradients(size, dilation):
    keys = jax.random.split(jax.random.key(size), 3)
    x = jax.random.normal(keys[0], (3, 5, 4, CHANNELS))
    kernel = jax.random.normal(keys[1], (size, size, CHANNELS))
    gradient = jax.random.normal(keys[2], x.shape)
    y, pull = jax.vjp(lambda x, kernel: reference(x, kernel, dilation), x, kernel)
    dx, dkernel = pull(gradient)
    line, slope = x.reshape(3, 5, -1), gradient.reshape(3, 5, -1)
    close = {"rtol": 1e-4, "atol": 1e-4}
    found = lines.depthwise(line, kernel, dilation)
    np.testing.assert_allclose(found, y.reshape(line.shape), **close)
    found = lines.depthwise_input_gradient(slope, kernel, dilation)
    np.testing.assert_allclose(found, dx.reshape(line.shape), **close)
    found = lines.depthwise_kernel_gradient(line, slope, size, CHANNELS, dilation)
    np.testing.assert_allclose(found, dkernel, **close)


@pytest.mark.usefixtures("platform")
def test_spread_values_are_those_of_the_channels_to_the_bit():
    values = jax.random.normal(jax.random.key(0), (2, CHANNELS))
    x = jnp.zeros((2, 3, 4 * CHANNELS))
    np.testing.assert_array_equal(lines.spread(list(values), x), jnp.tile(values, 4))
