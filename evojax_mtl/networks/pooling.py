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
    """Gradient of ``y = max_pool(x)``; ties all receive it.

    Ties arise in practice only between zeros of a rectified map, whose own gradient
    is 0.
    """
    margins = [(0, 0)] * (x.ndim - 3)
    margins += [(0, x.shape[axis] - 2 * y.shape[axis]) for axis in (-3, -2)]
    margins += [(0, 0)]

    def enlarge(a):
        return jnp.pad(jnp.repeat(jnp.repeat(a, 2, -3), 2, -2), margins)

    return jnp.where(x == enlarge(y), enlarge(gradient), 0)
