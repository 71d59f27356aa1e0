"""node2vec: one vector for each token of a set of graphs (Grover and Leskovec 2016).

Shape legend: ``A`` graphs, ``N`` nodes a graph, ``R`` walks a node, ``W = N R`` walks
of a graph, ``L`` nodes a walk, ``V`` tokens, ``D`` dimensions.

The algorithm, which KTNAS embeds architectures with (Zhang 2024, III-C):

1. From every node of every graph start ``R`` second-order random walks. Having come
   from ``t`` to ``v``, a walk goes on to ``x`` with probability proportional to the
   weight of edge ``(v, x)``, times ``1 / p`` if ``x = t``, times 1 if ``(t, x)`` is an
   edge, and times ``1 / q`` otherwise.
2. One skip-gram model over the tokens of all walks of all graphs (Mikolov 2013): for
   every pair of a token and another within the window, raise ``log sigma(u . v)``, and
   lower it for ``negatives`` tokens drawn by their frequency to the power of 3/4.
3. The vector of an architecture is the mean of its operations' vectors, and the
   distance of two is 1 less their cosine (Zhang 2024, Eq. 2).

The vocabulary is small and the pairs are many, so they are counted, and the gradient is
that of the counts: an epoch takes every pair once, as a corpus shuffled so well that
each of its ``updates`` batches has an equal share of every pair. As in word2vec, the
window of a token is uniform from 1 to ``window``, a draw equal to the token at hand is
no negative, and the learning rate falls linearly to 0; other than there, expectations
over windows and negatives replace draws, and Adam plain gradient descent.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from evojax_mtl.genomes.operation_graphs import OperationGraphs
from evojax_mtl.pytrees import Pytree, static

FREQUENCY_POWER = 0.75
TINY = 1e-30
WALKING, COUNTING = 64, 4
"""Graphs at a time: what they need stays in cache."""


Tables = tuple[Float[Array, "V D"], Float[Array, "V D"]]


class Node2VecConfig(Pytree):
    """Choices of node2vec; ``p``, ``q``, ``negatives``, ``learning_rate`` are traced.

    Attributes:
      dimensions: of the vectors (paper: 256).
      walk_length: nodes of a walk, its start included.
      walks: walks that start at each node.
      window: distance, in steps, up to which two nodes of a walk make a pair.
      epochs: passes over all pairs.
      updates: of the optimiser in an epoch, each by an equal share of all pairs.
      p: return parameter; large values keep walks from going back.
      q: in-out parameter; large values keep walks near where they came from.
      negatives: tokens drawn against each pair.
      learning_rate: Adam's first one.
    """

    dimensions: int = static(default=256)
    walk_length: int = static(default=80)
    walks: int = static(default=10)
    window: int = static(default=10)
    epochs: int = static(default=5)
    updates: int = static(default=200)
    p: Float[Array, ""] | float = 1.0
    q: Float[Array, ""] | float = 1.0
    negatives: Float[Array, ""] | float = 5.0
    learning_rate: Float[Array, ""] | float = 0.025


def transitions(
    adjacency: Float[Array, "N N"],
    p: Float[Array, ""] | float,
    q: Float[Array, ""] | float,
) -> Float[Array, "N N N"]:
    """Weights, up to a factor, of going from ``t`` over ``v`` to ``x``: ``[t, v, x]``.

    Args:
      adjacency: weight of the edge from ``v`` to ``x``, 0 where there is none.
      p: return parameter.
      q: in-out parameter.
    """
    back = jnp.eye(len(adjacency), dtype=bool)[:, None, :]
    near = (adjacency > 0)[:, None, :]
    bias = jnp.where(back, 1 / p, jnp.where(near, 1.0, 1 / q))
    return adjacency[None] * bias


def walks(
    key: Key[Array, ""], adjacency: Float[Array, "N N"], config: Node2VecConfig
) -> Int[Array, "L W"]:
    """The walks of one graph: walk ``i`` starts at node ``i // R``.

    Entries after a node that no edge leaves are -1.
    """
    count = len(adjacency)
    second = transitions(adjacency, config.p, config.q)
    # the first step knows no previous node: its rows are the last
    weights = jnp.concatenate([second, adjacency[None]]).reshape(-1, count)
    bounds = jnp.cumsum(weights, -1)
    start = jnp.repeat(jnp.arange(count, dtype=jnp.int32), config.walks)
    uniform = jax.random.uniform(key, (config.walk_length - 1, len(start)))

    def step(state, uniform):
        previous, current = state
        bound = bounds[previous * count + current]
        total = bound[:, -1]
        beyond = bound <= (uniform * total)[:, None]
        drawn = beyond.sum(-1, dtype=jnp.int32)
        following = jnp.where((current >= 0) & (total > 0), drawn, -1)
        return (current, following), following

    before = jnp.full_like(start, count)
    _, rest = jax.lax.scan(step, (before, start), uniform)
    # many millions of them are kept
    small = jnp.int8 if count <= 127 else jnp.int16
    return jnp.concatenate([start[None], rest]).astype(small)


def count_pairs(
    walked: Int[Array, "L W"], count: int, window: int
) -> Float[Array, "N N"]:
    """How often two nodes make a pair, in expectation over the windows' sizes.

    Args:
      walked: as ``walks`` returns them.
      count: nodes of the graph.
      window: largest size of a window.
    """
    length = len(walked)
    # nodes lead, so that the sums run over long rows; only pairs that look back
    node = (walked == jnp.arange(count)[:, None, None]).astype(jnp.float32)
    padded = jnp.pad(node, ((0, 0), (window, 0), (0, 0)))
    seen = jnp.zeros_like(node)
    for d in range(1, window + 1):
        chance = (window + 1 - d) / window
        seen += chance * padded[:, window - d : window - d + length]
    back = node.reshape(count, -1) @ seen.reshape(count, -1).T
    return back + back.T


def all_walks(
    key: Key[Array, ""], graphs: OperationGraphs, config: Node2VecConfig
) -> Int[Array, "A L W"]:
    """The walks of all graphs; each has its own key, split from ``key``."""

    def one(given):
        return walks(given[0], given[1].astype(jnp.float32), config)

    keys = jax.random.split(key, len(graphs.tokens))
    return jax.lax.map(one, (keys, graphs.adjacency), batch_size=WALKING)


def pair_counts(
    graphs: OperationGraphs, walked: Int[Array, "A L W"], window: int
) -> Float[Array, "V V"]:
    """Pairs of tokens in walks over all graphs."""
    nodes = graphs.tokens.shape[1]
    counts = jax.lax.map(
        lambda own: count_pairs(own, nodes, window), walked, batch_size=COUNTING
    )
    zero = jnp.zeros((graphs.vocabulary, graphs.vocabulary))
    rows, columns = graphs.tokens[:, :, None], graphs.tokens[:, None, :]
    return zero.at[rows, columns].add(counts)


def negative_counts(
    counts: Float[Array, "V V"], negatives: Float[Array, ""] | float
) -> Float[Array, "V V"]:
    """How often each token is a negative of another, in expectation."""
    frequency = counts.sum(0) ** FREQUENCY_POWER
    noise = frequency / jnp.maximum(frequency.sum(), TINY)
    return negatives * noise * (counts.sum(1, keepdims=True) - counts)


def loss(
    tables: Tables, counts: Float[Array, "V V"], against: Float[Array, "V V"]
) -> Float[Array, ""]:
    """Of skip-gram with negative sampling, the mean of all pairs.

    Args:
      tables: vectors of the tokens, and of the tokens as context.
      counts: pairs of tokens.
      against: negatives, as often as they are drawn.
    """
    logits = tables[0] @ tables[1].T
    terms = counts * jax.nn.softplus(-logits) + against * jax.nn.softplus(logits)
    return terms.sum() / jnp.maximum(counts.sum(), TINY)


def gradients(
    tables: Tables, counts: Float[Array, "V V"], against: Float[Array, "V V"]
) -> Tables:
    """Those of ``loss``, with one sigmoid a pair of tokens."""
    vectors, contexts = tables
    slope = (counts + against) * jax.nn.sigmoid(vectors @ contexts.T) - counts
    slope = slope / jnp.maximum(counts.sum(), TINY)
    return slope @ contexts, slope.T @ vectors


def initial_table(
    key: Key[Array, ""], vocabulary: int, dimensions: int
) -> Float[Array, "V D"]:
    """Untrained vectors: uniform within ``1 / D`` of 0."""
    return jax.random.uniform(
        key, (vocabulary, dimensions), minval=-1 / dimensions, maxval=1 / dimensions
    )


def skip_gram(
    key: Key[Array, ""], counts: Float[Array, "V V"], config: Node2VecConfig
) -> Float[Array, "V D"]:
    """The tokens' vectors, trained on pairs.

    Args:
      key: randomness of the start.
      counts: pairs of tokens.
      config: choices.
    """
    against = negative_counts(counts, config.negatives)
    vectors = initial_table(key, len(counts), config.dimensions)
    tables = (vectors, jnp.zeros_like(vectors))
    adam = optax.scale_by_adam()
    steps = config.epochs * config.updates

    def update(state, rate):
        tables, moments = state
        change, moments = adam.update(gradients(tables, counts, against), moments)
        return (jax.tree.map(lambda a, d: a - rate * d, tables, change), moments), None

    rates = config.learning_rate * (1 - jnp.arange(steps) / steps)
    (tables, _), _ = jax.lax.scan(update, (tables, adam.init(tables)), rates)
    return tables[0]


def node2vec(
    key: Key[Array, ""], graphs: OperationGraphs, config: Node2VecConfig
) -> Float[Array, "V D"]:
    """Vectors of the tokens that ``graphs`` share.

    Args:
      key: randomness.
      graphs: of all architectures.
      config: choices.
    """
    walk_key, train_key = jax.random.split(key)
    walked = all_walks(walk_key, graphs, config)
    counts = pair_counts(graphs, walked, config.window)
    return skip_gram(train_key, counts, config)


def architecture_vectors(
    graphs: OperationGraphs, table: Float[Array, "V D"]
) -> Float[Array, "A D"]:
    """The mean of the vectors of each graph's operations."""
    weight = graphs.mask / jnp.maximum(graphs.mask.sum(-1, keepdims=True), 1)
    shape = (len(graphs.tokens), len(table))
    rows = jnp.arange(len(graphs.tokens))[:, None]
    share = jnp.zeros(shape).at[rows, graphs.tokens].add(weight)
    return share @ table


def distance(a: Float[Array, "*#n D"], b: Float[Array, "*#n D"]) -> Float[Array, "..."]:
    """1 less the cosine of two vectors, from 0 to 2 (Zhang 2024, Eq. 2).

    Leading axes broadcast. A zero vector has distance 1 from all.
    """
    lengths = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    product = (a * b).sum(-1)
    return 1 - product / jnp.maximum(lengths, 1e-12)
