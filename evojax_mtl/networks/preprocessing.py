"""What is done to images, and to words' vectors, before a network reads them.

Shape legend: ``*n`` any leading axes (tasks, examples), ``H`` x ``W`` pixels, ``c``
channels, ``L`` words, ``D`` dimensions of a word's vector.

Each way is a shift and a scale, ``x`` becomes ``(x - shift) / scale``, so that which of
them a network is given can be data: no branch, no program of its own. Those of images,
whose values are from 0 to 1:

* ``none``: as they are, to the bit;
* ``imagenet``: each channel by ImageNet's mean and deviation (Liang 2019, 4.2). Images
  of another number of channels than three have the mean of the three in each;
* ``standardized``: each image by the mean and deviation of all its values. A deviation
  counts as at least 1 over the root of the number of values, as in TensorFlow's
  ``per_image_standardization``, so that noise on an even image stays small.

Those of words (no paper tells any):

* ``none``: as they are, to the bit;
* ``unit``: each word's vector has length 1, so that frequent words, whose vectors are
  long, do not outweigh others; a vector of zeros stays one;
* ``standardized``: each text by the mean and deviation of all values of the words that
  are there. Padding stays 0, a text of zeros too.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, from 0 to 1: torchvision's."""

EVOLVED = "evolved"
"""In the place of a way's name: each network has one of all, which evolves."""

Move = tuple[Array, Array]


def _as_it_is(*_: Array) -> Move:
    return jnp.zeros(()), jnp.ones(())


def _imagenet(images: Float[Array, "*n H W c"]) -> Move:
    shift, scale = jnp.array(IMAGENET_MEAN), jnp.array(IMAGENET_DEVIATION)
    if images.shape[-1] == len(IMAGENET_MEAN):
        return shift, scale
    return shift.mean(), scale.mean()


def _standardized_image(images: Float[Array, "*n H W c"]) -> Move:
    values = (-3, -2, -1)
    least = math.prod(images.shape[-3:]) ** -0.5
    deviation = images.std(values, keepdims=True)
    return images.mean(values, keepdims=True), jnp.maximum(deviation, least)


def _or_one(scale: Array) -> Array:
    return jnp.where(scale > 0, scale, 1)


def _unit(vectors: Float[Array, "*n L D"], mask: Bool[Array, "*n L"]) -> Move:
    lengths = jnp.sqrt(jnp.sum(vectors**2, -1, keepdims=True))
    return jnp.zeros(()), _or_one(lengths)


def _standardized_text(
    vectors: Float[Array, "*n L D"], mask: Bool[Array, "*n L"]
) -> Move:
    there = mask[..., None]
    count = jnp.maximum(mask.sum(-1) * vectors.shape[-1], 1)[..., None, None]

    def mean(values):
        values = jnp.where(there, values, 0)
        return values.sum((-2, -1), keepdims=True) / count

    middle = mean(vectors)
    deviation = jnp.sqrt(mean((vectors - middle) ** 2))
    return jnp.where(there, middle, 0), _or_one(deviation)


Ways = Mapping[str, Callable[..., Move]]

IMAGES: Ways = {
    "none": _as_it_is,
    "imagenet": _imagenet,
    "standardized": _standardized_image,
}
"""Of images, by name; the shift and the scale of a batch."""

WORDS: Ways = {
    "none": _as_it_is,
    "unit": _unit,
    "standardized": _standardized_text,
}
"""Of words' vectors."""


def options(asked: str, ways: Iterable[str]) -> tuple[str, ...]:
    """The ways there are to choose from: the one that is asked for, or all."""
    return tuple(ways) if asked == EVOLVED else (asked,)


def preprocessed_images(
    names: tuple[str, ...],
    chosen: Int[Array, ""] | None,
    images: Float[Array, "*n H W c"],
) -> Float[Array, "*n H W c"]:
    """Images as a network reads them.

    Args:
      names: ways of ``IMAGES`` to choose from; without any the images stay as they are.
      chosen: index into ``names``; None where there are none.
      images: in ``[0, 1]``.
    """
    return _applied(IMAGES, names, chosen, images)


def preprocessed_words(
    names: tuple[str, ...],
    chosen: Int[Array, ""] | None,
    vectors: Float[Array, "*n L D"],
    mask: Bool[Array, "*n L"],
) -> Float[Array, "*n L D"]:
    """Words' vectors as a network reads them.

    Args:
      names: ways of ``WORDS`` to choose from; without any the vectors stay as they are.
      chosen: index into ``names``; None where there are none.
      vectors: of the words.
      mask: the words that are there; what others hold must not matter later.
    """
    return _applied(WORDS, names, chosen, vectors, mask)


def _applied(
    ways: Ways,
    names: tuple[str, ...],
    chosen: Int[Array, ""] | None,
    x: Array,
    *others: Array,
) -> Array:
    if names in ((), ("none",)):
        return x
    moves = [ways[name](x, *others) for name in names]
    shape = jnp.broadcast_shapes(*(part.shape for move in moves for part in move))
    shift, scale = (
        jnp.stack([jnp.broadcast_to(part, shape) for part in parts])[chosen]
        for parts in zip(*moves, strict=True)
    )
    return (x - shift) / scale
