"""A network that was found, laid out anew for other images, classes and widths.

Shape legend: ``N`` nodes, ``E`` edges.

A found network is a table (``assembly``), of which some follows from the data and the
widths it was searched with: how far each node's map is pooled, how many channels it
reads, which bucket it computes. ``relaid`` works these out again from what is left:
nodes, edges, and what the layers are. So a network can be trained on other tasks, or
with more filters in every layer, as Liang 2019, 4.2 does in the end. On the same data
and with the same widths nothing changes.

On the host, in NumPy, as it is done once.
"""

import math
from typing import Any

import numpy as np

from evojax_mtl.architectures.layers import (
    DROPOUT,
    MERGE,
    Network,
    operation_of,
)
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.genomes.assembly import Maps
from evojax_mtl.genomes.graphs import Graph
from evojax_mtl.genomes.hyperparameters import Integer, Space


def more(filters: Any, factor: float) -> Any:
    """So many times ``filters``, rounded to whole ones, halves up; NumPy or numbers."""
    if isinstance(filters, np.ndarray):
        return np.floor(filters * factor + 0.5).astype(filters.dtype)
    return math.floor(filters * factor + 0.5)


def widened(
    modules: Graph, layers: Space, before: Integer, after: Integer, factor: float
) -> Graph:
    """Modules whose layers have ``factor`` times as many filters.

    Args:
      modules: NumPy.
      layers: genes of their nodes, ``filters`` among them.
      before: range that it spans.
      after: range that it is to span.
      factor: of filters, or units.
    """
    column = [gene.name for gene in layers.genes].index("filters")
    unit, count = modules.genes[..., column], before.high - before.low + 1
    place = np.clip(np.floor(unit * count), 0, count - 1)
    genes = modules.genes.copy()
    genes[..., column] = after.encode(more(before.low + place, factor))
    return modules.replace(genes=genes)


def _reach(values: np.ndarray, network: Any, nodes: int) -> np.ndarray:
    """The largest of the values that edges in use bring to each node."""
    edge, found = network.edge, np.zeros(nodes, values.dtype)
    np.maximum.at(found, network.target[edge], values[network.source[edge]])
    return found


def relaid(network: Network, maps: Maps, factor: float = 1.0) -> Network:
    """The network with ``factor`` times as many filters in every layer.

    Args:
      network: of ``assembly.grid`` or ``assembly.blueprint``, NumPy. Its layers are of
        the kernels, or types, of ``maps``.
      maps: sizes of the data and buckets of the new widths.
      factor: of filters, or units.
    """
    table, layers = network.architecture, network.layers
    nodes, number = len(table.operation), np.arange(len(table.operation))
    computes = table.active & (table.operation > MERGE)
    named = np.array([kind == DROPOUT for kind in maps.kernels])
    passes = computes & named[layers.kernel]
    passes |= table.active & (table.operation == MERGE) & (number > OUTPUT)

    before = _finals_before(network)
    levels = np.asarray(maps.levels, table.resolution.dtype)
    resolution = levels[np.minimum(before, maps.depth)]
    resolution[OUTPUT] = levels[-1]

    filters = more(layers.filters, factor)
    if maps.channels is not None:
        filters[INPUT] = maps.channels
    filters[passes] = 0
    for _ in range(nodes):
        passed = np.where(passes, _reach(filters, table, nodes), filters)
        if (passed == filters).all():
            break
        filters = passed
    inputs = _reach(filters, table, nodes)
    full = computes & ((resolution > 0) | (maps.channels is None))
    full |= computes & _reach(number != INPUT, table, nodes)

    # slots that share weights must agree on their shape, and so on what they read
    def agreed(values):
        found = np.zeros_like(values)
        np.maximum.at(found, table.slot, values)
        return found[table.slot]

    bucket = (filters[:, None] > np.asarray(maps.buckets[:-1])).sum(-1)
    operation = operation_of(
        layers.kernel, bucket, ~agreed(full), len(maps.kernels), len(maps.buckets)
    )
    operation = np.where(computes, operation, MERGE)
    return network.replace(
        architecture=table.replace(
            operation=operation.astype(table.operation.dtype), resolution=resolution
        ),
        layers=layers.replace(filters=filters, inputs=agreed(inputs)),
    )


def _finals_before(network: Network) -> np.ndarray:
    """Modules that end before each node, on the longest path to it, ``(N,)``.

    A module's last node is its final layer, whose output is pooled.
    """
    table, module = network.architecture, network.module
    number = np.arange(len(module))
    slots = np.where(module < 0, module.max(initial=-1) + 1, module)
    last = np.zeros(slots.max(initial=0) + 1, int)
    np.maximum.at(last, slots, number)
    final = (module >= 0) & (last[slots] == number)
    before = np.zeros(len(module), int)
    for _ in number:
        after = _reach(before + final, table, len(module))
        if (after == before).all():
            break
        before = after
    return before
