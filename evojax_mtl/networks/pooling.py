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

    def spread(a):
        return a[..., :, None, :, None, :]

    # blocks as axes: repeated or padded operands make XLA's code for CPU scalar; the
    # barrier keeps the choice of a corner from being made anew for each of the four
    seen = x[..., : 2 * height, : 2 * width, :].reshape(blocks)
    largest = seen == spread(y)
    first = jnp.where(largest[..., 1, :, 0, :], 2, 3)
    first = jnp.where(largest[..., 0, :, 1, :], 1, first)
    first = jnp.where(largest[..., 0, :, 0, :], 0, first)
    first = jax.lax.optimization_barrier(first)
    corner = np.arange(4, dtype=np.int32).reshape(2, 1, 2, 1)
    found = jnp.where(spread(first) == corner, spread(gradient), 0)
    found = found.reshape(*leading, 2 * height, 2 * width, channels)
    rest = [(0, x.shape[axis] - found.shape[axis]) for axis in (-3, -2)]
    if rest == [(0, 0), (0, 0)]:
        return found
    return jnp.pad(found, [(0, 0)] * len(leading) + [*rest, (0, 0)])
