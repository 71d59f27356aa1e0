"""Random weights, drawn flat: XLA folds the counters of shaped draws for seconds."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def glorot_uniform(key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Glorot uniform weights of stacked layers, the default of Keras.

    Args:
      key: of the draw.
      shape: layers, then the kernel's window, inputs, outputs.
    """
    window = math.prod(shape[1:-2])
    limit = math.sqrt(6 / (window * (shape[-2] + shape[-1])))
    draws = jax.random.uniform(key, (math.prod(shape),), minval=-limit, maxval=limit)
    return draws.reshape(shape).astype(jnp.float32)
