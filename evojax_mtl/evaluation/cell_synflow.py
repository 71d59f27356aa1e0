"""Synflow of cells, inside a compiled step: how much flows through a network's weights.

As ``synflow`` of NAS-Bench-201's cells: weights become their absolute values, batch
norms are bypassed, the input is all ones, R is the sum of the outputs and the score
the sum over all weights but biases of ``w dR/dw``, which goes along with the signal as
its derivative by a factor of all weights. The network is that of ``CellSupernet`` with
weights at their mean absolute value when they are drawn. Then all channels of a map are
equal, and one stands for all: a depthwise convolution is the sum over its window, a 1x1
convolution a factor. Of genomes without max pooling that is the mean of the score over
all draws. With it the mean over draws is a little higher.

Data have no part in it: two tasks with images of one size rank cells alike.

The score spans hundreds of orders of magnitude: its logarithm is told, and each cell's
inputs are scaled to a maximum of 1 first.

Shape legend: ``A`` genomes, ``H`` x ``W`` map, ``F = 2`` signal and derivative.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.architectures.wiring import BLOCKS, INPUTS, OPERATIONS
from evojax_mtl.genomes import cells
from evojax_mtl.networks.cell_operations import CONVOLUTIONS
from evojax_mtl.networks.cell_supernet import STACKS

IDENTITY, MAX, AVERAGE = (
    OPERATIONS.index(name) for name in ("identity", "max_pool_3x3", "average_pool_3x3")
)
AT_ONCE = 32
"""Genomes side by side: their maps stay in cache."""

Flow = Float[Array, "F H W"]


class Body(NamedTuple):
    """Of the networks that are compared.

    Attributes:
      channels: of the first stack.
      repeats: normal cells in a row.
      image: height, width and channels.
      classes: outputs.
    """

    channels: int
    repeats: int
    image: tuple[int, ...]
    classes: int


def gain(inputs: int) -> float:
    """Factor of a layer of Kaiming's normal law: its inputs by their mean weight."""
    return math.sqrt(4 * inputs / math.pi)


def windows(size: int) -> Float[np.ndarray, "9 H H"]:
    """Which positions of a row each operation adds up, none beyond its ends."""
    apart = np.arange(size)[:, None] - np.arange(size)
    found = np.stack([np.eye(size)] * len(OPERATIONS))
    for number, operation in enumerate(CONVOLUTIONS):
        step, reach = operation.dilation, operation.kernel // 2
        found[number] = (np.abs(apart) <= step * reach) & (apart % step == 0)
    found[AVERAGE] = np.abs(apart) <= 1
    return found.astype(np.float32)


def _factors(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each operation: the factor of its sum, and its layers with weights."""
    factor, layers = np.ones(len(OPERATIONS)), np.zeros(len(OPERATIONS))
    for number, operation in enumerate(CONVOLUTIONS):
        taps = operation.kernel**2
        factor[number] = gain(taps) / taps * gain(width)
        layers[number] = 2
    factor[AVERAGE] = 1 / 9
    return factor.astype(np.float32), layers.astype(np.float32)


def through(flow: Flow, factor: Array | float, layers: Array | float = 1) -> Flow:
    """After layers with weights: each adds the signal to the derivative."""
    return factor * flow.at[1].add(layers * flow[0])


def _largest(flow: Flow) -> Flow:
    """Max pooling; the derivative is that of the largest signal."""
    height, width = flow.shape[1:]
    padded = jnp.pad(flow, ((0, 0), (1, 1), (1, 1)))
    seen = jnp.stack(
        [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    )
    most = jnp.max(seen[:, 0], axis=0)
    derivative = jnp.max(jnp.where(seen[:, 0] == most, seen[:, 1], 0), axis=0)
    return jnp.stack([most, derivative])


def _cell(
    genome: Int[Array, "5 4"], width: int, previous: Flow, before: Flow
) -> tuple[Flow, Flow, Array]:
    """The output and the input after it, scaled, and the logarithm of the scale."""
    scale = jnp.maximum(jnp.max(previous[0]), jnp.max(before[0]))
    height, columns = previous.shape[1:]
    down, across = jnp.asarray(windows(height)), jnp.asarray(windows(columns))
    factor, layers = (jnp.asarray(part) for part in _factors(width))
    nodes = jnp.zeros((INPUTS + BLOCKS, *previous.shape))
    nodes = nodes.at[0].set(previous / scale).at[1].set(before / scale)

    def edge(x: Flow, operation: Array) -> Flow:
        y = through(x, factor[operation], layers[operation])
        y = down[operation] @ y @ across[operation].T
        return jnp.where(operation == MAX, _largest(x), y)

    def block(i, nodes):
        ends = jax.vmap(edge)(nodes[genome[i, :2]], genome[i, 2:])
        return nodes.at[INPUTS + i].set(ends.sum(0))

    nodes = jax.lax.fori_loop(0, BLOCKS, block, nodes)
    loose = jnp.all(genome[:, :2, None] != INPUTS + jnp.arange(BLOCKS), axis=(0, 1))
    total = jnp.tensordot(loose.astype(jnp.float32), nodes[INPUTS:], 1)
    return through(total, gain(width)), nodes[0], jnp.log(scale)


def _halved(flow: Flow, width: int) -> Float[Array, "F h w"]:
    """2x2 average pooling, an odd edge cropped, and a 1x1 convolution."""
    _, height, columns = flow.shape
    y = flow[:, : height // 2 * 2, : columns // 2 * 2]
    y = y.reshape(2, height // 2, 2, columns // 2, 2).mean((2, 4))
    return through(y, gain(width))


def log_synflow(genomes: Int[Array, "A 2 5 4"], body: Body) -> Float[Array, "A"]:
    """The logarithm of each genome's score."""
    height, columns, inputs = body.image
    ones = jnp.stack([jnp.ones((height, columns)), jnp.zeros((height, columns))])
    rows, across = (jnp.asarray(windows(n)[AVERAGE]) for n in (height, columns))
    stem = rows @ through(ones, inputs * gain(9 * inputs) / (9 * inputs)) @ across

    def one(genome):
        previous, before, log = stem, stem, jnp.zeros(())
        width = body.channels
        for stack in range(STACKS):
            kinds = [cells.NORMAL] * body.repeats
            if stack:
                previous, before = _halved(previous, width), _halved(before, width)
                kinds, width = [cells.REDUCTION, *kinds], 2 * width
            for kind in kinds:
                previous, before, scale = _cell(genome[kind], width, previous, before)
                log += scale
        # the classifier's weights are uniform
        mean = previous.mean((1, 2))
        score = body.classes * math.sqrt(width) / 2 * mean.sum()
        return log + jnp.log(score)

    return jax.lax.map(one, genomes, batch_size=AT_ONCE)
