"""The network of NAS-Bench-201, whose cell is data: six operations, traced.

A 3x3 stem, three stages of ``N`` equal cells with a residual block of stride 2 between
them, global average pooling and a linear classifier (Dong and Yang 2020). A cell has
nodes 0 (its input) to 3 (its output); ``EDGES`` lists its six edges, each with one of
``OPERATIONS``, and a node is the sum of what its edges bring.

Weights lie in slots, one for each cell, edge and kind of convolution: what the same
edges of two architectures do with the same operation, they do with the same weights.
Every edge is one ``lax.switch``, so an architecture computes only its own operations as
long as nobody maps the call by ``jax.vmap``; ``jax.lax.map`` is the way to run many.

Shape legend: ``B`` images of ``H`` x ``W`` pixels, ``I`` input and ``O`` output
channels of a convolution, ``C`` channels at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.networks.initializers import Initializer, torch_uniform
from evojax_mtl.networks.layers import average_pool as pool

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) in the order of the published architecture strings."""

Weights = dict[str, Any]
Convolve = Callable[[Array, Array, int], Array]
"""Convolves (B, H, W, I) by a kernel (k, k, I, O) of odd k at a stride, padded by zeros
so that stride 1 keeps the map."""


@dataclass(frozen=True)
class Skeleton:
    """What all architectures share.

    Attributes:
      widths: channels of each stage.
      cells: in each stage.
      inputs: channels of the images.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    cells: int = 5
    inputs: int = 3


def initial_weights(
    key: Array,
    skeleton: Skeleton,
    draw: Callable[[int], Initializer] = torch_uniform,
    dtype: Any = jnp.float32,
) -> Weights:
    """Kernels of all slots, without a classifier.

    Args:
      key: a typed key.
      skeleton: shapes.
      draw: of kernels whose outputs see so many inputs.
      dtype: of the weights.
    """
    keys = iter(jax.random.split(key, 1 + 5 * len(skeleton.widths)))

    def kernels(size: int, inputs: int, outputs: int, *stack: int) -> Array:
        shape = (*stack, size, size, inputs, outputs)
        return draw(size * size * inputs)(next(keys), shape, dtype)

    stages, blocks, before = [], [], skeleton.widths[0]
    stem = kernels(3, skeleton.inputs, before)
    for width in skeleton.widths:
        if stages:
            blocks.append(
                {
                    "first": kernels(3, before, width),
                    "second": kernels(3, width, width),
                    "shortcut": kernels(1, before, width),
                }
            )
        slots = (skeleton.cells, len(EDGES))
        stages.append(
            {
                "conv_1x1": kernels(1, width, width, *slots),
                "conv_3x3": kernels(3, width, width, *slots),
            }
        )
        before = width
    return {"stem": stem, "stages": stages, "blocks": blocks}


def live_operations(ops: Int[Array, "*n 6"]) -> Int[Array, "*n 6"]:
    """The same cells with ``none`` on each edge that changes nothing.

    Those are edges from a node that nothing enters, and to one that nothing leaves.
    """
    e01, e02, e12, e03, e13, e23 = (ops[..., k] for k in range(len(EDGES)))
    zero = jnp.zeros_like(e01)
    e12, e13 = (jnp.where(e01 == 0, zero, edge) for edge in (e12, e13))
    e23 = jnp.where((e02 == 0) & (e12 == 0), zero, e23)
    e02, e12 = (jnp.where(e23 == 0, zero, edge) for edge in (e02, e12))
    e01 = jnp.where((e12 == 0) & (e13 == 0), zero, e01)
    return jnp.stack([e01, e02, e12, e03, e13, e23], -1)


def average_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """The mean of 3x3 without the zeros around the map, row sums first.

    Faster on CPU than ``reduce_window``, whose code there is scalar.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        none = jnp.zeros_like(jax.lax.slice_in_dim(x, 0, 1, axis=axis))
        before = jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)
        after = jax.lax.slice_in_dim(x, 1, size, axis=axis)
        shape = [size if k == axis else 1 for k in range(x.ndim)]
        pixels = jnp.full(size, 3, x.dtype).at[jnp.array([0, -1])].add(-1)
        above = jnp.concatenate([none, before], axis)
        below = jnp.concatenate([after, none], axis)
        x = jax.lax.optimization_barrier((x + above + below) / pixels.reshape(shape))
    return x


def batch_norm(x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """By the batch's statistics, scale 1 and offset 0: as training begins."""
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5)


def features(
    weights: Weights,
    ops: Int[Array, "6"],
    images: Float[Array, "B H W I"],
    convolve: Convolve,
    norm: Callable[[Array], Array],
) -> Float[Array, "B C"]:
    """What the network hands to its classifier.

    Args:
      weights: of ``initial_weights``.
      ops: an architecture; may be traced.
      images: a batch.
      convolve: the convolution.
      norm: what stands for batch norm.
    """
    ops = live_operations(ops)

    def unit(x, kernel, stride=1):
        return norm(convolve(jax.nn.relu(x), kernel, stride))

    # a gradient computes the cells again: operations' residuals would all be kept
    @jax.checkpoint
    def cell(x, slots):
        nodes = [x]
        for target in range(1, 4):
            edges = [k for k, (_, end) in enumerate(EDGES) if end == target]
            nodes.append(sum(edge(k, nodes[EDGES[k][0]], slots) for k in edges))
        return nodes[-1], None

    def edge(k, x, slots):
        # in the order of OPERATIONS
        branches = (
            lambda x, one, three: jnp.zeros_like(x),
            lambda x, one, three: x,
            lambda x, one, three: unit(x, one),
            lambda x, one, three: unit(x, three),
            lambda x, one, three: average_pool(x),
        )
        kernels = slots["conv_1x1"][k], slots["conv_3x3"][k]
        return jax.lax.switch(ops[k], branches, x, *kernels)

    x = norm(convolve(images, weights["stem"], 1))
    for stage, slots in enumerate(weights["stages"]):
        if stage:
            block = weights["blocks"][stage - 1]
            residual = pool(x, 2, 2, 0)
            x = unit(unit(x, block["first"], 2), block["second"])
            x += convolve(residual, block["shortcut"], 1)
        x, _ = jax.lax.scan(cell, x, slots)
    return jax.nn.relu(norm(x)).mean((1, 2))
