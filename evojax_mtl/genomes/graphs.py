"""Graphs that NEAT evolves: modules and blueprints (Stanley, Miikkulainen 2002).

Shape legend: ``N`` node capacity, ``E`` edge capacity, ``F`` genes of a node, ``G``
genes of the whole graph, ``...`` leading axes (populations).

A graph is acyclic, leads from one input to one output, and carries a hyperparameter
table for each node between them (CoDeepNEAT: edges have no weights, they tell how nodes
are connected). Genes are told apart by historical markings: two graphs' nodes with one
marking come from the same mutation, and likewise edges. The tables are sorted by
marking, unused rows last, so that aligning two graphs is a binary search and memory is
``O(N + E)`` a graph. Markings 0 and 1 are the input and the output.

Disabled edges stay in the table, as in NEAT; they count in distances, and adding a
connection where one lies enables it again. The edges of a graph never form a cycle,
disabled ones included, and each node lies on a path of enabled edges from the input to
the output.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.errors import UserError
from evojax_mtl.genomes.hyperparameters import NO_GENES, Space
from evojax_mtl.pytrees import Pytree

NEVER = int(np.iinfo(np.int32).max)
"""Marking of unused rows."""

FIXED = 2
"""Nodes that every graph has: the input and the output."""


class Graph(Pytree):
    """One graph, or with leading axes many.

    Attributes:
      node: marking of each node, ascending.
      genes: each node's hyperparameters, points of the unit cube; those of the input
        and the output stay 0.
      edge: marking of each edge, ascending.
      source: marking of the node each edge leaves from.
      target: marking of the node each edge ends in.
      enabled: the edges that are part of the network.
      whole: hyperparameters of the graph as a whole.
    """

    node: Int[Array, "*n N"]
    genes: Float[Array, "*n N F"]
    edge: Int[Array, "*n E"]
    source: Int[Array, "*n E"]
    target: Int[Array, "*n E"]
    enabled: Bool[Array, "*n E"]
    whole: Float[Array, "*n G"]


def chain(
    nodes: int, capacity: tuple[int, int], space: Space, whole: Space = NO_GENES
) -> Graph:
    """``input -> 2 -> 3 -> ... -> output`` with ``nodes`` nodes in between, genes 0.

    Args:
      nodes: between the input and the output; 0 for an edge alone.
      capacity: ``N`` and ``E``.
      space: hyperparameters of a node.
      whole: hyperparameters of the graph.

    Raises:
      UserError: if the capacity is too small.
    """
    if capacity[0] < FIXED + nodes or capacity[1] < nodes + 1:
        raise UserError(
            f"capacity: found {capacity[0]} nodes and {capacity[1]} edges, the initial "
            f"genomes need {FIXED + nodes} and {nodes + 1}"
        )
    node = np.full(capacity[0], NEVER, np.int32)
    node[: FIXED + nodes] = np.arange(FIXED + nodes)
    edge, source, target = (np.full(capacity[1], NEVER, np.int32) for _ in range(3))
    path = [INPUT, *range(FIXED, FIXED + nodes), OUTPUT]
    edge[: nodes + 1] = np.arange(nodes + 1)
    source[: nodes + 1], target[: nodes + 1] = path[:-1], path[1:]
    return Graph(
        node=jnp.asarray(node),
        genes=jnp.zeros((capacity[0], space.size)),
        edge=jnp.asarray(edge),
        source=jnp.asarray(source),
        target=jnp.asarray(target),
        enabled=jnp.asarray(edge < NEVER),
        whole=jnp.zeros(whole.size),
    )


def drawn(key: Array, graph: Graph, space: Space, whole: Space, count: int) -> Graph:
    """``count`` copies of ``graph`` with hyperparameters drawn uniformly."""
    node_key, whole_key = jax.random.split(key)
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), graph)
    genes = space.sample(node_key, (count, graph.node.shape[0]))
    return many.replace(
        genes=jnp.where(inner(many)[..., None], genes, 0),
        whole=whole.sample(whole_key, (count,)),
    )


def inner(graph: Graph) -> Bool[Array, "*n N"]:
    """The nodes between the input and the output."""
    return (graph.node >= FIXED) & (graph.node < NEVER)


def nodes(graph: Graph) -> Int[Array, "*n"]:
    """Nodes in use, the input and the output included."""
    return jnp.sum(graph.node < NEVER, -1)


def edges(graph: Graph) -> Int[Array, "*n"]:
    """Edges in use, disabled ones included."""
    return jnp.sum(graph.edge < NEVER, -1)


def find(
    markings: Int[Array, "A"], wanted: Int[Array, "B"]
) -> tuple[Int[Array, "B"], Bool[Array, "B"]]:
    """Where each wanted marking is among the ascending ones, and whether it is there.

    The position of one that is not there is some other; an unused row is never there.
    """
    at = jnp.searchsorted(markings, wanted)
    at = jnp.minimum(at, markings.shape[0] - 1)
    return at, (markings[at] == wanted) & (wanted < NEVER)


def ends(graph: Graph) -> tuple[Int[Array, "E"], Int[Array, "E"]]:
    """Positions of the nodes that each edge of one graph joins; 0 for unused ones."""
    used = graph.edge < NEVER
    source, target = (find(graph.node, m)[0] for m in (graph.source, graph.target))
    return jnp.where(used, source, 0), jnp.where(used, target, 0)
