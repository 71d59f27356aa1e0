"""Adam as one scan, a step a key: what trains encoders of architectures."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import Array, Float, Key


def descend(
    params: Any,
    keys: Key[Array, "_"],
    gradient: Callable[[Any, Key[Array, ""]], Any],
    learning_rate: Float[Array, ""] | float,
) -> Any:
    """Weights after as many steps as there are keys.

    Args:
      params: weights to begin with.
      keys: randomness of each step.
      gradient: of the loss by the weights, given weights and a key.
      learning_rate: of all steps.
    """
    adam = optax.scale_by_adam()

    def update(state, key):
        params, moments = state
        change, moments = adam.update(gradient(params, key), moments)
        params = jax.tree.map(lambda a, d: a - learning_rate * d, params, change)
        return (params, moments), None

    (params, _), _ = jax.lax.scan(update, (params, adam.init(params)), keys)
    return params
