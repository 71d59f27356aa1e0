"""Augmentations against NumPy: what they did is read off the pixels and done again."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from evojax_mtl.evaluation.augmentation import (
    cutout,
    moved,
    normalise,
    random_crop,
    random_flip,
    random_move,
)

H, W, PADDING, LENGTH = 7, 5, 2, 4
WINDOWS = 2 * PADDING + 1
crop = jax.jit(random_crop, static_argnums=2)
flip = jax.jit(random_flip)
cut = jax.jit(cutout, static_argnums=2)
AUGMENTATIONS = {
    "crop": partial(random_crop, padding=PADDING),
    "flip": random_flip,
    "cutout": partial(cutout, length=LENGTH),
    "move": partial(random_move, rotation=20.0, translation=0.2),
}


def numbered(size):
    """Images in which no two values are equal and none is 0."""
    values = np.arange(1, size * H * W * 3 + 1, dtype=np.float32)
    return values.reshape(size, H, W, 3)


def uniform(counts):
    """Whether counts may be of equally likely outcomes.

    Wilson and Hilferty: the cube root of chi-squared is nearly normal; wrong by chance
    less than once in ten thousand keys.
    """
    counts = np.asarray(counts, float).ravel()
    mean, degrees = counts.mean(), counts.size - 1
    chi_squared = ((counts - mean) ** 2 / mean).sum()
    spread = 2 / (9 * degrees)
    return abs((chi_squared / degrees) ** (1 / 3) - 1 + spread) < 4 * spread**0.5


def test_crops_are_windows_of_the_padded_image():
    images = numbered(9000)
    found = np.asarray(crop(jax.random.key(0), images, PADDING))
    sides = (PADDING, PADDING)
    padded = np.pad(images, ((0, 0), sides, sides, (0, 0)))
    counts = np.zeros((WINDOWS, WINDOWS))
    matched = np.zeros(len(images), bool)
    for top in range(WINDOWS):
        for left in range(WINDOWS):
            window = padded[:, top : top + H, left : left + W]
            same = (found == window).all((1, 2, 3))
            assert not (same & matched).any()
            counts[top, left] = same.sum()
            matched |= same
    assert matched.all()
    assert uniform(counts)


def test_half_of_the_images_are_flipped():
    images = numbered(4000)
    found = np.asarray(flip(jax.random.key(1), images))
    flipped = (found == images[:, :, ::-1]).all((1, 2, 3))
    assert np.array_equal(found[~flipped], images[~flipped])
    assert uniform([flipped.sum(), (~flipped).sum()])
    pairs = flipped[::2] * 2 + flipped[1::2]
    assert uniform(np.bincount(pairs, minlength=4))


def darts(row, column, length):
    """What DARTS hides of an image whose square has its centre there."""
    hidden = np.zeros((H, W), bool)
    y1, y2 = np.clip([row - length // 2, row + length // 2], 0, H)
    x1, x2 = np.clip([column - length // 2, column + length // 2], 0, W)
    hidden[y1:y2, x1:x2] = True
    return hidden


def test_cutouts_are_those_of_darts():
    images = numbered(9000)
    found = np.asarray(cut(jax.random.key(2), images, LENGTH))
    hidden = (found == 0).all(-1)
    assert np.array_equal(found, np.where(hidden[..., None], 0, images))
    counts = np.zeros((H, W))
    for row in range(H):
        for column in range(W):
            expected = darts(row, column, LENGTH)
            counts[row, column] = (hidden == expected).all((1, 2)).sum()
    assert counts.sum() == len(images)
    assert uniform(counts)


@pytest.mark.parametrize("length", [1, 3])
def test_an_odd_square_has_its_length_around_its_centre(length):
    found = np.asarray(cut(jax.random.key(3), np.ones((500, H, W, 1)), length))
    sizes = (found == 0).sum((1, 2, 3))
    assert sizes.max() == length**2
    assert sizes.min() == (length // 2 + 1) ** 2  # the centre in a corner


def test_a_square_of_no_length_and_one_of_every_length():
    images = numbered(3)
    np.testing.assert_array_equal(cut(jax.random.key(0), images, 0), images)
    assert not np.asarray(cut(jax.random.key(0), images, 2 * max(H, W))).any()


def test_values_that_are_not_finite_do_not_shine_through_a_cutout():
    images = jnp.full((4, H, W, 1), jnp.nan)
    found = np.asarray(cut(jax.random.key(0), images, 2 * max(H, W)))
    assert (found == 0).all()


def test_images_are_turned_and_shifted_as_scipy_does():
    images = np.random.default_rng(0).uniform(size=(6, H, W, 2)).astype(np.float32)
    angles = np.array([0.0, 30.0, -75.0, 180.0, 0.0, 12.0], np.float32)
    shifts = np.array([[0, 0], [0, 0], [0, 0], [0, 0], [1.25, -2.5], [0.5, 1.0]])
    found = jax.jit(moved)(images, np.deg2rad(angles), shifts.astype(np.float32))
    np.testing.assert_allclose(found[0], images[0], atol=1e-6)
    np.testing.assert_allclose(found[3], images[3, ::-1, ::-1], atol=1e-5)
    middle = (np.array([H, W]) - 1) / 2
    for image, angle, shift, got in zip(images, angles, shifts, found, strict=True):
        for channel in range(2):
            pixels, options = image[..., channel], {"order": 1, "mode": "nearest"}
            if not shift.any():
                expected = ndimage.rotate(pixels, angle, reshape=False, **options)
            elif not angle:
                expected = ndimage.shift(pixels, shift, **options)
            else:
                cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
                turn = np.array([[cos, sin], [-sin, cos]])
                offset = middle - turn @ (middle + shift)
                expected = ndimage.affine_transform(pixels, turn, offset, **options)
            np.testing.assert_allclose(got[..., channel], expected, atol=1e-5)


def test_images_are_moved_by_as_much_as_was_asked_for():
    # a ramp down and to the right tells where its middle has come from
    rows, columns = np.indices((9, 9), np.float32)
    images = np.broadcast_to(np.stack([rows, columns], -1), (3000, 9, 9, 2))
    move = jax.jit(random_move, static_argnums=(2, 3))
    shifted = 4 - np.asarray(move(jax.random.key(0), images, 0.0, 0.2))[:, 4, 4]
    assert np.abs(shifted).max() <= 0.2 * 9 + 1e-4
    for axis in range(2):
        assert uniform(np.histogram(shifted[:, axis], 10, (-1.8, 1.8))[0])
    turned = np.asarray(move(jax.random.key(0), images, 30.0, 0.0))
    np.testing.assert_allclose(turned[:, 4, 4], 4, atol=1e-5)
    steps = turned[:, 4, 5] - turned[:, 4, 4]
    angles = np.rad2deg(np.arctan2(steps[:, 0], steps[:, 1]))
    assert uniform(np.histogram(angles, 10, (-30, 30))[0])


def test_no_padding_leaves_images_alone():
    images = numbered(3)
    np.testing.assert_array_equal(crop(jax.random.key(0), images, 0), images)


def test_normalising_gives_channels_mean_0_and_deviation_1():
    images = np.random.default_rng(0).gamma(2, size=(50, H, W, 3)).astype(np.float32)
    images *= np.array([1, 5, 0.1], np.float32)
    mean, std = images.mean((0, 1, 2)), images.std((0, 1, 2))
    found = jax.jit(normalise)(images, mean, std)
    np.testing.assert_allclose(found, (images - mean) / std, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(found).mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.asarray(found).std((0, 1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_key_alone_decides(name):
    images = numbered(64)
    traces = []

    @jax.jit
    def augment(key, images):
        traces.append(name)
        return AUGMENTATIONS[name](key, images)

    one, again, other = (augment(jax.random.key(k), images) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (np.asarray(one) != np.asarray(other)).any()
    # What happens to an image does not depend on its pixels.
    moved = augment(jax.random.key(0), -images)
    np.testing.assert_array_equal(moved, -np.asarray(one))
    assert len(traces) == 1


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_vmap_over_keys_equals_a_loop(name):
    images, keys = numbered(8), jax.random.split(jax.random.key(4), 3)
    together = jax.jit(jax.vmap(AUGMENTATIONS[name], (0, None)))(keys, images)
    alone = jax.jit(AUGMENTATIONS[name])
    for key, found in zip(keys, together, strict=True):
        np.testing.assert_array_equal(found, alone(key, images))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_program_does_not_grow_with_the_batch_and_keeps_the_type(name):
    def equations(size):
        images = jnp.zeros((size, H, W, 3), jnp.float16)
        traced = jax.make_jaxpr(AUGMENTATIONS[name])(jax.random.key(0), images)
        assert traced.out_avals[0].dtype == jnp.float16
        return len(traced.eqns)

    assert equations(3) == equations(300)
