"""Activations that are data: which one is an index."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_COEFFICIENTS = {
    "relu": (1.0, 0.0, 0.0),
    "linear": (1.0, 0.0, 1.0),
    "elu": (1.0, 1.0, 0.0),
    "selu": (_SELU_SCALE, _SELU_SCALE * _SELU_ALPHA, 0.0),
}
ACTIVATIONS = tuple(_COEFFICIENTS)
"""Those of LEAF's Table 3 (Liang 2019)."""


def activate(
    z: Float[Array, "*shape"], index: Int[Array, ""] | int
) -> Float[Array, "*shape"]:
    """The activation ``ACTIVATIONS[index]``: one formula for all of them.

    ``a z`` above 0 and ``b (e^z - 1) + c z`` below.
    """
    table = jnp.asarray(list(_COEFFICIENTS.values()), jnp.float32)
    a, b, c = table[index]
    below = b * jnp.expm1(jnp.minimum(z, 0)) + c * z
    return jnp.where(z > 0, a * z, below)
