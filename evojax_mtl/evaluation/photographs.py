"""Augmentation of photographs as DARTS does it on ImageNet, inside the compiled step.

As ``augmentation``: a key first, each image of the batch on its own, all from key and
shapes alone. The literature's order is: resized crop, flip, colour jitter, normalise;
a test sees the centre. They are torchvision's transforms, on values of ``[0, 1]`` that
are not rounded in between.

Shape legend: ``B`` images of ``H`` x ``W`` pixels and ``c`` channels, ``s`` pixels a
side of a crop.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R 601)."""

_TRIES = 10


def centre_crop(images: Float[Array, "B H W c"], side: int) -> Float[Array, "B s s c"]:
    """The square of ``side`` pixels in the middle."""
    top, left = ((size - side) // 2 for size in images.shape[1:3])
    return images[:, top : top + side, left : left + side]


def _lines(
    start: Float[Array, "B"], length: Float[Array, "B"], source: int, side: int
) -> Float[Array, "B s source"]:
    """Weights that resize the pixels from ``start`` on to ``side``, antialiased.

    Pixels outside of the window weigh nothing.
    """
    start, length = start[:, None, None], length[:, None, None]
    step = length / side
    pixel = jnp.arange(source) + 0.5
    centre = start + (jnp.arange(side)[:, None] + 0.5) * step
    weights = jnp.maximum(1 - jnp.abs(pixel - centre) / jnp.maximum(step, 1), 0)
    weights *= (pixel > start) & (pixel < start + length)
    return weights / weights.sum(-1, keepdims=True)


def random_resized_crop(
    key: Array,
    images: Float[Array, "B H W c"],
    side: int,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Float[Array, "B s s c"]:
    """A rectangle of each image, resized to a square.

    The first of ten rectangles that fits into the image; where none does, the largest
    in the middle whose ratio is allowed.

    Args:
      key: a typed key.
      images: the batch.
      side: pixels of the square.
      area: least and largest share of the image's area, uniform between.
      ratio: least and largest width over height, its logarithm uniform between.
    """
    size, full_height, full_width, _ = images.shape
    draws = jax.random.uniform(key, ((2 * _TRIES + 2) * size,)).reshape(-1, size)
    share = area[0] + draws[:_TRIES] * (area[1] - area[0])
    least, most = (math.log(value) for value in ratio)
    aspect = jnp.exp(least + draws[_TRIES : 2 * _TRIES] * (most - least))
    pixels = share * (full_height * full_width)
    heights = jnp.round(jnp.sqrt(pixels / aspect))
    widths = jnp.round(jnp.sqrt(pixels * aspect))
    fits = (heights >= 1) & (heights <= full_height)
    fits &= (widths >= 1) & (widths <= full_width)
    found, first = fits.any(0), jnp.argmax(fits, 0)
    windows = []
    for sides, full, largest, draw in (
        (heights, full_height, round(full_width / ratio[0]), draws[-2]),
        (widths, full_width, round(full_height * ratio[1]), draws[-1]),
    ):
        whole = min(full, largest)
        length = jnp.where(found, sides[first, jnp.arange(size)], whole)
        start = jnp.floor(draw * (full - length + 1))
        start = jnp.where(found, start, (full - whole) // 2)
        windows.append(_lines(start, length, full, side).astype(images.dtype))
    rows, columns = windows
    # accelerators would round the pixels to 8 bits and less
    exact = jax.lax.Precision.HIGHEST
    images = jnp.einsum("bip,bpqc->biqc", rows, images, precision=exact)
    return jnp.einsum("bjq,biqc->bijc", columns, images, precision=exact)


def grey(images: Float[Array, "B H W 3"]) -> Float[Array, "B H W 1"]:
    """Brightness of each pixel."""
    return images @ jnp.array(GREY, images.dtype)[:, None]


def shift_hue(
    images: Float[Array, "B H W 3"], turn: Float[Array, "B 1 1"]
) -> Float[Array, "B H W 3"]:
    """Each image's hues turned by ``turn`` circles; saturation and value stay."""
    red, green, blue = (images[..., channel] for channel in range(3))
    value = images.max(-1)
    chroma = value - images.min(-1)
    unit = jnp.where(chroma > 0, chroma, 1)
    hue = jnp.where(
        value == red,
        (green - blue) / unit,
        jnp.where(value == green, (blue - red) / unit + 2, (red - green) / unit + 4),
    )
    hue += 6 * turn
    shifted = []
    for channel in (5, 3, 1):
        place = (channel + hue) % 6
        missing = jnp.clip(jnp.minimum(place, 4 - place), 0, 1)
        shifted.append(value - chroma * missing)
    return jnp.stack(shifted, -1)


def colour_jitter(
    key: Array, images: Float[Array, "B H W 3"], strength: float, hue: float
) -> Float[Array, "B H W 3"]:
    """Brightness, contrast, saturation and hue of each image, in an order of its own.

    Args:
      key: a typed key.
      images: the batch, in ``[0, 1]``, as is what comes out.
      strength: the first three are multiplied by a factor, uniform between
        ``1 - strength`` and ``1 + strength``.
      hue: turned by a share of the colour circle, uniform between ``-hue`` and ``hue``.
    """
    size = len(images)
    draws = jax.random.uniform(key, (8 * size,)).reshape(8, size).astype(images.dtype)
    factors = 1 + strength * (2 * draws[:3, :, None, None, None] - 1)
    turn = hue * (2 * draws[3, :, None, None] - 1)
    order = jnp.argsort(draws[4:], axis=0)[:, :, None, None, None]

    def change(index, images):
        tone = grey(images)
        contrast = tone.mean((1, 2, 3), keepdims=True)
        changed = [
            jnp.clip(base + factor * (images - base), 0, 1)
            for factor, base in zip(factors, (0, contrast, tone), strict=True)
        ]
        changed.append(shift_hue(images, turn))
        return jnp.select([order[index] == k for k in range(4)], changed)

    # a loop, so that the four compile once and not at each place of the order
    return jax.lax.fori_loop(0, 4, change, images)
