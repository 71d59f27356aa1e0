"""An architecture: a table of nodes and edges, one network or a stack of them.

Shape legend: ``N`` nodes, ``E`` edges, ``...`` any leading axes (networks).

Every array is padded to a capacity; ``active`` and ``edge`` say what is there. A node
applies ``operation`` with the weights in ``slot`` at a ``resolution`` (the number of
2x2 max-pools between the network's input and the node's input). Two nodes with one
slot share weights. Nodes 0 and 1 are fixed: ``INPUT`` holds the encoded input,
``OUTPUT`` is where the decoder reads; neither applies an operation. The edges that end
in a node are soft-merged (Liang 2018, Eq. 1); an edge from a node at resolution ``r``
to one at resolution ``q >= r`` passes ``q - r`` adapters (2x2 max-pools).
"""

from jaxtyping import Array, Bool, Int

from evojax_mtl.pytrees import Pytree

INPUT = 0
OUTPUT = 1


class Architecture(Pytree):
    """Nodes and edges of one network (or, with leading axes, of many).

    Attributes:
      operation: index into the operation set.
      slot: index of the node's weights; equal slots share weights.
      resolution: pooling level of the node's input, 0 for the full image.
      active: the nodes in use (``INPUT`` and ``OUTPUT`` included).
      source: node an edge leaves from.
      target: node an edge ends in.
      edge: the edges in use.
    """

    operation: Int[Array, "*networks N"]
    slot: Int[Array, "*networks N"]
    resolution: Int[Array, "*networks N"]
    active: Bool[Array, "*networks N"]
    source: Int[Array, "*networks E"]
    target: Int[Array, "*networks E"]
    edge: Bool[Array, "*networks E"]
