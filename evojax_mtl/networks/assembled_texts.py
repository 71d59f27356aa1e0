"""Assembled networks that read texts.

Shape legend: ``T`` tasks, ``B`` texts a task, ``L`` words, ``D`` dimensions of a word's
vector, ``C`` channels of a map.

As ``assembled``, but what stands at the edges: a linear layer makes of each word's
vector as many units as the final layers have, so that maps need not be as wide as word
vectors, and is learned with the rest; decoders read the mean over the steps that are
left at the coarsest resolution.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.architectures.layers import Network
from evojax_mtl.architectures.table import INPUT
from evojax_mtl.networks import sequences
from evojax_mtl.networks.assembled import AssembledNetworks
from evojax_mtl.networks.layer_sets import Mask
from evojax_mtl.networks.layer_weights import HE
from evojax_mtl.networks.preprocessing import preprocessed_words


class Words(NamedTuple):
    """Texts of every task.

    Attributes:
      vectors: of the words.
      mask: the words that are there, the first ones.
    """

    vectors: Float[Array, "T B L D"]
    mask: Bool[Array, "T B L"]


@dataclass(frozen=True)
class AssembledTexts(AssembledNetworks):
    """See the module; ``size`` is the words of a text.

    Attributes:
      dimensions: of a word's vector, ``D``.
    """

    dimensions: int

    @property
    def features(self) -> tuple[int, ...]:
        """Shape of what a decoder reads of a text."""
        return (self.kinds.map,)

    @staticmethod
    def width(network: Network) -> Any:
        """Units of the encoder and of the final layers."""
        return network.layers.filters[INPUT]

    def init(self, key: Array, network: Network) -> dict[str, Any]:
        """Random weights; all scales of soft merges are equal."""
        encoder_key, key = jax.random.split(key)
        he, width = network.initializer == HE, self.width(network)
        limit = jnp.sqrt(6 / (self.dimensions + jnp.where(he, 0, width)))
        shape = self.dimensions, self.kinds.map
        kernel = limit * jax.random.uniform(encoder_key, shape, minval=-1.0)
        encoder = {"kernel": kernel, "bias": jnp.zeros(self.kinds.map)}
        return super().init(key, network) | {"encoder": encoder}

    def encode(
        self, params: dict[str, Any], network: Network, examples: Words
    ) -> tuple[Array, Mask]:
        """See ``AssembledNetworks.encode``."""
        vectors, mask = (x.reshape(-1, *x.shape[2:]) for x in examples)
        chosen = network.preprocessing
        vectors = preprocessed_words(self.preprocessing, chosen, vectors, mask)
        encoder = params["encoder"]
        x = vectors @ encoder["kernel"] + encoder["bias"]
        x = jnp.where(jnp.arange(self.kinds.map) < self.width(network), x, 0)
        return sequences.masked(x, mask)[None], mask

    def read_out(self, out: Array, mask: Mask) -> Array:
        """The mean over the steps that are there."""
        return sequences.mean_over_time(out, self.kinds.masks(mask, len(self.rows))[-1])

    def parameters(self, network: Network, outputs: int) -> Any:
        """See ``AssembledNetworks.parameters``; units beyond a width do not count."""
        total = super().parameters(network, outputs)
        return total + self._at_the_edges(network, self.dimensions + 1, outputs)

    def multiply_adds(self, network: Network, outputs: int) -> Any:
        """See ``AssembledNetworks.multiply_adds``."""
        total, steps = super().multiply_adds(network, outputs), self.size[0]
        each = outputs // self.tasks
        return total + self._at_the_edges(network, self.dimensions * steps, each)

    def _at_the_edges(self, network: Network, encoder: int, outputs: int) -> Any:
        """The encoder's share, and what decoders do not read of a whole map."""
        width = self.width(network)
        return encoder * width - (self.kinds.map - width) * outputs
