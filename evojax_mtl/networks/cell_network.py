"""The plain network of a fixed genome, as EMT-NAS searches it (Liao 2023, 3.2).

Shape legend: ``B`` images, ``H`` x ``W`` map, ``c`` channels of an image, ``C``
channels of a cell, ``L`` classes.

Only the operations that the genome asks for exist, so nothing is selected at run time
and only their weights count. The paper leaves the network to its supplement; this is
the authors' code's: stem; ``stack`` normal cells; twice a reduction and ``stack``
normal cells at double the width; global mean, dropout, ReLU, linear layer.

Two edges of a block with the same input and operation share one module, as in the
search; ``shared=False`` gives each its own. Parameters in millions at 48 channels, for
the published genotypes with stacks of 2 and 3, batch norms affine, the 1x1 convolutions
over the loose ends alone:

==========  =================  ===================  ====================
genotype    Liao 2023, Tab. 3  own modules          shared modules
==========  =================  ===================  ====================
EMT C-10    2.17, 2.91         2.20, 2.94           2.08, 2.77
EMT C-100   2.23, 2.97         2.25, 3.00           2.13, 2.83
==========  =================  ===================  ====================

So the paper's count takes such edges twice: own modules are within 1.5 % of it, and
within 0.7 % if batch norms do not count. No reading meets all four to the digit; whose
run the genotypes are is not known.

With DARTS' stem for ImageNet (``stem="imagenet"``), 1000 classes and own modules:

==========  =================  =============
genotype    Liao 2023, Tab. 4  counted here
==========  =================  =============
EMT C-10    2.38, 3.13         2.42, 3.17
EMT C-100   2.49, 3.25         2.45, 3.20
==========  =================  =============

That is within 1.8 % of the paper's. Without batch norms it would be 2.39, 3.12 and
2.42, 3.16, nearer for one genotype and further for the other.

That stem is ``ImageNetStem``. In DARTS the first cell reads its two maps, one twice as
large as the other; cells of the search keep their map, so both inputs of the first one
are the last map here, as with the other stem.

Node 0 of a cell is the previous cell's output, node 1 that of the one before. A
reduction cell keeps its map: both its inputs are halved outside it. "dilated_3x3" has a
1x1 depthwise kernel, "5x5" and "7x7" have 3x3 and 5x5 at dilation 2.

Differs from the authors' code: a shared module runs once a step for both edges, so its
running statistics move once.
"""

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evojax_mtl.errors import UserError
from evojax_mtl.genomes.cells import (
    BLOCKS,
    CELL_TYPES,
    EDGES,
    INPUTS,
    NORMAL,
    OPERATIONS,
    REDUCTION,
    from_code,
)
from evojax_mtl.networks.initializers import kaiming_normal
from evojax_mtl.networks.layers import (
    average_pool,
    conv,
    linear,
    max_pool,
    norm,
    path_scales,
)

Map = Float[Array, "B H W C"]
Blocks = tuple[tuple[int, int, int, int], ...]
Rate = Float[Array, ""] | float
Logits = tuple[Float[Array, "B L"], Float[Array, "B L"] | None]

STAGES = 3
STEM_STRIDES = {"cifar": 1, "imagenet": 8}
"""How many pixels of an image one of each stem's map stands for, along a side."""


def cell_blocks(code: Sequence[int]) -> tuple[Blocks, ...]:
    """Blocks ``(in_a, in_b, op_a, op_b)`` of each cell type.

    Raises:
      UserError: if the forty integers are not a genome.
    """
    cells = from_code(list(code))
    return tuple(
        tuple((int(a), int(b), int(f), int(g)) for a, b, f, g in cell) for cell in cells
    )


def open_nodes(blocks: Blocks) -> tuple[int, ...]:
    """The nodes of blocks that no block reads: the loose ends."""
    read = {source for block in blocks for source in block[:2]}
    nodes = range(INPUTS, INPUTS + BLOCKS)
    return tuple(node for node in nodes if node not in read)


def check_sizes(channels: int, stack: int, classes: int) -> None:
    """Raises ``UserError`` for a size below its least."""
    for name, value, least in (
        ("channels", channels, 1),
        ("stack", stack, 1),
        ("classes", classes, 2),
    ):
        if value < least:
            raise UserError(f"{name}: found {value}, must be {least} or more")


class ImageNetStem(nn.Module):
    """DARTS' stem for ImageNet: three 3x3 convolutions of stride 2.

    A map of odd side is rounded up when it is halved.

    Attributes:
      channels: of the output, C; the first convolution has half of them.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "B _ _ c"], train: bool) -> Map:
        """The map, an eighth of the image a side."""
        for i, width in enumerate((-(-self.channels // 2), *2 * (self.channels,))):
            x = x if i == 0 else nn.relu(x)
            layer = conv(width, 3, kaiming_normal(), stride=2, name=f"conv_{i}")
            x = norm(train, f"norm_{i}")(layer(x))
        return x


class SearchOperation(nn.Module):
    """One of the nine operations; keeps map and width.

    Attributes:
      operation: index in ``OPERATIONS``.
    """

    operation: int

    @nn.compact
    def __call__(self, x: Map, train: bool) -> Map:
        """The output."""
        name = OPERATIONS[self.operation]
        if name == "identity":
            return x
        x = nn.relu(x)
        if name == "max_pool_3x3":
            return max_pool(x)
        if name == "average_pool_3x3":
            return average_pool(x)
        kind, size = name.rsplit("_", 1)
        kernel, channels, weights = int(size[0]), x.shape[-1], kaiming_normal()
        if kind == "separable":
            depthwise = conv(
                channels, kernel, weights, groups=channels, name="depthwise"
            )
            x = nn.relu(norm(train, "depthwise_norm")(depthwise(x)))
        else:
            # the authors' dilated kernels are 2 smaller than their names
            depthwise = conv(
                channels,
                kernel - 2,
                weights,
                dilation=2,
                groups=channels,
                name="depthwise",
            )
            x = depthwise(x)
        return norm(train, "norm")(conv(channels, 1, weights, name="pointwise")(x))


class SearchCell(nn.Module):
    """A cell: two inputs of the same shape, an output of that shape.

    Attributes:
      blocks: its five blocks.
      shared: whether equal edges of a block share one module.
    """

    blocks: Blocks
    shared: bool = True

    @nn.compact
    def __call__(self, previous: Map, before: Map, drop_path: Rate, train: bool) -> Map:
        """The output; ``drop_path`` is the rate at which an edge is dropped."""
        nodes = [previous, before]
        scales = None
        if train:
            # one draw an edge for the whole batch, as in the authors' code
            scales = path_scales(self.make_rng("dropout"), drop_path, (EDGES,))
        for i, (*sources, op_a, op_b) in enumerate(self.blocks):
            outputs: dict[str, Map] = {}
            values = []
            edges = zip(sources, (op_a, op_b), strict=True)
            for k, (source, operation) in enumerate(edges):
                name = f"block_{i}_input_{source}_{OPERATIONS[operation]}"
                if name in outputs and not self.shared:
                    name += "_again"
                if name not in outputs:
                    module = SearchOperation(operation, name=name)
                    outputs[name] = module(nodes[source], train)
                value = outputs[name]
                values.append(value if scales is None else value * scales[2 * i + k])
            nodes.append(values[0] + values[1])
        x = nn.relu(jnp.concatenate([nodes[n] for n in open_nodes(self.blocks)], -1))
        channels = previous.shape[-1]
        # drawn as one square kernel a block, whichever blocks are used
        merge = conv(channels, 1, kaiming_normal(channels), name="merge")
        return norm(train, "merge_norm")(merge(x))


class CellNetwork(nn.Module):
    """The plain network of a genome, variant ``emt-nas``.

    Collections ``params`` and ``batch_stats``; training needs the random stream
    ``dropout``.

    Attributes:
      code: the genome's forty integers.
      channels: of the first stage, C.
      stack: normal cells a stage.
      classes: outputs L.
      dropout: rate before the linear layer.
      shared: whether equal edges of a block share one module.
      stem: what comes before the cells: ``cifar``, the search's 3x3 convolution, or
        ``imagenet``, an ``ImageNetStem``.
    """

    code: tuple[int, ...]
    channels: int = 48
    stack: int = 2
    classes: int = 10
    dropout: float = 0.1
    shared: bool = True
    stem: Literal["cifar", "imagenet"] = "cifar"

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "B H W c"],
        drop_path: Rate = 0.0,
        *,
        train: bool = False,
    ) -> Logits:
        """Logits, and None where other networks have an auxiliary head's.

        Args:
          images: normalised.
          drop_path: probability that an edge is dropped for the whole batch, in
            training; every operation, identity and pools too.
          train: whether batch norm, drop-path and dropout work as in training.

        Raises:
          UserError: if code, sizes or images do not fit.
        """
        check_sizes(self.channels, self.stack, self.classes)
        blocks = cell_blocks(self.code)
        stride = STEM_STRIDES[self.stem]
        least = stride * (2 ** (STAGES - 1) - 1) + 1
        if min(images.shape[1:3]) < least:
            raise UserError(
                f"images: found {images.shape[1]} x {images.shape[2]} pixels, must be "
                f"{least} or more a side"
            )
        weights = kaiming_normal()
        if self.stem == "imagenet":
            x = ImageNetStem(self.channels, name="stem")(images, train)
        else:
            stem = conv(self.channels, 3, weights, name="stem")
            x = norm(train, "stem_norm")(stem(images))
        before = x
        for stage in range(STAGES):
            kinds = [NORMAL] * self.stack
            if stage:
                kinds = [REDUCTION, *kinds]
                width = self.channels * 2**stage
                halves = []
                for role, value in (("previous", x), ("before", before)):
                    value = average_pool(value, 2, 2, 0)
                    widen = conv(width, 1, weights, name=f"halve_{stage}_{role}")
                    normed = norm(train, f"halve_{stage}_{role}_norm")
                    halves.append(normed(widen(value)))
                x, before = halves
            for i, kind in enumerate(kinds):
                name = f"stage_{stage}_cell_{i}_{CELL_TYPES[kind]}"
                cell = SearchCell(blocks[kind], self.shared, name=name)
                x, before = cell(x, before, drop_path, train), x
        features = jnp.mean(x, axis=(1, 2))
        drop = nn.Dropout(self.dropout, deterministic=not train)
        features = nn.relu(drop(features))
        return linear(features.shape[-1], self.classes, "classifier")(features), None


def static_code(cells: np.ndarray | Sequence[int]) -> tuple[int, ...]:
    """A genome, as an array or a sequence, in the hashable form networks take."""
    return tuple(int(value) for value in np.asarray(cells).ravel())
