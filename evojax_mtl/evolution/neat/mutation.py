"""Mutation of a generation's children: structure, then hyperparameters.

Shape legend: ``P`` children, ``N`` nodes, ``E`` edges.

1. Add node (Stanley 2002, 3.1): a uniform enabled edge (u, v) is disabled, a node w
   with drawn hyperparameters and edges (u, w), (w, v) appear.
2. Add connection: an edge between a uniform pair of nodes that are not joined yet and
   where it closes no cycle; a disabled edge there is enabled again.
3. Hyperparameters of nodes and of the whole graph, each with its probability.

A child whose capacity is full falls back: where there is no room for a node it gains a
connection, and where no connection can be added, for lack of room or of a pair, all
hyperparameters of one of its nodes mutate. How often room was lacking is counted.

Uniform pairs need the N x N table of paths of a graph. It is made for the graphs that
gain a connection alone, ``lanes`` of them at a time.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from evojax_mtl.architectures import paths
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.evolution.neat.markings import Counter, number
from evojax_mtl.evolution.neat.rates import NEAT, Rates, Scalar
from evojax_mtl.genomes import graphs
from evojax_mtl.genomes.graphs import Graph


class Connection(NamedTuple):
    """Where a connection goes.

    Attributes:
      source: marking of the node it leaves from.
      target: marking of the node it ends in.
      existing: position of the disabled edge that lies there, -1 for none.
      possible: whether there is a place for one at all.
    """

    source: Int[Array, "*P"]
    target: Int[Array, "*P"]
    existing: Int[Array, "*P"]
    possible: Bool[Array, "*P"]


def _one_of(key: Array, allowed: Bool[Array, "n"]) -> Int[Array, ""]:
    """A uniform index among the allowed ones."""
    before = jnp.cumsum(allowed)
    turn = jnp.floor(jax.random.uniform(key) * before[-1])
    return jnp.argmax(before > turn).astype(jnp.int32)


def draw_split(key: Array, graph: Graph) -> Int[Array, ""]:
    """Position of the edge to split: uniform among the enabled ones."""
    return _one_of(key, graph.enabled)


def split(
    graph: Graph,
    at: Int[Array, ""],
    node: Int[Array, ""],
    edge: Int[Array, ""],
    genes: Array,
) -> Graph:
    """Puts a new node on an edge; there must be room.

    Args:
      graph: what grows.
      at: position of the edge.
      node: marking of the node.
      edge: marking of the edge into it; that out of it has the next one.
      genes: the node's hyperparameters.
    """
    n, e = graphs.nodes(graph), graphs.edges(graph)
    u, v = graph.source[at], graph.target[at]
    return graph.replace(
        node=graph.node.at[n].set(node),
        genes=graph.genes.at[n].set(genes),
        edge=graph.edge.at[e].set(edge).at[e + 1].set(edge + 1),
        source=graph.source.at[e].set(u).at[e + 1].set(node),
        target=graph.target.at[e].set(node).at[e + 1].set(v),
        enabled=graph.enabled.at[at].set(False).at[e].set(True).at[e + 1].set(True),
    )


def draw_connection(key: Array, graph: Graph) -> Connection:
    """A uniform pair among those that a connection may join."""
    capacity = graph.node.shape[0]
    used = graph.node < graphs.NEVER
    source, target = graphs.ends(graph)
    lies = graph.edge < graphs.NEVER
    reach = paths.downstream(source, target, lies, capacity)
    kept = jnp.where(lies, jnp.arange(lies.shape[0]), -1)
    existing = jnp.full((capacity, capacity), -1).at[source, target].max(kept)
    enabled = jnp.zeros((capacity, capacity), bool)
    enabled = enabled.at[source, target].max(graph.enabled)
    row, column = jnp.arange(capacity)[:, None], jnp.arange(capacity)
    valid = used[:, None] & used & (row != column) & ~reach.T & ~enabled
    valid &= (row != OUTPUT) & (column != INPUT)
    valid &= (existing >= 0) | (graphs.edges(graph) < lies.shape[0])
    pair = _one_of(key, valid.ravel())
    u, v = pair // capacity, pair % capacity
    return Connection(graph.node[u], graph.node[v], existing[u, v], valid.any())


def connect(graph: Graph, connection: Connection, edge: Int[Array, ""]) -> Graph:
    """Adds the connection, marked ``edge``, or enables the one that lies there."""
    enabled = graph.enabled.at[connection.existing].set(True)
    e = graphs.edges(graph)
    again = connection.existing >= 0
    return graph.replace(
        edge=graph.edge.at[e].set(jnp.where(again, graph.edge[e], edge)),
        source=graph.source.at[e].set(
            jnp.where(again, graph.source[e], connection.source)
        ),
        target=graph.target.at[e].set(
            jnp.where(again, graph.target[e], connection.target)
        ),
        enabled=jnp.where(again, enabled, graph.enabled.at[e].set(True)),
    )


def _choose(mask: Bool[Array, "P"], yes: Graph, no: Graph) -> Graph:
    def pick(a, b):
        return jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, yes, no)


def add_nodes(
    key: Array, config: NEAT, parents: Graph, wanted: Bool[Array, "P"], counter: Counter
) -> tuple[Graph, Counter]:
    """Adds a node to each wanted graph; all of those must have room."""
    edge_key, gene_key = jax.random.split(key)
    keys = jax.random.split(edge_key, wanted.shape[0])
    at = jax.vmap(draw_split)(keys, parents)
    edge = jnp.take_along_axis(parents.edge, at[:, None], 1)[:, 0]
    group, groups = number(edge, jnp.zeros_like(edge), wanted)
    genes = config.space.sample(gene_key, wanted.shape)
    grown = jax.vmap(split)(
        parents, at, counter.node + group, counter.edge + 2 * group, genes
    )
    counter = Counter(node=counter.node + groups, edge=counter.edge + 2 * groups)
    return _choose(wanted, grown, parents), counter


def draw_connections(
    key: Array, config: NEAT, population: Graph, wanted: Bool[Array, "P"]
) -> Connection:
    """``draw_connection`` for the wanted graphs; none is possible for others."""
    count = wanted.shape[0]
    lanes = min(config.lanes, count)
    keys = jax.random.split(key, count)
    order = jnp.argsort(~wanted)
    nothing = jnp.zeros(count, jnp.int32)
    start = Connection(nothing, nothing, nothing - 1, jnp.zeros(count, bool))

    def some(i, found):
        lane = i * lanes + jnp.arange(lanes)
        who = jnp.where(lane < count, order[jnp.minimum(lane, count - 1)], count)
        one = jax.tree.map(lambda x: x[who], population)
        drawn = jax.vmap(draw_connection)(keys[who], one)
        drawn = jax.tree.map(lambda a, b: a.astype(b.dtype), drawn, found)
        return jax.tree.map(lambda a, b: a.at[who].set(b, mode="drop"), found, drawn)

    rounds = (wanted.sum() + lanes - 1) // lanes
    found = jax.lax.fori_loop(0, rounds, some, start)
    return found._replace(possible=found.possible & wanted)


def add_connections(
    key: Array, config: NEAT, parents: Graph, wanted: Bool[Array, "P"], counter: Counter
) -> tuple[Graph, Counter, Bool[Array, "P"]]:
    """Adds a connection where one is wanted and possible; tells where it was."""
    found = draw_connections(key, config, parents, wanted)
    new = found.possible & (found.existing < 0)
    group, groups = number(found.source, found.target, new)
    grown = jax.vmap(connect)(parents, found, counter.edge + group)
    counter = counter.replace(edge=counter.edge + groups)
    return _choose(found.possible, grown, parents), counter, found.possible


def mutate_hyperparameters(
    key: Array,
    config: NEAT,
    rates: Rates,
    parents: Graph,
    forced: Bool[Array, "P"],
    probability: Scalar,
) -> Graph:
    """Mutates hyperparameters, and all those of one node of the ``forced`` graphs."""
    node_key, whole_key, forced_key = jax.random.split(key, 3)
    inner = graphs.inner(parents)
    draws = jnp.where(inner, jax.random.uniform(forced_key, inner.shape), -1)
    one = draws == draws.max(1, keepdims=True)
    chance = jnp.where(forced[:, None] & one, 1, probability)
    mutate = partial(config.space.mutate, deviation=rates.deviation)
    genes = mutate(node_key, parents.genes, chance[..., None])
    alone = ~inner.any(1) & forced
    chance = jnp.where(alone[:, None], 1, probability)
    whole = config.whole.mutate(whole_key, parents.whole, chance, rates.deviation)
    return parents.replace(
        genes=jnp.where(inner[..., None], genes, parents.genes), whole=whole
    )


def mutate(
    key: Array,
    config: NEAT,
    rates: Rates,
    parents: Graph,
    wanted: Bool[Array, "P"],
    counter: Counter,
) -> tuple[Graph, Counter, Int[Array, ""]]:
    """One round of mutation; see the module.

    Args:
      key: randomness.
      config: static choices.
      rates: traced ones.
      parents: graphs to mutate.
      wanted: which of them.
      counter: the next markings.

    Returns:
      The graphs, the next markings, and how often capacity was exhausted.
    """
    keys = jax.random.split(key, 5)
    node = wanted & (jax.random.uniform(keys[0], wanted.shape) < rates.add_node)
    edge = wanted & (jax.random.uniform(keys[1], wanted.shape) < rates.add_connection)
    lying = graphs.edges(parents)
    room = (graphs.nodes(parents) < config.nodes) & (lying + 2 <= config.edges)
    grown, counter = add_nodes(keys[2], config, parents, node & room, counter)
    edge |= node & ~room
    full = graphs.edges(grown) == config.edges
    grown, counter, joined = add_connections(keys[3], config, grown, edge, counter)
    stuck = edge & ~joined
    probability = jnp.where(wanted, rates.mutate, 0)[:, None]
    grown = mutate_hyperparameters(keys[4], config, rates, grown, stuck, probability)
    return grown, counter, jnp.sum(node & ~room) + jnp.sum(stuck & full)
