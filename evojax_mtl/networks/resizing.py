"""Bilinear resizing of maps, corners on corners."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def _weights(source: int, target: int) -> np.ndarray:
    """What each target pixel takes of each source pixel, ``(target, source)``."""
    place = np.linspace(0, source - 1, target) if target > 1 else np.zeros(1)
    low = np.minimum(place.astype(int), max(source - 2, 0))
    part = place - low
    weights = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    weights[rows, low] = 1 - part
    weights[rows, np.minimum(low + 1, source - 1)] += part
    return weights


def resize(
    x: Float[Array, "B h w C"], size: tuple[int, int]
) -> Float[Array, "B H W C"]:
    """Bilinear; the corner pixels' centres stay (PyTorch's ``align_corners=True``)."""
    rows = jnp.asarray(_weights(x.shape[1], size[0]), x.dtype)
    columns = jnp.asarray(_weights(x.shape[2], size[1]).T, x.dtype)
    # channels first, the long product last: its result needs no transposition
    tall = jnp.einsum("Hh,bhwc->bcHw", rows, x)
    return jnp.moveaxis(jnp.einsum("bcHw,wW->bcHW", tall, columns), 1, -1)
