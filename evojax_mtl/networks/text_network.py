"""A fixed network for texts, whose widths and rates are data.

Shape legend: ``T`` tasks, ``B`` texts, ``L`` words, ``D`` dimensions of a word's
vector, ``U`` units of a layer.

Convolutions over time, each with an activation, dropout and max-pooling of pairs; a
recurrent layer; the mean over the words that are left, with dropout; a linear layer a
task. All tasks share what comes before the last layer. Layers have ``U`` units in
memory; a network of fewer computes the narrowest *bucket* that holds them, a branch of
its own, and masks the rest of the bucket.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.networks import sequences
from evojax_mtl.networks.activations import activate, coefficients
from evojax_mtl.networks.dropout import dropout, keep_threshold
from evojax_mtl.networks.preprocessing import preprocessed_words
from evojax_mtl.networks.sequence_operations import (
    Conv1D,
    Fans,
    RecurrentLayer,
    pool,
    run,
)
from evojax_mtl.networks.sequences import Recurrent
from evojax_mtl.pytrees import Pytree

Params = dict[str, Any]


class Traits(Pytree):
    """What a network is, besides its weights.

    Attributes:
      width: units of each layer.
      activation: index into ``architectures.layers.ACTIVATIONS``.
      dropout: rate after each layer but the last.
      he: whether random weights follow He's scale and not Glorot's.
      preprocessing: index into the network's ways to preprocess, None where there are
        none.
    """

    width: Int[Array, ""]
    activation: Int[Array, ""]
    dropout: Float[Array, ""]
    he: Bool[Array, ""]
    preprocessing: Int[Array, ""] | None = None


def _narrowed(params: Params, units: int) -> Params:
    """The weights of the first ``units`` of every layer."""

    def gates(leaf):
        full = params["heads"]["kernel"].shape[1]
        parts = leaf.reshape(*leaf.shape[:-1], -1, full)[..., :units]
        return parts.reshape(*leaf.shape[:-1], -1)

    first, *others = (
        {"kernel": own["kernel"][..., :units], "bias": own["bias"][:units]}
        for own in params["convolutions"]
    )
    others = [own | {"kernel": own["kernel"][:, :units]} for own in others]
    layer = params["recurrent"]
    return {
        "convolutions": (first, *others),
        "recurrent": Recurrent(
            inputs=gates(layer.inputs[:units]),
            states=gates(layer.states[:units]),
            bias=gates(layer.bias),
        ),
        "heads": params["heads"] | {"kernel": params["heads"]["kernel"][:, :units]},
    }


@dataclass(frozen=True)
class TextNetwork:
    """See the module.

    Attributes:
      dimensions: D.
      tasks: T.
      classes: outputs of each task.
      layers: convolutions, each with a pooling after it; at least 1.
      taps: of each convolution.
      recurrent: kind of the recurrent layer.
      buckets: widths that are computed, ascending; the last is U.
      preprocessing: ways to preprocess words' vectors to choose from; without any they
        are read as they are.
    """

    dimensions: int
    tasks: int
    classes: int
    layers: int
    taps: int
    recurrent: Literal["lstm", "gru"]
    buckets: tuple[int, ...]
    preprocessing: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Units of each layer in memory, U."""
        return self.buckets[-1]

    @cached_property
    def _layer(self) -> RecurrentLayer:
        return RecurrentLayer(self.recurrent)

    def init(self, key: Array, traits: Traits) -> Params:
        """Random weights; those beyond the width are drawn too and act on nothing."""
        keys = jax.random.split(key, self.layers + 2)
        width, he, units = traits.width, traits.he, self.units
        read = [(self.dimensions, self.dimensions), *[(units, width)] * self.layers]
        operations = [*[Conv1D(self.taps)] * self.layers, self._layer]
        drawn = [
            jax.tree.map(
                lambda leaf: leaf[0],
                operation.init(key, 1, inputs, units, Fans(there, width, he)),
            )
            for operation, key, (inputs, there) in zip(
                operations, keys, read, strict=False
            )
        ]
        limit = jnp.sqrt(6 / (width + jnp.where(he, 0, self.classes)))
        shape = (self.tasks, units, self.classes)
        return {
            "convolutions": tuple(drawn[:-1]),
            "recurrent": drawn[-1],
            "heads": {
                "kernel": limit * jax.random.uniform(keys[-1], shape, minval=-1.0),
                "bias": jnp.zeros((self.tasks, self.classes)),
            },
        }

    def bucket(self, traits: Traits) -> Int[Array, ""]:
        """Which width is computed for a network."""
        narrower = jnp.asarray(self.buckets[:-1], jnp.int32)
        return jnp.sum(traits.width > narrower).astype(jnp.int32)

    def in_bucket(self, traits: Traits, function: Any, *operands: Any) -> Any:
        """``function(units, *operands)`` of the bucket, a true branch for each."""
        branches = [partial(function, units) for units in self.buckets]
        if len(branches) == 1:
            return branches[0](*operands)
        return jax.lax.switch(self.bucket(traits), branches, *operands)

    def apply(
        self,
        units: int,
        params: Params,
        traits: Traits,
        vectors: Float[Array, "T B L D"],
        mask: Bool[Array, "T B L"],
        key: Array,
        rate: Float[Array, ""] | float,
    ) -> Float[Array, "T B _"]:
        """Logits of every task.

        Args:
          units: width that is computed, at least the network's.
          params: as ``init`` makes them.
          traits: of the network.
          vectors: words of each task's texts.
          mask: the words that are there, the first ones.
          key: dropout's.
          rate: factor of the rate of dropout, 0 to evaluate.
        """
        own = _narrowed(params, units)
        tasks, batch = mask.shape[:2]
        x = vectors.reshape(tasks * batch, *vectors.shape[2:])
        mask = mask.reshape(tasks * batch, -1)
        x = preprocessed_words(self.preprocessing, traits.preprocessing, x, mask)
        threshold = keep_threshold(traits.dropout * rate)

        def drop(x, place):
            return dropout(key, jnp.array([0, place]), x, threshold)

        for i, weights in enumerate(own["convolutions"]):
            z = run(Conv1D(self.taps), weights, x, mask, traits.width)
            x = drop(activate(z, coefficients(traits.activation)), i)
            x, mask = pool(x, mask), sequences.pooled_mask(mask)
        x = run(self._layer, own["recurrent"], x, mask, traits.width)
        x = drop(sequences.mean_over_time(x, mask), self.layers)
        heads = own["heads"]
        features = x.reshape(tasks, batch, units)
        return (
            jnp.einsum("tbu,tul->tbl", features, heads["kernel"])
            + (heads["bias"][:, None])
        )

    def parameters(self, width: Array | int) -> Array | int:
        """Weights of a network of this width."""
        first = (self.taps * self.dimensions + 1) * width
        others = (self.layers - 1) * (self.taps * width + 1) * width
        gates = 4 if self.recurrent == "lstm" else 3
        recurrent = 2 * gates * width**2 + 4 * width
        return first + others + recurrent + self.tasks * (width + 1) * self.classes

    def multiply_adds(self, width: Array | int, words: int) -> Array | int:
        """Of a network of this width, for one text of so many words and one task."""
        total, read = width * self.classes, self.dimensions
        for layer in range(self.layers):
            total += self.taps * read * width * (words >> layer)
            read = width
        gates = 4 if self.recurrent == "lstm" else 3
        return total + 2 * gates * width**2 * (words >> self.layers)
