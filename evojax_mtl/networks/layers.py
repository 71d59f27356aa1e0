"""Layers that the networks of fixed cells share, with PyTorch's conventions.

Shape legend: ``B`` images, ``H`` x ``W`` map, ``h`` x ``w`` output map, ``C`` channels.

Padding is PyTorch's, so that maps of even size shrink from the same corner. Batch norm
is affine, with PyTorch's momentum 0.1 (0.9 in flax's sense) and epsilon 1e-5. Differs
from PyTorch: its running variance averages the biased variance of a batch.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.networks.batch_norm import BatchNorm
from evojax_mtl.networks.convolution import convolution
from evojax_mtl.networks.initializers import Initializer, torch_uniform

Image = Float[Array, "B H W _"]
Map = Float[Array, "B h w _"]


def conv(
    channels: int,
    kernel: int,
    weights: Initializer,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: int | None = None,
    bias: bool = False,
    name: str | None = None,
) -> nn.Conv:
    """A square convolution, without bias unless ``bias``.

    ``padding`` zeros on every side, by default those that keep the map at stride 1.
    """
    if padding is None:
        padding = dilation * (kernel - 1) // 2
    return nn.Conv(
        channels,
        (kernel, kernel),
        strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        kernel_dilation=(dilation, dilation),
        feature_group_count=groups,
        use_bias=bias,
        kernel_init=weights,
        conv_general_dilated=convolution,
        name=name,
    )


def norm(train: bool, name: str | None = None) -> BatchNorm:
    """Batch norm: of the batch in training, by running statistics otherwise."""
    return BatchNorm(running=not train, name=name)


def linear(inputs: int, outputs: int, name: str) -> nn.Dense:
    """PyTorch's linear layer."""
    return nn.Dense(
        outputs,
        kernel_init=torch_uniform(),
        bias_init=torch_uniform(inputs),
        name=name,
    )


def _pooling(size: int, stride: int, padding: int) -> dict[str, Any]:
    return {
        "window_shape": (size, size),
        "strides": (stride, stride),
        "padding": ((padding, padding), (padding, padding)),
    }


def max_pool(x: Image, stride: int = 1) -> Map:
    """The largest of 3x3, 1 pixel of padding."""
    return nn.max_pool(x, **_pooling(3, stride, 1))


def average_pool(
    x: Image,
    size: int = 3,
    stride: int = 1,
    padding: int = 1,
    *,
    count_padding: bool = True,
) -> Map:
    """The mean of a window, which may or may not count the zeros around the map."""
    pooling = _pooling(size, stride, padding)
    return nn.avg_pool(x, **pooling, count_include_pad=count_padding)


def path_scales(
    key: Array, rate: Float[Array, ""] | float, shape: tuple[int, ...]
) -> Float[Array, "*shape"]:
    """Drop-path's factors: 0 with probability ``rate``, else ``1 / (1 - rate)``.

    A rate of 1 drops everything.
    """
    keep = 1 - jnp.asarray(rate, jnp.float32)
    kept = jax.random.bernoulli(key, keep, shape)
    return jnp.where(kept, 1 / jnp.maximum(keep, 1e-6), 0)
