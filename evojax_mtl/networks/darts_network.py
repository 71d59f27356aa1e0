"""The plain network of a fixed genome, as KTNAS retrains it (Zhang et al. 2026).

Shape legend: ``B`` images, ``H`` x ``W`` map, ``h`` x ``w`` output map, ``c`` channels
of an image, ``C`` channels of a cell, ``L`` classes.

DARTS' evaluation network (Liu et al. 2019) with five-block cells, as the authors' code
has it; the paper says nothing of it. With the published genotypes its parameters are
those of KTNAS, Table IV, to the printed digit. It is another network than the one
searched (``networks.cell_network``):

- a stem of 3 C channels, ``3 stack + 2`` cells, reductions after ``stack`` and
  ``2 stack + 1`` cells, each doubling the width; loose ends are concatenated;
- a cell's inputs pass ReLU, 1x1, batch norm first; a reduction cell has stride 2 where
  it reads an input;
- separable convolutions are pairs, dilated ones have their full kernel, pools have no
  ReLU, and the average counts no padding;
- node 0 of a cell is the output of the cell before the previous one, node 1 the
  previous cell's: a code's inputs are read in that order, unlike in the search;
- two edges of a block with the same input and operation have weights of their own.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.errors import UserError
from evojax_mtl.genomes.cells import (
    EDGES,
    INPUTS,
    NORMAL,
    OPERATIONS,
    REDUCTION,
)
from evojax_mtl.networks.cell_network import (
    Blocks,
    Logits,
    Rate,
    cell_blocks,
    check_sizes,
    open_nodes,
)
from evojax_mtl.networks.initializers import torch_uniform
from evojax_mtl.networks.layers import (
    average_pool,
    conv,
    linear,
    max_pool,
    norm,
    path_scales,
)

Image = Float[Array, "B H W _"]
Map = Float[Array, "B h w _"]

AUXILIARY_SIDES = (8, 10)
"""Least and largest side of the map that the auxiliary head takes."""


class PointwiseNorm(nn.Module):
    """ReLU, 1x1 convolution, batch norm.

    Attributes:
      channels: of the output.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Image, train: bool) -> Image:
        """The output, ``C`` channels wide."""
        x = conv(self.channels, 1, torch_uniform(), name="pointwise")(nn.relu(x))
        return norm(train, "norm")(x)


class FactorizedReduce(nn.Module):
    """Halves the map: two 1x1 convolutions of stride 2, one of them shifted by a pixel.

    A map of odd side is extended by zeros, where the authors' code fails.

    Attributes:
      channels: of the output, even.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Image, train: bool) -> Map:
        """The output, ``C`` channels wide."""
        x = nn.relu(x)
        margins = [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)]
        shifted = jnp.pad(x[:, 1:, 1:], margins)
        half, weights = self.channels // 2, torch_uniform()
        even = conv(half, 1, weights, stride=2, name="even")(x)
        odd = conv(half, 1, weights, stride=2, name="odd")(shifted)
        return norm(train, "norm")(jnp.concatenate([even, odd], -1))


class DartsOperation(nn.Module):
    """One of the nine operations; keeps the width.

    Attributes:
      operation: index in ``OPERATIONS``.
      stride: 1, or 2 to halve the map.
    """

    operation: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Image, train: bool) -> Map:
        """The output."""
        name, channels = OPERATIONS[self.operation], x.shape[-1]
        if name == "identity":
            if self.stride == 1:
                return x
            return FactorizedReduce(channels, name="reduce")(x, train)
        if name == "max_pool_3x3":
            return max_pool(x, self.stride)
        if name == "average_pool_3x3":
            return average_pool(x, stride=self.stride, count_padding=False)
        kind, size = name.rsplit("_", 1)
        if kind == "separable":
            strides, dilation = (self.stride, 1), 1
        else:
            strides, dilation = (self.stride,), 2
        for i, stride in enumerate(strides):
            depthwise = conv(
                channels,
                int(size[0]),
                torch_uniform(),
                stride=stride,
                dilation=dilation,
                groups=channels,
                name=f"depthwise_{i}",
            )
            x = depthwise(nn.relu(x))
            x = conv(channels, 1, torch_uniform(), name=f"pointwise_{i}")(x)
            x = norm(train, f"norm_{i}")(x)
        return x


class DartsCell(nn.Module):
    """A cell: two inputs of any width, loose ends concatenated.

    Attributes:
      blocks: its five blocks.
      channels: of every block.
      halves: whether it is a reduction cell.
      after_reduction: whether the previous cell is one, so that the older input is
        twice as large.
    """

    blocks: Blocks
    channels: int
    halves: bool
    after_reduction: bool

    @nn.compact
    def __call__(
        self,
        before: Float[Array, "B _ _ _"],
        previous: Float[Array, "B _ _ _"],
        drop_path: Rate,
        train: bool,
    ) -> Float[Array, "B _ _ _"]:
        """The output; ``drop_path`` is the rate at which an edge drops an image."""
        adapter = FactorizedReduce if self.after_reduction else PointwiseNorm
        nodes = [
            adapter(self.channels, name="before")(before, train),
            PointwiseNorm(self.channels, name="previous")(previous, train),
        ]
        scales = None
        if train:
            shape = (EDGES, previous.shape[0], 1, 1, 1)
            scales = path_scales(self.make_rng("dropout"), drop_path, shape)
        for i, (*sources, op_a, op_b) in enumerate(self.blocks):
            values = []
            for k, (source, operation) in enumerate(
                zip(sources, (op_a, op_b), strict=True)
            ):
                stride = 2 if self.halves and source < INPUTS else 1
                name = f"block_{i}_edge_{k}_{OPERATIONS[operation]}"
                module = DartsOperation(operation, stride, name=name)
                value = module(nodes[source], train)
                plain = OPERATIONS[operation] == "identity" and stride == 1
                if scales is not None and not plain:
                    value = value * scales[2 * i + k]
                values.append(value)
            nodes.append(values[0] + values[1])
        return jnp.concatenate([nodes[n] for n in open_nodes(self.blocks)], -1)


class AuxiliaryHead(nn.Module):
    """A second classifier on the map after the last reduction, for training.

    Attributes:
      classes: outputs L.
    """

    classes: int

    @nn.compact
    def __call__(self, x: Image, train: bool) -> Float[Array, "B L"]:
        """Logits.

        Raises:
          UserError: if the map's sides are not in ``AUXILIARY_SIDES``.
        """
        least, most = AUXILIARY_SIDES
        if not all(least <= side <= most for side in x.shape[1:3]):
            raise UserError(
                f"auxiliary head: found a map of {x.shape[1]} x {x.shape[2]}, must be "
                f"{least} to {most} a side (images of {4 * least - 3} to {4 * most}); "
                f"leave the head out for other images"
            )
        x = average_pool(nn.relu(x), 5, 3, 0)
        weights = torch_uniform()
        x = nn.relu(norm(train, "norm_0")(conv(128, 1, weights, name="conv_0")(x)))
        x = conv(768, 2, weights, padding=0, name="conv_1")(x)
        x = nn.relu(norm(train, "norm_1")(x)).reshape(len(x), -1)
        return linear(x.shape[-1], self.classes, "classifier")(x)


class DartsNetwork(nn.Module):
    """The plain network of a genome, variant ``darts``.

    Collections ``params`` and ``batch_stats``; training needs the random stream
    ``dropout``.

    Attributes:
      code: the genome's forty integers, operations numbered as everywhere here.
      channels: of the first cells, C; the stem has 3 C.
      stack: normal cells a stage.
      classes: outputs L.
      auxiliary: whether there is an auxiliary head.
    """

    code: tuple[int, ...]
    channels: int = 48
    stack: int = 3
    classes: int = 10
    auxiliary: bool = True

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "B H W c"],
        drop_path: Rate = 0.0,
        *,
        train: bool = False,
    ) -> Logits:
        """Logits, and in training the auxiliary head's or None.

        Args:
          images: normalised.
          drop_path: probability that an edge is dropped for an image, in training;
            plain identities are not.
          train: whether batch norm and drop-path work as in training.

        Raises:
          UserError: if code, sizes or images do not fit.
        """
        check_sizes(self.channels, self.stack, self.classes)
        blocks = cell_blocks(self.code)
        reductions = (self.stack, 2 * self.stack + 1)
        stem = conv(3 * self.channels, 3, torch_uniform(), name="stem")
        before = previous = norm(train, "stem_norm")(stem(images))
        width, auxiliary = self.channels, None
        for i in range(3 * self.stack + 2):
            halves = i in reductions
            width *= 1 + halves
            cell = DartsCell(
                blocks[REDUCTION if halves else NORMAL],
                width,
                halves,
                after_reduction=i - 1 in reductions,
                name=f"cell_{i}",
            )
            before, previous = previous, cell(before, previous, drop_path, train)
            wanted = self.auxiliary and (train or self.is_initializing())
            if wanted and i == reductions[1]:
                head = AuxiliaryHead(self.classes, name="auxiliary_head")
                auxiliary = head(previous, train)
        features = jnp.mean(previous, axis=(1, 2))
        logits = linear(features.shape[-1], self.classes, "classifier")(features)
        return logits, auxiliary if train else None
