"""Augmented data sets, and averages over copies, against plain sums."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, softmax

from evojax_mtl.evaluation.augmented import Augmentation, AugmentedDataset, average
from evojax_mtl.evaluation.classification import correct
from evojax_mtl.tasks.dataset import VALIDATION, Targets
from tests.search.cases import easy_data


def test_examples_of_training_alone_are_augmented():
    plain = easy_data().dataset(0)
    one = Augmentation(flip=True, rotation=10.0, translation=0.1)
    data = AugmentedDataset(**vars(plain), augmentation=one)

    @jax.jit
    def sampled(data, key):
        return data.sample(key, 40)

    key = jax.random.key(3)
    found = sampled(data, key)
    drawn, changed = jax.random.split(key)
    expected = sampled(plain, drawn)
    np.testing.assert_array_equal(found.labels, expected.labels)
    images = jax.jit(one)(changed, expected.images)
    np.testing.assert_allclose(found.images, images, atol=1e-6)
    different = np.asarray(found.images != expected.images).any((2, 3, 4))
    assert different.mean() > 0.95
    # not all in one way: mirrored images alone are as they were or mirrored
    mirrored = AugmentedDataset(**vars(plain), augmentation=Augmentation(flip=True))
    images = np.asarray(sampled(mirrored, key).images)
    original = np.asarray(expected.images)
    same = (images == original).all((2, 3, 4))
    assert (same | (images == original[:, :, :, ::-1]).all((2, 3, 4))).all()
    assert 0.2 < same.mean() < 0.8
    for split in (VALIDATION,):
        batches = [d.batch_at(split, 0, 5).images for d in (data, plain)]
        np.testing.assert_array_equal(*batches)


def test_no_augmentation_is_none():
    assert not Augmentation()
    assert Augmentation(rotation=1.0)


def test_the_average_is_that_of_probabilities():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (5, 3, 7, 4)).astype(np.float32)
    targets = Targets(jnp.array([4, 3, 2]), jnp.array([False, True, False]))
    found = np.asarray(jax.jit(average)(logits, targets))
    for network, outputs in ((0, 4), (2, 2)):
        own = logits[:, network, :, :outputs]
        expected = softmax(own.astype(np.float64), -1).mean(0)
        got = found[network, :, :outputs]
        np.testing.assert_allclose(np.exp(got), expected, rtol=1e-4)
    expected = expit(logits[:, 1, :, :3].astype(np.float64)).mean(0)
    np.testing.assert_allclose(expit(found[1, :, :3]), expected, rtol=1e-4)
    assert not found[1, :, 3:].any()
    assert not found[2, :, 2:].any()
    # the mean of the logits would decide otherwise
    assert (found[0].argmax(-1) != logits.mean(0)[0].argmax(-1)).any()


def test_an_output_that_is_not_finite_stays_so():
    targets = Targets(jnp.array([2, 2]), jnp.array([False, True]))
    logits = jnp.zeros((2, 2, 3, 2)).at[1, :, 0, 0].set(jnp.nan)
    found = average(logits, targets)
    right, _ = correct(
        found[:, 1:], jnp.zeros((2, 2), int), jnp.ones((2, 2), bool), targets
    )
    assert np.isnan(found[:, 0, 0]).all()
    assert np.isfinite(found[:, 1:]).all()
    assert right[0] == 2
