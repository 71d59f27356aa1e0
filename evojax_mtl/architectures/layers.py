"""Networks of layers: an architecture whose nodes are convolutions with numbers.

Shape legend: ``N`` nodes, ``E`` edges, ``L`` links, ``...`` any leading axes.

A node is a convolution (SAME, stride 1) with a bias, an activation and dropout on its
output, or a soft merge. The edges that end in a convolution are added up, maps of fewer
channels padded with zeros. Those that end in a merge or in the output are *links*, the
first edges of the table: soft-merged, each task with scales of its own (Liang 2018,
Eq. 1). Convolutions compute whole *buckets* of output channels; the rest of a bucket is
masked.

Operations are numbered: the merge, then a convolution for each kernel and bucket that
reads all channels a map may have, then those that read an image alone.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.table import Architecture
from evojax_mtl.pytrees import Pytree

KERNELS = (1, 3, 5, 7)
"""Sides of the square kernels (pixels)."""

ACTIVATIONS = ("relu", "linear", "elu", "selu")

INITIALIZERS = ("glorot", "he")

MERGE = 0
"""The operation of a soft merge."""


class Layers(Pytree):
    """What the nodes of a network compute.

    Attributes:
      kernel: index into ``KERNELS``.
      inputs: channels that are not 0 in what the node reads.
      filters: channels of its output; of a merge those it passes on.
      activation: index into ``ACTIVATIONS``.
      dropout: rate on the output.
      decay: L2 regularisation of the kernel: its sum of squares times this is added to
        the loss.
    """

    kernel: Int[Array, "*n N"]
    inputs: Int[Array, "*n N"]
    filters: Int[Array, "*n N"]
    activation: Int[Array, "*n N"]
    dropout: Float[Array, "*n N"]
    decay: Float[Array, "*n N"]


class Network(Pytree):
    """One network that can be trained.

    Attributes:
      architecture: nodes and edges, the links first.
      layers: of the nodes.
      learning_rate: factor of the search's learning rate.
      initializer: index into ``INITIALIZERS``.
      module: what each node is part of: the slot of the blueprint, -1 for none.
    """

    architecture: Architecture
    layers: Layers
    learning_rate: Float[Array, "*n"]
    initializer: Int[Array, "*n"]
    module: Int[Array, "*n N"]


def operation_of(
    kernel: Any, bucket: Any, image: Any, kernels: int, buckets: int
) -> Any:
    """The operation of a convolution.

    Args:
      kernel: index into ``KERNELS``.
      bucket: index of its bucket.
      image: whether it reads an image alone.
      kernels: how many of them there are.
      buckets: how many there are.
    """
    return 1 + (image * kernels + kernel) * buckets + bucket


def convolutions(
    kernels: Sequence[int], buckets: Sequence[int]
) -> list[tuple[int, int, bool]]:
    """Kernel side, output channels, and whether an image is read, by operation."""
    return [(k, b, image) for image in (False, True) for k in kernels for b in buckets]


def kernels_to(largest: int) -> tuple[int, ...]:
    """The ``KERNELS`` that are no larger."""
    return tuple(k for k in KERNELS if k <= largest)


def bucket_of(filters: Int[Array, "..."], buckets: Sequence[int]) -> Int[Array, "..."]:
    """The narrowest bucket that holds so many channels."""
    return jnp.sum(filters[..., None] > jnp.asarray(buckets[:-1]), -1).astype(jnp.int32)


def weighted(network: Network) -> Bool[Array, "*n N"]:
    """The nodes whose slot of weights is their own: convolutions that are there."""
    architecture = network.architecture
    own = jnp.arange(architecture.slot.shape[-1]) == architecture.slot
    return own & architecture.active & (architecture.operation > MERGE)
