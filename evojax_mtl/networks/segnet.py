"""SegNet (Badrinarayanan et al. 2017) as MTAN's authors build it, a decoder a task.

Shape legend: ``B`` images, ``H`` x ``W`` pixels, ``h`` x ``w`` map, ``O`` channels that
a task predicts.

The encoder is VGG-16's: five stages of 3x3 convolutions, each with bias, batch norm and
ReLU, and a 2x2 max-pool, whose *positions* are kept: which pixel of each window was
the largest, the first of equals. A decoder is the mirror image: each level puts values
back where the maxima were, 0 elsewhere, and convolves; two convolutions without norm
predict. For one task of 13 classes that is MTAN's network of 24,981,069 weights.

Differs from MTAN's ``split``, which shares the decoder too: here the encoder is shared,
as Tan 2024 says of its networks, so that its stages are the groups in which tasks
conflict. Maps of odd size are pooled with a last window that is cut off, and come back
to their size.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.networks.backbone import Backbone
from evojax_mtl.networks.initializers import xavier_normal
from evojax_mtl.networks.layers import conv, norm

Map = Float[Array, "B h w _"]
NextMap = Float[Array, "B _ _ _"]
Positions = Float[Array, "B _ _ _"]
CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = (2, 2, 3, 3, 3)


def pool(x: Map) -> tuple[NextMap, Positions]:
    """The largest of every 2x2 window, and which it was, row by row from 0 to 3."""
    batch, height, width, channels = x.shape
    edges = [(0, 0), (0, height % 2), (0, width % 2), (0, 0)]
    x = jnp.pad(x, edges, constant_values=-jnp.inf)
    shape = (batch, x.shape[1] // 2, 2, x.shape[2] // 2, 2, channels)
    windows = x.reshape(shape).swapaxes(2, 3).reshape(*shape[:2], shape[3], 4, channels)
    first = jax.lax.stop_gradient(jnp.argmax(windows, 3))
    chosen = jnp.arange(4)[:, None] == first[..., None, :]
    largest = jnp.sum(jnp.where(chosen, windows, 0), 3)
    return largest, first.astype(jnp.float32)


def unpool(
    x: Float[Array, "B h w C"],
    positions: Float[Array, "B h w C"],
    size: tuple[int, ...],
) -> NextMap:
    """A map of ``size`` with each value at its position in its window, else 0."""
    batch, height, width, channels = x.shape
    place = jnp.arange(4).reshape(2, 1, 2, 1) == positions[:, :, None, :, None]
    spread = jnp.where(place, x[:, :, None, :, None], 0)
    whole = spread.reshape(batch, 2 * height, 2 * width, channels)
    return whole[:, : size[0], : size[1]]


def rows(x: Map, channels: int, count: int, train: bool) -> NextMap:
    """3x3 convolutions, each with batch norm and ReLU; call it in a Flax module."""
    for i in range(1, count + 1):
        x = conv(channels, 3, xavier_normal(), bias=True, name=f"conv_{i}")(x)
        x = nn.relu(norm(train, f"norm_{i}")(x))
    return x


class SegNetStage(nn.Module):
    """Convolutions and a max-pool.

    Attributes:
      channels: of the output.
      convolutions: how many.
    """

    channels: int
    convolutions: int

    @nn.compact
    def __call__(self, x: Map, train: bool) -> tuple[NextMap, Positions]:
        """Half the map, and the positions of its values."""
        return pool(rows(x, self.channels, self.convolutions, train))


class SegNetLevel(nn.Module):
    """What mirrors a stage, behind the unpooling.

    Attributes:
      channels: of the output.
      convolutions: how many.
    """

    channels: int
    convolutions: int

    @nn.compact
    def __call__(self, x: Map, train: bool) -> NextMap:
        """The output."""
        return rows(x, self.channels, self.convolutions, train)


class SegNetHead(nn.Module):
    """The decoder.

    Attributes:
      channels: of the stages.
      convolutions: of each stage, and of the level that mirrors it.
      outputs: ``O``.
    """

    channels: tuple[int, ...]
    convolutions: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(
        self,
        x: Map,
        size: tuple[int, int],
        positions: tuple[Positions, ...] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "B H W O"]:
        """Predictions; ``positions`` of every stage, as if all 0 where None."""
        if positions is None:
            batch, height, width, _ = x.shape
            shapes = [
                (batch, height << i, width << i, channels)
                for i, channels in enumerate(reversed(self.channels))
            ]
            positions = tuple(jnp.zeros(shape) for shape in reversed(shapes))
            size = (height << len(shapes), width << len(shapes))
        widths = (self.channels[0], *self.channels)
        for i in reversed(range(len(self.channels))):
            above = size if i == 0 else positions[i - 1].shape[1:3]
            x = unpool(x, positions[i], above)
            level = SegNetLevel(widths[i], self.convolutions[i], name=f"level_{i + 1}")
            x = level(x, train)
        x = conv(self.channels[0], 3, xavier_normal(), bias=True, name="conv")(x)
        return conv(self.outputs, 1, xavier_normal(), bias=True, name="predict")(x)


def segnet(
    channels: tuple[int, ...] = CHANNELS, convolutions: tuple[int, ...] = CONVOLUTIONS
) -> Backbone:
    """The backbone; another one with other numbers for its five stages."""
    stages = tuple(
        SegNetStage(wide, count)
        for wide, count in zip(channels, convolutions, strict=True)
    )
    return Backbone(
        "segnet",
        stages,
        lambda outputs: SegNetHead(channels, convolutions, outputs),
        positions=True,
    )
