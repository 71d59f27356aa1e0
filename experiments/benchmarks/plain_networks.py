"""Assembled networks as a user would write them: what each layer reads and computes.

The peers of the ``population`` benchmark are built of these descriptions, one network
at a time, with layers of exactly as many channels as they have.

Shape legend: ``T`` tasks, ``L`` links.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from evojax_mtl.architectures.layers import ACTIVATIONS, KERNELS, MERGE
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.networks.assembled import AssembledNetworks, Lists


class Step(NamedTuple):
    """A convolution or a soft merge.

    Attributes:
      node: its number.
      sources: nodes it reads, and how often each is max-pooled first.
      links: of its soft merge, the logits' columns; none: what it reads is added up.
      channels: of what it reads, and of its output.
      slot: whose weights a convolution uses; -1 for a merge.
      side: of its kernel (pixels).
      activation: its name.
      dropout: rate on the output.
      decay: L2 regularisation of the kernel.
    """

    node: int
    sources: tuple[tuple[int, int], ...]
    links: tuple[int, ...]
    channels: tuple[int, int]
    slot: int = -1
    side: int = 1
    activation: str = "linear"
    dropout: float = 0.0
    decay: float = 0.0


class PlainNetwork(NamedTuple):
    """A network: its steps in order, the last the output's merge.

    Attributes:
      steps: what is computed.
      channels: that the decoders read.
    """

    steps: tuple[Step, ...]
    channels: int


def describe(lists: Lists, model: AssembledNetworks) -> PlainNetwork:
    """One network, from its work lists."""
    network = jax.tree.map(np.asarray, lists.network)
    table, layers = network.architecture, network.layers
    widths: Any = model.kinds
    channels = {INPUT: widths.image}
    steps: list[Step] = []

    def visit(node: int) -> None:
        if node in channels:
            return
        into = np.flatnonzero(table.edge & (table.target == node))
        sources = [int(table.source[e]) for e in into]
        for source in sources:
            visit(source)
        level = table.resolution[node]
        reads = max(channels[source] for source in sources)
        merges = node == OUTPUT or table.operation[node] == MERGE
        channels[node] = reads if merges else int(layers.filters[node])
        step = Step(
            node,
            tuple((s, int(level - table.resolution[s])) for s in sources),
            tuple(int(e) for e in into if e < model.links),
            (reads, channels[node]),
        )
        if not merges:
            step = step._replace(
                slot=int(table.slot[node]),
                side=KERNELS[int(layers.kernel[node])],
                activation=ACTIVATIONS[int(layers.activation[node])],
                dropout=float(layers.dropout[node]),
                decay=float(layers.decay[node]),
            )
        steps.append(step)

    visit(OUTPUT)
    # uses of the same weights may read maps of fewer channels
    most = {s.slot: 0 for s in steps}
    for step in steps:
        most[step.slot] = max(most[step.slot], step.channels[0])
    for i, step in enumerate(steps):
        if step.slot >= 0:
            steps[i] = step._replace(channels=(most[step.slot], step.channels[1]))
    return PlainNetwork(tuple(steps), widths.map)


def weights(
    network: PlainNetwork, lists: Lists, model: AssembledNetworks, params: Any
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Kernel ``(k, k, in, out)`` and bias of each slot."""
    kernels, biases = (
        np.asarray(params["layers"][name]) for name in ("kernels", "biases")
    )
    begin, sizes = np.asarray(lists.lies.begin), np.asarray(lists.lies.size)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    widths: Any = model.kinds
    for step in network.steps:
        if step.slot < 0 or step.slot in found:
            continue
        reads, makes = step.channels
        bucket = min(b for b in widths.buckets if b >= makes)
        kernel = kernels[begin[step.node] :][: sizes[step.slot]]
        kernel = kernel.reshape(step.side, step.side, -1, bucket)
        kernel = kernel[:, :, :reads, :makes]
        found[step.slot] = kernel, biases[step.slot, :makes]
    return found
