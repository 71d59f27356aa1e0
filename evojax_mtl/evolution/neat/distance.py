"""Compatibility distance of two graphs (Stanley 2002, Eq. 1, as in neat-python).

Shape legend: ``P`` individuals, ``N`` nodes, ``E`` edges, ``F`` genes of a node,
``G`` of a graph.

The sum of two parts, of nodes and of edges, each ``(disjoint * d + difference * w) /
n``: ``d`` counts the genes that only one graph has (disjoint and excess ones alike),
``w`` sums the differences of the aligned ones, and ``n`` is the larger graph's number
of genes. The output counts as a node, the input does not. Edges differ by 1 where one
of them is disabled. To this come the differences of the hyperparameters of the whole
graphs, which are always aligned, times ``difference``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evolution.neat.rates import NEAT, Rates
from evojax_mtl.genomes import graphs
from evojax_mtl.genomes.graphs import Graph


def _part(
    rates: Rates,
    count: Int[Array, ""],
    counts: Int[Array, "P"],
    shared: Int[Array, "P"],
    apart: Float[Array, "P"],
) -> Float[Array, "P"]:
    disjoint = rates.disjoint * (count + counts - 2 * shared)
    largest = jnp.maximum(jnp.maximum(count, counts), 1)
    return (disjoint + rates.difference * apart) / largest


class Columns(NamedTuple):
    """A population laid out for ``distances``: individuals along the last axis."""

    node: Int[Array, "N P"]
    levels: Float[Array, "N F P"]
    edge: Int[Array, "E P"]
    enabled: Bool[Array, "E P"]
    whole: Float[Array, "P G"]
    nodes: Int[Array, "P"]
    edges: Int[Array, "P"]


def columns(config: NEAT, many: Graph) -> Columns:
    """The population ``many`` in columns."""
    return Columns(
        node=many.node.T,
        levels=jnp.moveaxis(config.space.levels(many.genes), 0, -1),
        edge=many.edge.T,
        enabled=many.enabled.T,
        whole=config.whole.levels(many.whole),
        nodes=graphs.nodes(many),
        edges=graphs.edges(many),
    )


def distances(
    config: NEAT, rates: Rates, one: Graph, many: Columns
) -> Float[Array, "P"]:
    """How far each of a population is from one graph.

    Pairs of one position in the graph and one in all of the population are compared in
    turn, the population as one vector; the turns follow the genes in use.
    """
    own = config.space.levels(one.genes)
    nothing = jnp.zeros(many.nodes.shape, jnp.int32)
    start = nothing, nothing.astype(jnp.float32)

    def add_node(n, carry):
        def add(m, carry):
            shared, apart = carry
            same = many.node[m] == one.node[n]
            difference = config.space.difference(
                many.levels[m], own[n][:, None], axis=0
            )
            return shared + same, apart + jnp.where(same, difference, 0)

        return jax.lax.fori_loop(1, many.nodes.max(), add, carry)

    def add_edge(e, carry):
        def add(f, carry):
            shared, apart = carry
            same = many.edge[f] == one.edge[e]
            return shared + same, apart + (same & (many.enabled[f] != one.enabled[e]))

        return jax.lax.fori_loop(0, many.edges.max(), add, carry)

    # the input, which all have, is node 0 and does not count
    count = graphs.nodes(one)
    shared, apart = jax.lax.fori_loop(1, count, add_node, start)
    found = _part(rates, count - 1, many.nodes - 1, shared, apart)
    count = graphs.edges(one)
    shared, apart = jax.lax.fori_loop(0, count, add_edge, start)
    found += _part(rates, count, many.edges, shared, apart)
    whole = config.whole.levels(one.whole)
    return found + rates.difference * config.whole.difference(whole, many.whole)


def distance(config: NEAT, rates: Rates, a: Graph, b: Graph) -> Float[Array, ""]:
    """How far apart two graphs are."""
    alone = jax.tree.map(lambda x: x[None], b)
    return distances(config, rates, a, columns(config, alone))[0]
