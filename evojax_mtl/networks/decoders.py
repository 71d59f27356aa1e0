"""Decoders: one fully connected classification layer an individual (Liang 2018)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

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
    def __call__(self, x: Float[Array, "P B h w C"]) -> Float[Array, "P B L"]:
        """Logits."""
        features = x.reshape(*x.shape[:2], -1)
        shape = (self.networks, features.shape[-1], self.classes)
        kernel = self.param("kernel", glorot_uniform, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.networks, self.classes))
        return jnp.einsum("pbf,pfl->pbl", features, kernel) + bias[:, None]
