"""Augmentation of a batch of images inside the compiled step, and normalisation.

The random ones take a key first, treat each image of the batch on its own and follow
from key and shapes alone. The literature's order on CIFAR is: crop, flip, normalise,
cutout; the crop's margin is then black, and the cutout's square the mean colour.

Shape legend: ``B`` images of ``H`` x ``W`` pixels and ``c`` channels.
"""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
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


def moved(
    images: Float[Array, "B H W c"],
    angle: Float[Array, "B"],
    shift: Float[Array, "B 2"],
) -> Float[Array, "B H W c"]:
    """Each image turned about its middle, then shifted; bilinear.

    What comes from beyond an edge is the edge's nearest pixel.

    Args:
      images: the batch.
      angle: from the rows towards the columns (radians).
      shift: down and to the right (pixels).
    """
    size = jnp.array(images.shape[1:3], images.dtype)
    middle = (size - 1) / 2
    grid = jnp.indices(images.shape[1:3]).astype(images.dtype)

    def move(image, angle, shift):
        rows, columns = grid - (middle + shift)[:, None, None]
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        turned = jnp.stack([cos * rows + sin * columns, cos * columns - sin * rows])
        places = turned + middle[:, None, None]

        def channel(pixels):
            return map_coordinates(pixels, list(places), order=1, mode="nearest")

        return jax.vmap(channel, -1, -1)(image)

    return jax.vmap(move)(images, angle, shift)


def random_move(
    key: Array, images: Float[Array, "B H W c"], rotation: float, translation: float
) -> Float[Array, "B H W c"]:
    """Each image turned and shifted at random; see ``moved``.

    Args:
      key: a typed key.
      images: the batch.
      rotation: largest angle, either way, all to it equally likely (degrees).
      translation: largest shift along each side, likewise (parts of the side).
    """
    count, height, width, _ = images.shape
    draws = 2 * jax.random.uniform(key, (3 * count,)).reshape(3, count) - 1
    sides = jnp.array([height, width], images.dtype)
    shift = draws[:2].T.astype(images.dtype) * translation * sides
    angle = jnp.deg2rad(rotation) * draws[2].astype(images.dtype)
    return moved(images, angle, shift)


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
