"""CATE: encodings of architectures from what is computed alike (Yan 2021).

Yan, Song, Liu, Zhang 2021, CATE: Computation-aware Neural Architecture Encoding with
Transformers, ICML.

Shape legend: ``A`` graphs, ``B`` pairs of them in a batch, ``N`` nodes a graph, ``V``
tokens, ``D`` dimensions.

KTNAS's Table VIII takes an architecture's vector from it in place of node2vec's. It
knows no accuracies, but what architectures cost:

1. An architecture's partner is one that costs about as much: drawn from the ``near``
   next ones on either side in the order of cost.
2. In both, each operation is masked by chance ``masked``.
3. The encoder, the same for both, is a Transformer over an architecture's operations:
   an operation attends to itself and to those it reads or is read by.
4. A second Transformer attends over the operations of both, and tells by a softmax the
   token of each one that was masked. The loss is their mean cross-entropy.

An architecture's vector is the mean of its operations' encodings, none masked.

Other than the paper's, the graphs are those of ``genomes.operation_graphs`` without
inputs, outputs and kinds, whose edges would tell what is masked; attention reaches
neighbours, and not all operations downstream, so that it takes layers to go further;
and the Transformers are smaller (3 and 1 layers instead of 12 and 24).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from evojax_mtl.evolution.descent import descend
from evojax_mtl.genomes.operation_graphs import OperationGraphs
from evojax_mtl.pytrees import Pytree, static


class CATEConfig(Pytree):
    """Choices of CATE; ``masked`` and ``learning_rate`` are traced.

    Attributes:
      dimensions: of the vectors, a multiple of ``heads`` (paper: 64).
      heads: of attention.
      layers: of the encoder.
      cross_layers: over the operations of both.
      updates: of the optimiser.
      batch: pairs an update.
      near: partners on either side in the order of cost (architectures).
      masked: chance that an operation is masked (paper: 0.2).
      learning_rate: Adam's.
    """

    dimensions: int = static(default=64)
    heads: int = static(default=4)
    layers: int = static(default=3)
    cross_layers: int = static(default=1)
    updates: int = static(default=1000)
    batch: int = static(default=64)
    near: int = static(default=50)
    masked: Float[Array, ""] | float = 0.2
    learning_rate: Float[Array, ""] | float = 1e-3


class Block(nn.Module):
    """A layer of a Transformer, normalised before attention and before its MLP.

    Attributes:
      heads: of attention.
    """

    heads: int

    @nn.compact
    def __call__(
        self, h: Float[Array, "*n N D"], near: Bool[Array, "*n 1 #N N"]
    ) -> Float[Array, "*n N D"]:
        """Attention to ``near``."""
        attend = nn.MultiHeadDotProductAttention(self.heads)
        attended: Any = attend(nn.LayerNorm()(h), mask=near)
        h = h + attended
        hidden = nn.gelu(nn.Dense(2 * h.shape[-1])(nn.LayerNorm()(h)))
        return h + nn.Dense(h.shape[-1])(hidden)


class Transformers(nn.Module):
    """The encoder, and what tells masked operations.

    Attributes:
      vocabulary: number of tokens; the next one stands for what is masked.
      nodes: of a graph, in the same order in all of them.
      config: choices.
    """

    vocabulary: int
    nodes: int
    config: CATEConfig

    def setup(self):
        """Layers."""
        config, normal = self.config, nn.initializers.normal(1.0)
        size = config.dimensions
        self.embed = nn.Embed(self.vocabulary + 1, size, embedding_init=normal)
        self.place = self.param("place", normal, (self.nodes, size))
        self.own = [Block(config.heads) for _ in range(config.layers)]
        self.norm = nn.LayerNorm()
        self.side = self.param("side", normal, (2, 1, size))
        self.cross = [Block(config.heads) for _ in range(config.cross_layers)]
        self.token = nn.Dense(self.vocabulary)

    def encode(
        self, tokens: Int[Array, "*n N"], near: Bool[Array, "*n N N"]
    ) -> Float[Array, "*n N D"]:
        """The encoding of each node."""
        h = self.embed(tokens) + self.place
        for block in self.own:
            h = block(h, near[..., None, :, :])
        return self.norm(h)

    def __call__(
        self,
        tokens: Int[Array, "*n 2 N"],
        near: Bool[Array, "*n 2 N N"],
        mask: Bool[Array, "*n 2 N"],
    ) -> Float[Array, "*n 2 N V"]:
        """Logits of the tokens of two architectures' operations, those in ``mask``."""
        h = self.encode(tokens, near) + self.side
        both = h.reshape(*h.shape[:-3], -1, h.shape[-1])
        seen = mask.reshape(*mask.shape[:-2], 1, 1, -1)
        for block in self.cross:
            both = block(both, seen)
        return self.token(both).reshape(*h.shape[:-1], -1)


def attention(graphs: OperationGraphs) -> Bool[Array, "A N N"]:
    """Who attends to whom: operations to their neighbours, all nodes to themselves."""
    both = graphs.mask[:, :, None] & graphs.mask[:, None, :]
    return graphs.adjacency & both | jnp.eye(graphs.tokens.shape[1], dtype=bool)


def partners(
    key: Key[Array, ""], cost: Float[Array, "A"], rows: Int[Array, "B"], near: int
) -> Int[Array, "B"]:
    """For each of ``rows`` one of the ``near`` next in the order of cost, either way.

    At the ends of the order there are fewer, and the last one is drawn more often.
    """
    order = jnp.argsort(cost)
    place = jnp.argsort(order)[rows]
    step = jax.random.randint(key, rows.shape, 1, 2 * near + 1) - near
    step = jnp.where(step <= 0, step - 1, step)
    return order[jnp.clip(place + step, 0, len(cost) - 1)]


def loss(
    params: Any, key: Key[Array, ""], pairs: OperationGraphs, config: CATEConfig
) -> Float[Array, ""]:
    """Mean cross-entropy of the masked operations; 0 where none is.

    Args:
      params: weights.
      key: of what is masked.
      pairs: graphs, ``(B, 2)`` of them.
      config: choices.
    """
    model = Transformers(pairs.vocabulary, pairs.tokens.shape[-1], config)
    hidden = pairs.mask & jax.random.bernoulli(key, config.masked, pairs.mask.shape)
    shown = jnp.where(hidden, pairs.vocabulary, pairs.tokens)
    near = jax.vmap(attention, 1, 1)(pairs)
    logits: Any = model.apply({"params": params}, shown, near, pairs.mask)
    errors = optax.softmax_cross_entropy_with_integer_labels(logits, pairs.tokens)
    return jnp.sum(errors * hidden) / jnp.maximum(jnp.sum(hidden), 1)


def initial_params(
    key: Key[Array, ""], graphs: OperationGraphs, config: CATEConfig
) -> Any:
    """Untrained weights."""
    model = Transformers(graphs.vocabulary, graphs.tokens.shape[1], config)
    one = jax.tree.map(lambda leaf: jnp.stack([leaf[:1]] * 2, 1), graphs)
    near = jax.vmap(attention, 1, 1)(one)
    return model.init(key, one.tokens, near, one.mask)["params"]


def cate(
    key: Key[Array, ""],
    graphs: OperationGraphs,
    cost: Float[Array, "A"],
    config: CATEConfig,
) -> Any:
    """Weights of Transformers trained on ``graphs``, two or more.

    Args:
      key: randomness.
      graphs: of all architectures.
      cost: of each, in any unit: multiply-adds, weights.
      config: choices.
    """
    start_key, train_key = jax.random.split(key)
    params = initial_params(start_key, graphs, config)

    def gradient(params, key):
        row_key, partner_key, mask_key = jax.random.split(key, 3)
        rows = jax.random.randint(row_key, (config.batch,), 0, len(cost))
        both = jnp.stack([rows, partners(partner_key, cost, rows, config.near)], 1)
        pairs = jax.tree.map(lambda leaf: leaf[both], graphs)
        return jax.grad(loss)(params, mask_key, pairs, config)

    keys = jax.random.split(train_key, config.updates)
    return descend(params, keys, gradient, config.learning_rate)


def architecture_vectors(
    graphs: OperationGraphs, params: Any, config: CATEConfig
) -> Float[Array, "A D"]:
    """The mean of the encodings of each graph's operations."""
    model = Transformers(graphs.vocabulary, graphs.tokens.shape[1], config)

    def one(given):
        tokens, near, mask = given
        h: Any = model.apply(
            {"params": params}, tokens, near, method=Transformers.encode
        )
        return mask / jnp.maximum(mask.sum(), 1) @ h

    given = (graphs.tokens, attention(graphs), graphs.mask)
    return jax.lax.map(one, given, batch_size=config.batch)
