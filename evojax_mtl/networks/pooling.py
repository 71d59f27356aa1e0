"""The adapter of CTR: 2x2 max-pooling with stride 2, odd edges cropped."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "*n H W C"]) -> Float[Array, "*n h w C"]:
    """The largest of every 2x2 block; ``h = H // 2``, ``w = W // 2``."""
    height, width = x.shape[-3] // 2 * 2, x.shape[-2] // 2 * 2
    rows = jnp.maximum(x[..., 0:height:2, :, :], x[..., 1:height:2, :, :])
    return jnp.maximum(rows[..., 0:width:2, :], rows[..., 1:width:2, :])


def max_pool_gradient(
    x: Float[Array, "*n H W C"],
    y: Float[Array, "*n h w C"],
    gradient: Float[Array, "*n h w C"],
) -> Float[Array, "*n H W C"]:
    """Gradient of ``y = max_pool(x)``; of equal values the first receives it.

    Equal values are common: where an image is blank, a module's output is its bias.
    """
    height, width = y.shape[-3:-1]
    margins = [(0, 0)] * (x.ndim - 3)
    margins += [(0, x.shape[axis] - 2 * y.shape[axis]) for axis in (-3, -2)]
    margins += [(0, 0)]

    def corner(i, j):
        return x[..., i : 2 * height : 2, j : 2 * width : 2, :] == y

    def enlarge(a):
        return jnp.pad(jnp.repeat(jnp.repeat(a, 2, -3), 2, -2), margins)

    largest = jnp.where(corner(1, 0), 2, 3)
    largest = jnp.where(corner(0, 0), 0, jnp.where(corner(0, 1), 1, largest))
    row, column = jnp.arange(x.shape[-3]) % 2, jnp.arange(x.shape[-2]) % 2
    here = (2 * row[:, None] + column)[..., None].astype(jnp.int8)
    return jnp.where(enlarge(largest.astype(jnp.int8)) == here, enlarge(gradient), 0)
