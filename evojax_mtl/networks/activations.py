"""Activations that are data: which one is an index, or three numbers.

All are ``a z`` above 0, and ``b (e^z - 1)`` or, where ``b`` is 0, ``c z`` below.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.architectures.layers import ACTIVATIONS

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_COEFFICIENTS = {
    "relu": (1.0, 0.0, 0.0),
    "linear": (1.0, 0.0, 1.0),
    "elu": (1.0, 1.0, 0.0),
    "selu": (_SELU_SCALE, _SELU_SCALE * _SELU_ALPHA, 0.0),
}


def coefficients(index: Int[Array, "*n"] | int) -> Float[Array, "*n 3"]:
    """``a``, ``b`` and ``c`` of the activations ``ACTIVATIONS[index]``."""
    table = [_COEFFICIENTS[name] for name in ACTIVATIONS]
    return jnp.asarray(table, jnp.float32)[index]


def activate(z: Float[Array, "*s"], numbers: Float[Array, "3"]) -> Float[Array, "*s"]:
    """The activation of these ``coefficients``."""
    a, b, c = numbers[0], numbers[1], numbers[2]

    def curved(z):
        return jnp.where(z > 0, a * z, b * jnp.expm1(jnp.minimum(z, 0)))

    def straight(z):
        return jnp.where(z > 0, a * z, c * z)

    return jax.lax.cond(b > 0, curved, straight, z)


def slope(y: Float[Array, "*s"], numbers: Float[Array, "3"]) -> Float[Array, "*s"]:
    """The activation's slope where its value is ``y``."""
    a, b, c = numbers[0], numbers[1], numbers[2]
    return jnp.where(y > 0, a, jnp.where(b > 0, y + b, c))
