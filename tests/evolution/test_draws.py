"""Uniform draws against the uniform distribution and independence."""

import jax
import numpy as np
import pytest
from scipy import stats

from evojax_mtl.evolution import draws

KEYS, COUNT = 2000, 96


@pytest.fixture(scope="module")
def drawn():
    """Draws of neighbouring generations of one key, ``(KEYS, COUNT)``."""
    key = jax.random.key(5)
    keys = jax.vmap(lambda n: jax.random.fold_in(key, n))(np.arange(KEYS))
    return np.asarray(jax.vmap(lambda key: draws.uniform(key, (COUNT,)))(keys))


def test_draws_are_uniform(drawn):
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    places = [stats.kstest(drawn[:, n], "uniform").pvalue for n in range(COUNT)]
    assert stats.kstest(places, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("apart", [1, 2, 7])
def test_neighbouring_draws_are_independent(drawn, axis, apart):
    """Pairs fall in the cells of a 16 by 16 grid alike, by keys and by numbers."""
    moved = np.roll(drawn, apart, axis)
    cells = (drawn * 16).astype(int) * 16 + (moved * 16).astype(int)
    counts = np.bincount(cells.ravel(), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_last_bits_are_as_random_as_the_first(drawn):
    low = (drawn * 2**24).astype(np.int64) % 256
    counts = np.bincount(low.ravel(), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_key_gives_the_same_draws_in_any_shape():
    key = jax.random.fold_in(jax.random.key(1), 3)
    flat = draws.uniform(key, (12,))
    assert (draws.uniform(key, (3, 4)).ravel() == flat).all()
    assert (draws.uniform(jax.random.fold_in(key, 1), (12,)) != flat).any()
