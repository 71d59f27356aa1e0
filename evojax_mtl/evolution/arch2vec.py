"""arch2vec: a variational autoencoder of architectures' graphs (Yan 2020).

Shape legend: ``A`` graphs, ``B`` of them in a batch, ``N`` nodes a graph, ``V`` tokens,
``D`` dimensions.

KTNAS's journal version takes an architecture's vector from it, of 128 dimensions, in
place of node2vec's. It knows no accuracies:

1. The encoder is a graph isomorphism network: layer ``k`` maps the nodes' features to
   ``MLP((1 + epsilon_k) h + A h)``; two linear maps of the last give each node's mean
   and log-variance of a normal distribution.
2. The decoder draws ``z`` and tells two nodes neighbours with probability
   ``sigma(z_i . z_j)``, and a node's token by a softmax over a linear map of ``z_i``.
3. The loss is the cross-entropy of both, and ``divergence`` times the Kullback-Leibler
   divergence from the standard normal distribution.

An architecture's vector is the mean of its operations' means. Other than the paper's,
the graphs are those of ``genomes.operation_graphs``, neighbours either way, and layers
are normalised by node (LayerNorm) and not by batch, so that there are no statistics.
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

Normal = tuple[Float[Array, "*n N D"], Float[Array, "*n N D"]]


class Arch2VecConfig(Pytree):
    """Choices of arch2vec; ``divergence`` and ``learning_rate`` are traced.

    Attributes:
      dimensions: of the vectors (journal version: 128).
      hidden: features of the encoder's layers.
      layers: of the encoder.
      updates: of the optimiser.
      batch: graphs an update, drawn with replacement.
      divergence: weight of the Kullback-Leibler divergence (paper: 0.005).
      learning_rate: Adam's.
    """

    dimensions: int = static(default=128)
    hidden: int = static(default=128)
    layers: int = static(default=5)
    updates: int = static(default=1000)
    batch: int = static(default=32)
    divergence: Float[Array, ""] | float = 5e-3
    learning_rate: Float[Array, ""] | float = 1e-3


class Autoencoder(nn.Module):
    """Encoder and decoder.

    Attributes:
      vocabulary: number of tokens.
      config: choices.
    """

    vocabulary: int
    config: Arch2VecConfig

    def setup(self):
        """Layers."""
        config = self.config
        features = range(config.layers)
        self.epsilon = self.param("epsilon", nn.initializers.zeros, (config.layers,))
        self.embed = nn.Embed(self.vocabulary, config.hidden)
        self.first = [nn.Dense(config.hidden) for _ in features]
        self.second = [nn.Dense(config.hidden) for _ in features]
        self.norms = [nn.LayerNorm() for _ in features]
        self.mean = nn.Dense(config.dimensions)
        self.log_variance = nn.Dense(config.dimensions)
        self.token = nn.Dense(self.vocabulary)

    def encode(
        self, tokens: Int[Array, "*n N"], adjacency: Bool[Array, "*n N N"]
    ) -> Normal:
        """Mean and log-variance of each node."""
        h = self.embed(tokens)
        edges = adjacency.astype(h.dtype)
        for k, norm in enumerate(self.norms):
            h = (1 + self.epsilon[k]) * h + edges @ h
            h = nn.relu(norm(self.second[k](nn.relu(self.first[k](h)))))
        return self.mean(h), self.log_variance(h)

    def decode(
        self, z: Float[Array, "*n N D"]
    ) -> tuple[Float[Array, "*n N N"], Float[Array, "*n N V"]]:
        """Logits of the edges and of the tokens."""
        return z @ z.swapaxes(-1, -2), self.token(z)

    def __call__(
        self,
        key: Key[Array, ""],
        tokens: Int[Array, "*n N"],
        adjacency: Bool[Array, "*n N N"],
    ) -> tuple[Normal, tuple[Float[Array, "*n N N"], Float[Array, "*n N V"]]]:
        """Encodes, draws, decodes."""
        mean, log_variance = self.encode(tokens, adjacency)
        noise = jax.random.normal(key, mean.shape)
        z = mean + noise * jnp.exp(log_variance / 2)
        return (mean, log_variance), self.decode(z)


def divergence(mean: Float[Array, "*n"], log_variance: Float[Array, "*n"]) -> Any:
    """Kullback-Leibler divergence from the standard normal distribution."""
    return (jnp.exp(log_variance) + mean**2 - 1 - log_variance) / 2


def loss(
    params: Any,
    key: Key[Array, ""],
    graphs: OperationGraphs,
    config: Arch2VecConfig,
) -> Float[Array, ""]:
    """Of some graphs: cross-entropies a pair of nodes and a node, divergence a node."""
    model = Autoencoder(graphs.vocabulary, config)
    told: Any = model.apply({"params": params}, key, graphs.tokens, graphs.adjacency)
    normal, (edges, tokens) = told
    edge = optax.sigmoid_binary_cross_entropy(edges, graphs.adjacency)
    token = optax.softmax_cross_entropy_with_integer_labels(tokens, graphs.tokens)
    far = divergence(*normal).sum(-1).mean()
    return edge.mean() + token.mean() + config.divergence * far


def initial_params(
    key: Key[Array, ""], graphs: OperationGraphs, config: Arch2VecConfig
) -> Any:
    """Untrained weights."""
    model = Autoencoder(graphs.vocabulary, config)
    one = jax.tree.map(lambda leaf: leaf[:1], graphs)
    return model.init(key, key, one.tokens, one.adjacency)["params"]


def arch2vec(
    key: Key[Array, ""], graphs: OperationGraphs, config: Arch2VecConfig
) -> Any:
    """Weights of an autoencoder trained on ``graphs``.

    Args:
      key: randomness.
      graphs: of all architectures.
      config: choices.
    """
    start_key, train_key = jax.random.split(key)
    params = initial_params(start_key, graphs, config)

    def gradient(params, key):
        draw_key, noise_key = jax.random.split(key)
        rows = jax.random.randint(draw_key, (config.batch,), 0, len(graphs.tokens))
        batch = jax.tree.map(lambda leaf: leaf[rows], graphs)
        return jax.grad(loss)(params, noise_key, batch, config)

    keys = jax.random.split(train_key, config.updates)
    return descend(params, keys, gradient, config.learning_rate)


def architecture_vectors(
    graphs: OperationGraphs, params: Any, config: Arch2VecConfig
) -> Float[Array, "A D"]:
    """The mean of the means of each graph's operations."""
    model = Autoencoder(graphs.vocabulary, config)

    def one(given):
        tokens, adjacency, mask = given
        mean, _ = model.apply(
            {"params": params}, tokens, adjacency, method=Autoencoder.encode
        )
        weight = mask / jnp.maximum(mask.sum(), 1)
        return weight @ mean

    given = (graphs.tokens, graphs.adjacency, graphs.mask)
    return jax.lax.map(one, given, batch_size=config.batch)
