"""Augmentation of a batch of images inside the compiled step, and normalisation.

The random ones take a key first, treat each image of the batch on its own and follow
from key and shapes alone. The literature's order on CIFAR is: crop, flip, normalise,
cutout; the crop's margin is then black, and the cutout's square the mean colour.

Shape legend: ``B`` images of ``H`` x ``W`` pixels and ``c`` channels.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def _integers(key: Array, count: int, *limits: int) -> list[Int[Array, "B"]]:
    """For each limit, ``count`` integers below it, uniform and independent.

    One flat draw: a shaped one, or one for each limit, takes XLA longer to compile.
    """
    draws = jax.random.uniform(key, (len(limits) * count,))
    return [
        (draws[i * count : (i + 1) * count] * limit).astype(jnp.int32)
        for i, limit in enumerate(limits)
    ]


def random_crop(
    key: Array, images: Float[Array, "B H W c"], padding: int
) -> Float[Array, "B H W c"]:
    """A window of each image's own size, after zeros were put around the image.

    Args:
      key: a typed key.
      images: the batch.
      padding: zeros on each side; every one of the ``(2 padding + 1)^2`` windows is
        equally likely.
    """
    size, height, width, _ = images.shape
    tops, lefts = _integers(key, size, 2 * padding + 1, 2 * padding + 1)
    sides = (padding, padding)
    padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)))
    rows = tops[:, None] + jnp.arange(height)
    columns = lefts[:, None] + jnp.arange(width)
    image = jnp.arange(size)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]]


def random_flip(key: Array, images: Float[Array, "B H W c"]) -> Float[Array, "B H W c"]:
    """Half of the images, at random, with left and right exchanged."""
    flipped = jax.random.uniform(key, (len(images),)) < 0.5
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def cutout(
    key: Array, images: Float[Array, "B H W c"], length: int
) -> Float[Array, "B H W c"]:
    """A square of zeros in each image, as in DARTS.

    Its centre is any pixel, all equally likely; what lies outside of the image is cut
    off, so that near a border less than the whole square is zero.

    Args:
      key: a typed key.
      images: the batch.
      length: pixels a side; from ``length // 2`` before the centre.
    """
    size, height, width, _ = images.shape
    centres = _integers(key, size, height, width)
    hidden = []
    for centre, pixels in zip(centres, (height, width), strict=True):
        position = jnp.arange(pixels) - (centre[:, None] - length // 2)
        hidden.append((position >= 0) & (position < length))
    rows, columns = hidden
    square = rows[:, :, None] & columns[:, None, :]
    return jnp.where(square[..., None], 0, images)


def normalise(
    images: Float[Array, "B H W c"], mean: Float[Array, "c"], std: Float[Array, "c"]
) -> Float[Array, "B H W c"]:
    """Each channel less its ``mean``, in units of its ``std``."""
    return (images - mean) / std
