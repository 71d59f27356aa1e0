"""Networks of layers: an architecture whose nodes are layers with numbers.

Shape legend: ``N`` nodes, ``E`` edges, ``L`` links, ``...`` any leading axes.

A node is a convolution (SAME, stride 1) with a bias, an activation and dropout on its
output, on sequences also another type of layer, or a soft merge. The edges that end in
a layer are added up, maps of fewer channels padded with zeros. Those that end in a
merge or in the output are *links*, the first edges of the table: soft-merged, each task
with scales of its own (Liang 2018, Eq. 1). Layers compute whole *buckets* of output
channels; the rest of a bucket is masked.

Operations are numbered: the merge, then a layer for each type (kernel) and bucket that
reads all channels a map may have, then those that read an image alone.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.architectures.table import Architecture
from evojax_mtl.pytrees import Pytree

KERNELS = (1, 3, 5, 7)
"""Sides of the square kernels (pixels)."""

ACTIVATIONS = ("relu", "linear", "elu", "selu")

INITIALIZERS = ("glorot", "he")

DROPOUT = "dropout"

SEQUENCE_TYPES = ("conv1d", "lstm", "gru", DROPOUT)
"""What a layer on sequences may be (Liang 2019, Table 3)."""

IMAGE_TYPES = ("conv2d", DROPOUT)
"""What a layer on images may be where Dropout is a layer of its own (likewise)."""

NO_KERNEL = 0
"""In the place of a kernel's side: the layer is Dropout and convolves nothing."""

MERGE = 0
"""The operation of a soft merge."""


class Layers(Pytree):
    """What the nodes of a network compute.

    Attributes:
      kernel: index into ``KERNELS``, or into the types of layers; 0 is a convolution
        of one tap.
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
      optimizer: index into the search's optimisers, 0 where there is one.
      module: what each node is part of: the slot of the blueprint, -1 for none.
      preprocessing: index into the search's ways to preprocess, None where there are
        none.
    """

    architecture: Architecture
    layers: Layers
    learning_rate: Float[Array, "*n"]
    initializer: Int[Array, "*n"]
    optimizer: Int[Array, "*n"]
    module: Int[Array, "*n N"]
    preprocessing: Int[Array, "*n"] | None = None


def operation_of(
    kernel: Any, bucket: Any, image: Any, kernels: int, buckets: int
) -> Any:
    """The operation of a layer.

    Args:
      kernel: index into ``KERNELS``, or into other types.
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


def image_layers(kernels: Sequence[int]) -> tuple[str, ...]:
    """Names of the layers on images, by the side of the kernel or ``NO_KERNEL``."""
    return tuple(f"convolution_{k}x{k}" if k else DROPOUT for k in kernels)


def sequence_layers(taps: Sequence[int]) -> tuple[str, ...]:
    """Names of the layers on sequences, in the order of their numbers.

    Convolutions by their taps, then the other types.
    """
    first, *others = SEQUENCE_TYPES
    return (*(f"{first}_{k}" for k in taps), *others)


def bucket_of(filters: Int[Array, "..."], buckets: Sequence[int]) -> Int[Array, "..."]:
    """The narrowest bucket that holds so many channels."""
    return jnp.sum(filters[..., None] > jnp.asarray(buckets[:-1]), -1).astype(jnp.int32)


def weighted(network: Network) -> Any:
    """The nodes whose slot of weights is their own: layers that are there.

    NumPy where the network is.
    """
    architecture = network.architecture
    own = np.arange(architecture.slot.shape[-1]) == architecture.slot
    return own & architecture.active & (architecture.operation > MERGE)
