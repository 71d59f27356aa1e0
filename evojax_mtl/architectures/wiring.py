"""The architecture of a stack of cells: what each edge reads, applies and uses.

Shape legend: ``n`` cells, ``E = 10`` edges and 5 blocks a cell, ``...`` leading axes.

A cell has two inputs, nodes 0 and 1, and five blocks, nodes 2 to 6; a block is the sum
of two edges, edge ``2 i + k`` of block ``i``. Rows number what a whole stack computes:
0 and 1 are its second and its first input, then come for each cell its blocks and its
output.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from evojax_mtl.pytrees import Pytree

BLOCKS = 5
INPUTS = 2
EDGES = 2 * BLOCKS
ROWS = BLOCKS + 1
"""Rows of a cell."""
OPERATIONS = (
    "separable_3x3",
    "separable_5x5",
    "separable_7x7",
    "dilated_3x3",
    "dilated_5x5",
    "dilated_7x7",
    "identity",
    "max_pool_3x3",
    "average_pool_3x3",
)
PAIRS = sum(INPUTS + i for i in range(BLOCKS))
"""Pairs of a block and a node that it may read."""


class Wiring(Pytree):
    """What a stack of cells computes.

    Attributes:
      source: row that each edge reads.
      operation: that each edge applies, an index into ``OPERATIONS``.
      pair: the block and node whose weights it uses, below ``PAIRS``.
      loose: the blocks that no block of their cell reads.
    """

    source: Int[Array, "*n E"]
    operation: Int[Array, "*n E"]
    pair: Int[Array, "*n E"]
    loose: Bool[Array, "*n 5"]

    def slots(self) -> Int[Array, "n E"]:
        """The first edge of the stack that uses each edge's weights."""
        own = self.pair * len(OPERATIONS) + self.operation
        first = jnp.argmax(own[:, :, None] == own[:, None, :], axis=-1)
        return first + EDGES * jnp.arange(own.shape[0])[:, None]


def rows(sources: Int[Array, "n E"]) -> Int[Array, "n E"]:
    """Rows of the nodes that each cell's edges read."""
    cell = jnp.arange(sources.shape[0])[:, None]
    previous = ROWS * cell + 1
    before = jnp.maximum(previous - ROWS, 0)
    inner = ROWS * cell + sources
    return jnp.where(sources == 0, previous, jnp.where(sources == 1, before, inner))
