"""Decoders: one fully connected classification layer an individual (Liang 2018)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.networks.initializers import glorot_uniform


class LinearDecoders(nn.Module):
    """A linear layer for each of ``P`` networks over its flattened map.

    Attributes:
      networks: networks ``P``.
      classes: outputs ``L`` of each.
    """

    networks: int
    classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "P B *features"]) -> Float[Array, "P B L"]:
        """Logits; NaN where a layer's own weights are not finite.

        Such a layer passes no gradient on, so that it cannot spoil what it reads.
        """
        features = x.reshape(*x.shape[:2], -1)
        shape = (self.networks, features.shape[-1], self.classes)
        kernel = self.param("kernel", glorot_uniform, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.networks, self.classes))
        kernel, sound = isolate(kernel)
        bias, sound_bias = isolate(bias)
        logits = jnp.einsum("pbf,pfl->pbl", features, kernel) + bias[:, None]
        return jnp.where((sound & sound_bias)[:, None, None], logits, jnp.nan)


def isolate(
    weights: Float[Array, "P *shape"],
) -> tuple[Float[Array, "P *shape"], Bool[Array, "P"]]:
    """Weights with zeros for networks that have NaN or inf among theirs.

    Also returns which networks have none. Minus infinity is allowed: a merge scale of
    weight 0.
    """
    sound = (weights < jnp.inf).all(axis=tuple(range(1, weights.ndim)))
    return jnp.where(sound.reshape(-1, *[1] * (weights.ndim - 1)), weights, 0), sound
