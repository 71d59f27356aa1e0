"""Augmentations of photographs against PIL, colorsys, jax.image and NumPy."""

import colorsys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from evojax_mtl.evaluation import photographs
from evojax_mtl.evaluation.photographs import (
    _lines,
    centre_crop,
    colour_jitter,
    grey,
    random_resized_crop,
    shift_hue,
)

crop = jax.jit(random_resized_crop, static_argnums=(2, 3, 4))
jitter = jax.jit(colour_jitter, static_argnums=(2, 3))
hues = jax.jit(shift_hue)


def pictures(size, height=12, width=10):
    rng = np.random.default_rng(0)
    return rng.uniform(size=(size, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("side", [5, 12, 31])
def test_the_whole_image_is_resized_as_by_jax(side):
    images = pictures(3, 12, 12)
    found = crop(jax.random.key(0), images, side, (1.0, 1.0), (1.0, 1.0))
    expected = jax.image.resize(images, (3, side, side, 3), "linear", antialias=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("side", [4, 9])
def test_a_window_is_resized_as_by_pil(side):
    image = pictures(1)[0]
    top, left, height, width = 3, 2, 8, 7
    one = jnp.ones(1)
    rows = _lines(top * one, height * one, 12, side)[0]
    columns = _lines(left * one, width * one, 10, side)[0]
    found = jnp.einsum("ip,jq,pqc->ijc", rows, columns, image)
    window = image[top : top + height, left : left + width]
    for channel in range(3):
        plane = Image.fromarray(np.ascontiguousarray(window[..., channel]))
        expected = plane.resize((side, side), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(found[..., channel], expected, atol=1e-4)


def found_windows(size, height, width, side, **ranges):
    """Starts and lengths ``(B, 2)`` that crops of images of coordinates show."""
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.stack([y, x, 0 * x], -1).astype(np.float32)
    images = np.broadcast_to(image, (size, *image.shape))
    crops = np.asarray(crop(jax.random.key(1), images, side, *ranges.values()))
    # away from the border an enlarged crop of coordinates is linear in them
    low, high = side // 4, 3 * side // 4
    first, last = crops[:, low, low, :2], crops[:, high, high, :2]
    steps = (last - first) / (high - low)
    return first - (low + 0.5) * steps, steps * side


def test_windows_are_uniform_in_area_and_in_the_logarithm_of_their_ratio():
    starts, lengths = found_windows(1500, 60, 60, 64)
    assert (starts > -0.01).all()
    assert (starts + lengths < 60.01).all()
    np.testing.assert_allclose(lengths, lengths.round(), atol=0.01)
    share = lengths.prod(1) / 60**2
    ratio = np.log(lengths[:, 1] / lengths[:, 0])
    assert 0.075 < share.min() < 0.09
    assert share.max() > 0.95
    assert np.abs(ratio).max() < np.log(4 / 3) + 0.05
    # what is nearly whole fits less often: that end is thinned
    for values, limits in (
        (share[share < 0.7], (0.08, 0.7)),
        (ratio[share < 0.7], (-np.log(4 / 3), np.log(4 / 3))),
    ):
        quarters = np.histogram(values, bins=4, range=limits)[0]
        assert np.ptp(quarters) < 5 * np.sqrt(quarters.mean())
    places = starts / np.maximum(60 - lengths, 1)
    assert np.abs(places[share < 0.7].mean(0) - 0.5).max() < 0.03


def test_where_no_window_fits_it_is_the_largest_in_the_middle():
    starts, lengths = found_windows(
        2, 40, 100, 64, area=(1.0, 1.0), ratio=(3 / 4, 4 / 3)
    )
    np.testing.assert_allclose(lengths, [[40, 53]] * 2, atol=0.01)
    np.testing.assert_allclose(starts, [[0, 23]] * 2, atol=0.01)


def test_the_centre_is_the_middle():
    images = pictures(2, 12, 9)
    np.testing.assert_array_equal(
        centre_crop(jnp.asarray(images), 6), images[:, 3:9, 1:7]
    )


def test_grey_is_pils():
    image = (pictures(1)[0] * 255).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).convert("L"), float)
    found = np.asarray(grey(image[None] / jnp.float32(255)))[0, ..., 0] * 255
    np.testing.assert_allclose(found, expected, atol=1)


@pytest.mark.parametrize("turn", [-0.5, -0.13, 0.0, 0.2])
def test_hues_are_colorsyss(turn):
    images = pictures(1)
    images[0, 0, :6] = [*np.eye(3), (0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5)]
    found = hues(images, jnp.full((1, 1, 1), turn))
    for pixel, shifted in zip(
        images.reshape(-1, 3), np.asarray(found).reshape(-1, 3), strict=True
    ):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        np.testing.assert_allclose(shifted, expected, atol=1e-5)


def blend(image, other, factor):
    return np.clip(other + factor * (image - other), 0, 1)


def changed_by(name, image, amount):
    """What a change of that amount makes of an image, in NumPy."""
    tone = image @ np.array(photographs.GREY)[:, None]
    if name == "hue":
        image = image[None].astype(np.float32)
        return np.asarray(hues(image, np.full((1, 1, 1), amount, np.float32)))[0]
    other = {"brightness": 0, "contrast": tone.mean(), "saturation": tone}[name]
    return blend(image, other, 1 + amount)


def test_jitter_makes_four_changes_in_an_order_that_is_each_images_own():
    names = ("brightness", "contrast", "saturation", "hue")
    size, key = 60, jax.random.key(5)
    images = pictures(size, 4, 4)
    found = np.asarray(jitter(key, images, 0.4, 0.2))
    assert found.min() >= 0
    assert found.max() <= 1
    draws = np.asarray(jax.random.uniform(key, (8 * size,))).reshape(8, size)
    amounts = (2 * draws[:4] - 1) * np.array([0.4, 0.4, 0.4, 0.2])[:, None]
    orders = np.argsort(draws[4:], axis=0).T
    assert len(np.unique(orders, axis=0)) > 15
    differ = 0
    for index, (image, order) in enumerate(zip(images, orders, strict=True)):
        result = back = image
        for k in range(4):
            one, other = order[k], order[3 - k]
            result = changed_by(names[one], result, amounts[one, index])
            back = changed_by(names[other], back, amounts[other, index])
        np.testing.assert_allclose(found[index], result, atol=1e-4)
        differ += not np.allclose(back, result, atol=1e-3)
    assert differ > size / 2


def test_no_strength_changes_nothing():
    images = pictures(3)
    np.testing.assert_allclose(
        jitter(jax.random.key(0), images, 0.0, 0.0), images, atol=1e-6
    )


AUGMENTATIONS = {
    "crop": partial(random_resized_crop, side=6),
    "jitter": partial(colour_jitter, strength=0.4, hue=0.2),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_key_alone_decides_and_a_vmap_equals_a_loop(name):
    images, keys = pictures(8), jax.random.split(jax.random.key(4), 2)
    alone = jax.jit(AUGMENTATIONS[name])
    one, other = (alone(key, images) for key in keys)
    np.testing.assert_array_equal(one, alone(keys[0], images))
    assert (np.asarray(one) != np.asarray(other)).any()
    assert len({np.asarray(image).tobytes() for image in one}) == 8
    together = jax.jit(jax.vmap(AUGMENTATIONS[name], (0, None)))(keys, images)
    np.testing.assert_allclose(together, [one, other], atol=1e-6)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_program_does_not_grow_with_the_batch_and_keeps_the_type(name):
    def equations(size):
        images = jnp.zeros((size, 12, 10, 3), jnp.float16)
        traced = jax.make_jaxpr(AUGMENTATIONS[name])(jax.random.key(0), images)
        assert traced.out_avals[0].dtype == jnp.float16
        return len(traced.eqns)

    assert equations(3) == equations(300)
