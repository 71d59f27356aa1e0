"""The adapter of CTR: 2x2 max-pooling with stride 2, odd edges cropped."""

import jax
import jax.numpy as jnp
import numpy as np
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
    *leading, height, width, channels = y.shape
    blocks = (*leading, height, 2, width, 2, channels)
    seen = x[..., : 2 * height, : 2 * width, :].reshape(blocks)
    axes = len(leading) + 1, len(leading) + 3

    def spread(a):
        return a[..., :, None, :, None, :]

    def count(k, first):
        # corners before the first largest one, from the last but one backwards
        corner = seen
        for axis, index in zip(axes, ((2 - k) // 2, (2 - k) % 2), strict=True):
            corner = jax.lax.dynamic_slice_in_dim(corner, index, 1, axis)
        return jnp.where(corner.reshape(y.shape) == y, 0, first + 1)

    # a loop, and blocks as axes: XLA's code for CPU is scalar where an expression reads
    # several corners, or repeated or padded operands
    first = jax.lax.fori_loop(0, 3, count, jnp.zeros_like(y))
    corner = np.arange(4, dtype=x.dtype).reshape(2, 1, 2, 1)
    found = jnp.where(spread(first) == corner, spread(gradient), 0)
    found = found.reshape(*leading, 2 * height, 2 * width, channels)
    rest = [(0, x.shape[axis] - found.shape[axis]) for axis in (-3, -2)]
    if rest == [(0, 0), (0, 0)]:
        return found
    return jnp.pad(found, [(0, 0)] * len(leading) + [*rest, (0, 0)])
