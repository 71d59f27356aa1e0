"""Random weights, drawn flat: XLA folds the counters of shaped draws for seconds."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Initializer = Callable[..., Array]


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


def kaiming_normal(inputs: int | None = None) -> Initializer:
    """Draws kernels (window, inputs, outputs) from N(0, 2 / inputs of a unit).

    Args:
      inputs: of a unit, where the kernel's shape does not tell.
    """

    def draw(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        deviation = math.sqrt(2 / (inputs or math.prod(shape[:-1])))
        draws = jax.random.normal(key, (math.prod(shape),), dtype)
        return (deviation * draws).reshape(shape)

    return draw


def xavier_normal() -> Initializer:
    """Draws kernels (window, inputs, outputs) from N(0, 2 / (fan in + fan out))."""

    def draw(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        deviation = math.sqrt(2 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
        draws = jax.random.normal(key, (math.prod(shape),), dtype)
        return (deviation * draws).reshape(shape)

    return draw


def torch_uniform(inputs: int | None = None) -> Initializer:
    """PyTorch's default for weights and biases: U(-b, b), b = 1 / sqrt(inputs).

    Args:
      inputs: of a unit, where the shape does not tell, as a bias's.
    """

    def draw(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        limit = 1 / math.sqrt(inputs or math.prod(shape[:-1]))
        draws = jax.random.uniform(
            key, (math.prod(shape),), dtype, minval=-limit, maxval=limit
        )
        return draws.reshape(shape)

    return draw
