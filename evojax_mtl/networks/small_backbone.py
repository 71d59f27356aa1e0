"""A small residual backbone for dense tasks, which trains on a laptop's CPU.

Shape legend: ``B`` images, ``H`` x ``W`` pixels, ``h`` x ``w`` map, ``O`` channels that
a task predicts.

Stages at ``width`` w: a 3x3 convolution of stride 2 to w channels; rows of ``depth``
3x3 convolutions to w, 2w (stride 2), 4w (stride 2) and 4w (dilation 2) channels, beside
a shortcut where there are several. The last map is an eighth of the image in each
direction, as that of the dilated ResNet.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from evojax_mtl.networks.backbone import Backbone
from evojax_mtl.networks.initializers import kaiming_normal
from evojax_mtl.networks.layers import conv, linear, norm
from evojax_mtl.networks.resizing import resize

Map = Float[Array, "B h w _"]
NextMap = Float[Array, "B _ _ _"]


class Stem(nn.Module):
    """3x3 convolution of stride 2, batch norm, ReLU.

    Attributes:
      channels: of the output.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Map, train: bool) -> NextMap:
        """Half the map."""
        x = conv(self.channels, 3, kaiming_normal(), stride=2, name="conv")(x)
        return nn.relu(norm(train, "norm")(x))


class Block(nn.Module):
    """3x3 convolutions, beside a shortcut where there are several (He et al. 2016).

    Attributes:
      channels: of the output.
      depth: convolutions.
      stride: of the first convolution and the shortcut.
      dilation: of all convolutions.
    """

    channels: int
    depth: int
    stride: int = 1
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Map, train: bool) -> NextMap:
        """The output."""
        channels, weights = self.channels, kaiming_normal()
        shortcut = x
        if self.depth > 1 and (self.stride != 1 or x.shape[-1] != channels):
            shortcut = conv(channels, 1, weights, stride=self.stride, name="across")(x)
            shortcut = norm(train, "norm_across")(shortcut)
        for i in range(1, self.depth + 1):
            x = conv(
                channels,
                3,
                weights,
                stride=self.stride if i == 1 else 1,
                dilation=self.dilation,
                name=f"conv_{i}",
            )(x)
            x = norm(train, f"norm_{i}")(x)
            x = nn.relu(x + shortcut if 1 < self.depth == i else x)
        return x


class SmallHead(nn.Module):
    """3x3 convolution, batch norm, ReLU, 1x1 convolution, resized to the image.

    Attributes:
      channels: between the two.
      outputs: ``O``.
    """

    channels: int
    outputs: int

    @nn.compact
    def __call__(
        self, x: Map, size: tuple[int, int], train: bool
    ) -> Float[Array, "B H W O"]:
        """Predictions."""
        x = conv(self.channels, 3, kaiming_normal(), name="conv")(x)
        x = nn.relu(norm(train, "norm")(x))
        return resize(linear(self.channels, self.outputs, "predict")(x), size)


def small(width: int, depth: int) -> Backbone:
    """The backbone; see the module."""
    stages = (
        Stem(width),
        Block(width, depth),
        Block(2 * width, depth, stride=2),
        Block(4 * width, depth, stride=2),
        Block(4 * width, depth, dilation=2),
    )
    return Backbone("small", stages, lambda outputs: SmallHead(4 * width, outputs))
