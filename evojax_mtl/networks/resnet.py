"""Dilated ResNet-50 with DeepLabV3 heads, the network of CoNAL, LibMTL and MAMO.

Shape legend: ``B`` images, ``H`` x ``W`` pixels, ``h`` x ``w`` map, ``O`` channels that
a task predicts.

ResNet-50 (He et al. 2016) without its classifier; the last two stages keep the map and
dilate instead, so that it is an eighth of the image in each direction (Yu et al. 2017):
in stage 3 the first 3x3 convolution has dilation 1, the others 2; in stage 4 the first
2, the others 4. The head is that of Chen et al. 2017: ASPP of rates 12, 24 and 36, a
1x1 and a 3x3 convolution of 256 channels, and the prediction.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.networks.backbone import STAGES, Backbone
from evojax_mtl.networks.initializers import kaiming_normal
from evojax_mtl.networks.layers import conv, linear, max_pool, norm
from evojax_mtl.networks.resizing import resize

Map = Float[Array, "B h w _"]
NextMap = Float[Array, "B _ _ _"]
BLOCKS = (3, 4, 6, 3)
EXPANSION = 4
RATES = (12, 24, 36)
CHANNELS = 256
"""Of every layer of a head."""


class ResNetStem(nn.Module):
    """7x7 convolution of stride 2, batch norm, ReLU, 3x3 max-pool of stride 2."""

    @nn.compact
    def __call__(self, x: Map, train: bool) -> NextMap:
        """A quarter of the map, 64 channels."""
        x = conv(64, 7, kaiming_normal(), stride=2, name="conv")(x)
        return max_pool(nn.relu(norm(train, "norm")(x)), stride=2)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; the stride is the 3x3's.

    Attributes:
      channels: of the 3x3 convolution; the output has four times as many.
      stride: of the block.
      dilation: of the 3x3 convolution.
      across: whether the shortcut is a 1x1 convolution.
    """

    channels: int
    stride: int
    dilation: int
    across: bool

    @nn.compact
    def __call__(self, x: Map, train: bool) -> NextMap:
        """The output."""
        weights, wide = kaiming_normal(), EXPANSION * self.channels
        shortcut = x
        if self.across:
            shortcut = conv(wide, 1, weights, stride=self.stride, name="across")(x)
            shortcut = norm(train, "norm_across")(shortcut)
        x = nn.relu(
            norm(train, "norm_1")(conv(self.channels, 1, weights, name="conv_1")(x))
        )
        middle = conv(
            self.channels,
            3,
            weights,
            stride=self.stride,
            dilation=self.dilation,
            name="conv_2",
        )
        x = nn.relu(norm(train, "norm_2")(middle(x)))
        x = norm(train, "norm_3")(conv(wide, 1, weights, name="conv_3")(x))
        return nn.relu(x + shortcut)


class ResNetStage(nn.Module):
    """A row of bottlenecks.

    Attributes:
      blocks: how many.
      channels: of their 3x3 convolutions.
      stride: of the first.
      dilations: of the first, and of the others.
    """

    blocks: int
    channels: int
    stride: int = 1
    dilations: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: Map, train: bool) -> NextMap:
        """The output."""
        for i in range(self.blocks):
            first = i == 0
            x = Bottleneck(
                self.channels,
                self.stride if first else 1,
                self.dilations[0 if first else 1],
                across=first,
                name=f"block_{i}",
            )(x, train)
        return x


class DeepLabHead(nn.Module):
    """DeepLabV3's head.

    Attributes:
      outputs: ``O``.
      dropout: probability that a value after ASPP is dropped (fraction).
    """

    outputs: int
    dropout: float = 0.5

    @nn.compact
    def __call__(
        self, x: Map, size: tuple[int, int], train: bool
    ) -> Float[Array, "B H W O"]:
        """Predictions."""

        def layer(x, kernel, name, dilation=1):
            weights = kaiming_normal()
            x = conv(CHANNELS, kernel, weights, dilation=dilation, name=name)(x)
            return nn.relu(norm(train, f"norm_{name}")(x))

        pooled = layer(jnp.mean(x, (1, 2), keepdims=True), 1, "pooled")
        parts = [
            layer(x, 1, "pointwise"),
            *(layer(x, 3, f"rate_{rate}", rate) for rate in RATES),
            jnp.broadcast_to(pooled, (*x.shape[:3], CHANNELS)),
        ]
        x = layer(jnp.concatenate(parts, -1), 1, "project")
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = layer(x, 3, "conv")
        return resize(linear(CHANNELS, self.outputs, "predict")(x), size)


def resnet50() -> Backbone:
    """The backbone."""
    a, b, c, d = BLOCKS
    stages = (
        ResNetStem(),
        ResNetStage(a, 64),
        ResNetStage(b, 128, stride=2),
        ResNetStage(c, 256, dilations=(1, 2)),
        ResNetStage(d, 512, dilations=(2, 4)),
    )
    return Backbone("resnet50", stages, DeepLabHead, published=published)


def published() -> dict[str, str]:
    """PyTorch's name of each weight, and of each statistic, in torchvision's ResNet-50.

    Keys are ours, joined by ``/`` from the stage on: ``stem/conv/kernel``.
    """
    norms = {"scale": "weight", "bias": "bias", "mean": "running_mean"}
    norms["var"] = "running_var"
    names = {"stem/conv/kernel": "conv1.weight"}
    names |= {f"stem/norm/{own}": f"bn1.{theirs}" for own, theirs in norms.items()}
    for layer, (stage, blocks) in enumerate(zip(STAGES[1:], BLOCKS, strict=True), 1):
        for i in range(blocks):
            pairs = {"conv_1": "conv1", "conv_2": "conv2", "conv_3": "conv3"}
            pairs |= {"norm_1": "bn1", "norm_2": "bn2", "norm_3": "bn3"}
            if i == 0:
                pairs |= {"across": "downsample.0", "norm_across": "downsample.1"}
            for own, theirs in pairs.items():
                here, there = f"{stage}/block_{i}/{own}", f"layer{layer}.{i}.{theirs}"
                if own.startswith("norm"):
                    names |= {f"{here}/{a}": f"{there}.{b}" for a, b in norms.items()}
                else:
                    names[f"{here}/kernel"] = f"{there}.weight"
    return names
