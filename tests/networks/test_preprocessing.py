"""Preprocessing, all ways in one program, against NumPy."""

from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.leaf_configs import (
    LEAFConfig,
    LEAFHyperparameterConfig,
    LEAFImageConfig,
)
from evojax_mtl.networks.preprocessing import (
    EVOLVED,
    IMAGES,
    WORDS,
    options,
    preprocessed_images,
    preprocessed_words,
)
from tests.networks.reference import plain_images, plain_words

LENGTHS = np.array([[5, 1, 0], [4, 2, 3]])


@pytest.fixture(scope="module")
def texts():
    """Texts of two tasks; one of two words has one that is unknown, one only such."""
    vectors = np.random.default_rng(0).normal(0.3, 2.0, (2, 3, 5, 4))
    vectors[1, 0, 2] = 0
    vectors[1, 1] = 0
    return vectors.astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_images(channels):
    images = np.random.default_rng(channels).uniform(size=(2, 4, 6, 5, channels))
    images[0, 0], images[1, 1] = 0.25, images[1, 1] / 500
    images = images.astype(np.float32)
    run = jax.jit(lambda k, x: preprocessed_images(tuple(IMAGES), k, x))
    for k, name in enumerate(IMAGES):
        found = np.asarray(run(jnp.int32(k), images))
        np.testing.assert_allclose(found, plain_images(name, images), atol=2e-5)
        alone = preprocessed_images((name,), jnp.int32(0), jnp.asarray(images))
        np.testing.assert_allclose(found, alone, atol=1e-6)
    np.testing.assert_array_equal(run(jnp.int32(0), images), images)
    # whatever is chosen is the one program
    assert run._cache_size() == 1


def test_words(texts):
    run = jax.jit(lambda k, x, mask: preprocessed_words(tuple(WORDS), k, x, mask))
    mask = np.arange(5) < LENGTHS[..., None]
    # what padding holds must not matter
    padded = np.where(mask[..., None], texts, np.float32(50))
    for k, name in enumerate(WORDS):
        found = np.asarray(run(jnp.int32(k), padded, mask))
        expected = plain_words(name, texts, LENGTHS)
        np.testing.assert_allclose(found[mask], expected[mask], atol=2e-5)
        zeros = np.asarray(run(jnp.int32(k), np.where(mask[..., None], texts, 0), mask))
        np.testing.assert_array_equal(zeros[~mask], 0)
    np.testing.assert_array_equal(run(jnp.int32(0), padded, mask), padded)
    assert run._cache_size() == 1


def test_what_may_be_asked_for_is_what_there_is():
    kinds = {LEAFImageConfig: IMAGES, LEAFConfig: WORDS}
    for config, ways in (kinds | {LEAFHyperparameterConfig: WORDS}).items():
        allowed = get_args(get_type_hints(config)["preprocessing"])
        assert allowed == (EVOLVED, *ways)
        assert options(EVOLVED, ways) == tuple(ways)
        assert options("standardized", ways) == ("standardized",)
        assert config().preprocessing == EVOLVED
    # Liang 2019, 4.2
    assert LEAFImageConfig.presets["paper"]["preprocessing"] == "imagenet"
