"""Operation graphs: architectures as graphs whose nodes are operations (Zhang 2024).

Shape legend: ``A`` architectures, ``P`` operations of one, ``F`` inputs and outputs of
its cells, ``K`` kinds of operation, ``N = P + F + K`` nodes of a graph.

An operation is a node with a token for its cell, its position and its kind, so that one
vocabulary serves all architectures of a space. Two operations are neighbours where one
reads what the other computes, in both directions. What the paper leaves open:

* 'none' is an operation like the others and a node: which positions are cut is seen.
* The inputs and the outputs of the cells are nodes too, neighbours of the operations
  that read or make them.
* Every kind of operation is a node, a neighbour of all operations of that kind. In a
  space where all operations occur at all positions alike, nothing else says that two
  convolutions at different positions have something in common.

Nodes of the last two sorts have the same token everywhere. They are walked over, but an
architecture's vector is the mean of its operations' alone (``mask``). Against accuracy
differences on NAS-Bench-201 the kinds double the rank correlation; dropping 'none', or
operations that no path from input to output passes, loses rank correlation with the
edit distance.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from evojax_mtl.architectures.wiring import BLOCKS, INPUTS, OPERATIONS, PAIRS
from evojax_mtl.genomes import cells
from evojax_mtl.pytrees import Pytree, static

TABULAR_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Nodes that each operation of a tabular benchmark's cell joins, in the order of its
integers; node 0 is the cell's input, node 3 its output."""
NASBENCH201_KINDS = 5
TRANSNASBENCH101_KINDS = 4


class OperationGraphs(Pytree):
    """Graphs over one vocabulary.

    Attributes:
      tokens: of each node, below ``vocabulary``.
      adjacency: which nodes are neighbours; symmetric.
      mask: nodes that make up the architecture's vector: its operations.
      vocabulary: number of tokens.
    """

    tokens: Int[Array, "A N"]
    adjacency: Bool[Array, "A N N"]
    mask: Bool[Array, "A N"]
    vocabulary: int = static()


def nasbench201_graphs(ops: Int[Array, "A 6"]) -> OperationGraphs:
    """Graphs of NAS-Bench-201 cells.

    Args:
      ops: operation at each of ``TABULAR_EDGES``: none, skip, 1x1, 3x3, average pool.

    Returns:
      13 nodes a graph, 37 tokens.
    """
    return _tabular_graphs(ops, NASBENCH201_KINDS)


def transnasbench101_graphs(ops: Int[Array, "A 6"]) -> OperationGraphs:
    """Graphs of TransNAS-Bench-101's micro cells.

    Args:
      ops: operation at each of ``TABULAR_EDGES``: none, skip, 1x1, 3x3.

    Returns:
      12 nodes a graph, 30 tokens.
    """
    return _tabular_graphs(ops, TRANSNASBENCH101_KINDS)


CELL_TOKENS = len(cells.CELL_TYPES) * PAIRS * len(OPERATIONS)
"""Operations' tokens in the cell space of EMT-NAS."""


def cell_tokens(genomes: Int[Array, "*n 2 5 4"]) -> Int[Array, "*n 20"]:
    """Tokens of the operations of cells: of cell type, block, input and kind."""
    slot = cells.pairs(genomes) + PAIRS * jnp.arange(len(cells.CELL_TYPES))[:, None]
    tokens = len(OPERATIONS) * slot + cells.operations(genomes)
    return tokens.reshape(*tokens.shape[:-2], -1)


def cell_graphs(genotypes: Int[Array, "A 40"]) -> OperationGraphs:
    """Graphs of the cell space of EMT-NAS; see ``genomes.cells`` for the integers.

    An operation's position is the pair of its block and the node that it reads, as its
    weights are. An operation that reads a block is a neighbour of that block's two; one
    of a block that none reads is a neighbour of the cell's output. Since cells follow
    each other, each type's output is a neighbour of the other type's inputs.

    Returns:
      35 nodes a graph, 375 tokens.
    """
    genomes = genotypes.reshape(-1, len(cells.CELL_TYPES), BLOCKS, 4)
    types, kinds = len(cells.CELL_TYPES), len(OPERATIONS)
    count, size = len(genomes), 2 * BLOCKS
    source, operation = cells.sources(genomes), cells.operations(genomes)
    tokens = cell_tokens(genomes)
    # block of each operation, as a node of its cell
    own = INPUTS + np.arange(size) // 2
    loose = jnp.repeat(cells.loose_ends(genomes), 2, -1)
    ends = np.arange(INPUTS)
    edges = jnp.zeros((count, types, size + INPUTS + 1, types, size + INPUTS + 1), bool)
    for t in range(types):
        edges = edges.at[:, t, :size, t, :size].set(source[:, t, :, None] == own)
        edges = edges.at[:, t, :size, t, size:-1].set(source[:, t, :, None] == ends)
        edges = edges.at[:, t, :size, t, -1].set(loose[:, t])
        edges = edges.at[:, t, size:-1, 1 - t, -1].set(True)
    operations = (np.arange(types)[:, None] * (size + 3) + np.arange(size)).ravel()
    others = np.setdiff1d(np.arange(types * (size + 3)), operations)
    order = np.concatenate([operations, others])
    flow = edges.reshape(count, len(order), len(order))[:, order][:, :, order]
    return _assemble(tokens, operation.reshape(count, -1), flow, CELL_TOKENS, kinds)


def _tabular_graphs(ops: Int[Array, "A 6"], kinds: int) -> OperationGraphs:
    """Graphs of cells with an operation on each of ``TABULAR_EDGES``."""
    ops = jnp.asarray(ops, jnp.int32)
    size = len(TABULAR_EDGES)
    begin, end = np.array(TABULAR_EDGES).T
    flow = np.zeros((size + 2, size + 2), bool)
    flow[:size, :size] = end[:, None] == begin
    flow[size, :size] = begin == 0
    flow[:size, size + 1] = end == end.max()
    flow = jnp.broadcast_to(flow, (len(ops), *flow.shape))
    tokens = kinds * jnp.arange(size) + ops
    return _assemble(tokens, ops, flow, size * kinds, kinds)


def _assemble(
    tokens: Int[Array, "A P"],
    operations: Int[Array, "A P"],
    flow: Bool[Array, "A M M"],
    slots: int,
    kinds: int,
) -> OperationGraphs:
    """Adds the nodes of the kinds; ``M = P + F``.

    Args:
      tokens: of the operations, below ``slots``.
      operations: their kinds.
      flow: which of operations, inputs and outputs reads which; in either direction.
      slots: number of operations' tokens.
      kinds: number of kinds.
    """
    count, size = tokens.shape
    ends = flow.shape[-1] - size
    rest = jnp.arange(slots, slots + ends + kinds, dtype=jnp.int32)
    of_kind = jax.nn.one_hot(operations, kinds, dtype=bool)
    known = jnp.pad(flow, ((0, 0), (0, kinds), (0, kinds)))
    edges = known.at[:, :size, size + ends :].set(of_kind)
    return OperationGraphs(
        tokens=jnp.concatenate(
            [tokens.astype(jnp.int32), jnp.broadcast_to(rest, (count, len(rest)))], -1
        ),
        adjacency=edges | edges.swapaxes(-1, -2),
        mask=jnp.broadcast_to(
            jnp.arange(size + len(rest)) < size, (count, size + len(rest))
        ),
        vocabulary=slots + ends + kinds,
    )
