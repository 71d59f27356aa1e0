"""Area under the ROC curve, against scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evojax_mtl.evaluation.auroc import auroc, mean_auroc
from evojax_mtl.tasks.dataset import Targets

N, OUTPUTS = 60, 4
area = jax.jit(auroc)
mean_area = jax.jit(mean_auroc)


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, N, OUTPUTS)).astype(np.float32)
    bits = rng.integers(0, 2, (N, OUTPUTS))
    return logits, bits, rng.random((3, N)) < 0.8


@pytest.mark.parametrize("values", [3, 10, 0])
def test_one_label_with_and_without_ties(values):
    rng = np.random.default_rng(values)
    scores = rng.normal(size=N).astype(np.float32)
    if values:
        scores = rng.integers(0, values, N).astype(np.float32)
    labels, mask = rng.random(N) < 0.3, rng.random(N) < 0.7
    found = area(scores, labels, mask)
    expected = roc_auc_score(labels[mask], scores[mask])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_labels_classes_and_two_classes_in_one_call(drawn):
    logits, bits, mask = drawn
    logits[2] *= 40  # sure of nearly all: the odds must not saturate
    classes = np.argmax(logits[1] + np.eye(OUTPUTS)[np.arange(N) % OUTPUTS], -1)
    two = np.arange(N) % 2
    labels = np.stack([bits @ (1 << np.arange(OUTPUTS)), classes, two]).astype(np.int32)
    targets = Targets(jnp.array([OUTPUTS, OUTPUTS, 2]), jnp.array([True, False, False]))
    found = mean_area(logits, labels, mask, targets)
    own = [logits[p][mask[p]] for p in range(3)]
    shares = np.asarray(jax.nn.softmax(own[1]))
    expected = [
        np.mean([roc_auc_score(bits[mask[0], k], own[0][:, k]) for k in range(4)]),
        roc_auc_score(classes[mask[1]], shares, multi_class="ovr"),
        roc_auc_score(two[mask[2]], own[2][:, 1] - own[2][:, 0]),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_only_known_labels_count(drawn):
    logits, bits, mask = drawn
    known = np.random.default_rng(1).random((1, N, OUTPUTS)) < 0.6
    labels = (bits @ (1 << np.arange(OUTPUTS)))[None].astype(np.int32)
    targets = Targets(jnp.array([3]), jnp.array([True]))
    found = mean_area(logits[:1], labels, mask[:1], targets, known)
    expected = []
    for k in range(3):
        counted = mask[0] & known[0, :, k]
        expected.append(roc_auc_score(bits[counted, k], logits[0][counted, k]))
    np.testing.assert_allclose(found, [np.mean(expected)], rtol=1e-5)


def test_a_label_that_all_or_none_have_is_left_out(drawn):
    logits, bits, mask = drawn
    bits = bits.copy()
    bits[:, 1], bits[:, 2] = 0, 1
    labels = (bits @ (1 << np.arange(OUTPUTS)))[None].astype(np.int32)
    targets = Targets(jnp.array([OUTPUTS]), jnp.array([True]))
    found = mean_area(logits[:1], labels, mask[:1], targets)
    own = mask[0]
    expected = [roc_auc_score(bits[own, k], logits[0][own, k]) for k in (0, 3)]
    np.testing.assert_allclose(found, [np.mean(expected)], rtol=1e-5)
    assert np.isnan(area(logits[0, :, 0], np.zeros(N, bool), mask[0]))


def test_a_network_that_fails_is_the_worst():
    labels, mask = np.arange(N) % 2 == 0, np.ones(N, bool)
    scores = np.where(labels, 1.0, 0.0).astype(np.float32)
    assert area(scores, labels, mask) == 1
    scores[3] = np.nan
    assert area(scores, labels, mask) == 0
    mask[3] = False
    assert area(scores, labels, mask) == 1
