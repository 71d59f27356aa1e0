"""Losses and accuracy against optax, task by task."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evojax_mtl.evaluation.classification import correct, cross_entropy
from evojax_mtl.tasks.dataset import Targets

CLASSES = jnp.array([5, 3, 2])
TARGETS = Targets(CLASSES, jnp.zeros(3, bool))
LOGITS = jax.random.normal(jax.random.key(0), (3, 6, 5)) * 3
LABELS = jnp.array([[0, 1, 2, 3, 4, 0], [0, 1, 2, 2, 1, 0], [0, 1, 0, 1, 1, 0]])
MASK = jnp.array([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0, 0, 0, 1, 1, 0]], bool)
loss = jax.jit(cross_entropy)


@jax.jit
def count(*arguments):
    return correct(*arguments)[0]


def by_optax(logits):
    """Mean over the masked examples of each network's own classes."""
    means = []
    for p, classes in enumerate(CLASSES.tolist()):
        (rows,) = np.nonzero(np.asarray(MASK)[p])
        each = optax.softmax_cross_entropy_with_integer_labels(
            logits[p, rows, :classes], LABELS[p, rows]
        )
        means.append(each.mean())
    return jnp.stack(means)


def test_the_loss_and_its_gradient_are_those_of_optax():
    slope = jnp.array([1.0, -2.0, 0.5])

    @partial(jax.jit, static_argnums=0)
    def outcome(function, logits):
        losses, pull = jax.vjp(function, logits)
        return losses, pull(slope)[0]

    got = outcome(lambda x: cross_entropy(x, LABELS, MASK, TARGETS), LOGITS)
    expected = outcome(by_optax, LOGITS)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], expected[1], atol=1e-6)


def test_classes_that_a_task_lacks_cannot_be_chosen_or_learned():
    tempting = LOGITS.at[2, :, 2:].set(100.0)
    before = loss(LOGITS, LABELS, MASK, TARGETS)
    np.testing.assert_array_equal(loss(tempting, LABELS, MASK, TARGETS), before)
    expected = count(LOGITS, LABELS, MASK, TARGETS)
    np.testing.assert_array_equal(count(tempting, LABELS, MASK, TARGETS), expected)
    gradient = jax.grad(lambda x: loss(x, LABELS, MASK, TARGETS).sum())(tempting)
    assert (np.asarray(gradient[2, :, 2:]) == 0).all()


def test_examples_outside_the_mask_do_not_count():
    other = np.where(MASK, LABELS, 1 - LABELS.clip(0, 1))
    for function in (loss, count):
        got = function(LOGITS, other, MASK, TARGETS)
        np.testing.assert_array_equal(got, function(LOGITS, LABELS, MASK, TARGETS))


def test_a_network_without_examples_has_loss_0():
    nothing = MASK & np.array([True, False, True])[:, None]
    value, gradient = jax.value_and_grad(
        lambda x: loss(x, LABELS, nothing, TARGETS)[1]
    )(LOGITS)
    assert value == 0
    assert (np.asarray(gradient) == 0).all()
    assert count(LOGITS, LABELS, nothing, TARGETS)[1] == 0


def test_right_answers_are_counted():
    expected = [
        int(sum(MASK[p] & (np.asarray(LOGITS)[p, :, :c].argmax(-1) == LABELS[p])))
        for p, c in enumerate(CLASSES)
    ]
    assert count(LOGITS, LABELS, MASK, TARGETS).tolist() == expected
    sure = jax.nn.one_hot(LABELS, 5)
    assert count(sure, LABELS, MASK, TARGETS).tolist() == MASK.sum(1).tolist()


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_network_that_is_not_finite_harms_no_other(value):
    broken = LOGITS.at[1, 2, 0].set(value)

    def total(logits):
        return loss(logits, LABELS, MASK, TARGETS).sum()

    losses = loss(broken, LABELS, MASK, TARGETS)
    expected = np.asarray(loss(LOGITS, LABELS, MASK, TARGETS)) * [1, 0, 1]
    np.testing.assert_array_equal(losses, expected.astype(np.float32))
    gradient, whole = jax.grad(total)(broken), jax.grad(total)(LOGITS)
    assert (np.asarray(gradient[1]) == 0).all()
    np.testing.assert_array_equal(gradient[::2], whole[::2])


BITS = jnp.array([[0, 1, 2, 3, 31, 16], [0, 1, 7, 2, 5, 6], [0, 1, 0, 1, 1, 0]])
MIXED = Targets(CLASSES, jnp.array([True, True, False]))


def test_the_loss_of_several_labels_and_its_gradient_are_those_of_optax():
    def by_label(logits):
        means = []
        for p, labels in enumerate(CLASSES.tolist()[:2]):
            (rows,) = np.nonzero(np.asarray(MASK)[p])
            wanted = [[int(BITS[p, b]) >> k & 1 for k in range(labels)] for b in rows]
            each = optax.sigmoid_binary_cross_entropy(
                logits[p, rows, :labels], jnp.array(wanted)
            )
            means.append(each.mean())
        return jnp.stack([*means, by_optax(logits)[2]])

    def outcome(function):
        losses, pull = jax.vjp(function, LOGITS)
        return losses, pull(jnp.array([1.0, -2.0, 0.5]))[0]

    got = outcome(lambda x: cross_entropy(x, BITS, MASK, MIXED))
    expected = outcome(by_label)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], expected[1], atol=1e-6)


def test_decisions_on_several_labels_are_counted():
    right, decisions = jax.jit(correct)(LOGITS, BITS, MASK, MIXED)
    expected = []
    for p, labels in enumerate(CLASSES.tolist()[:2]):
        expected.append(
            sum(
                (float(LOGITS[p, b, k]) > 0) == bool(int(BITS[p, b]) >> k & 1)
                for b in np.flatnonzero(MASK[p])
                for k in range(labels)
            )
        )
    assert right.tolist()[:2] == expected
    assert right[2] == count(LOGITS, LABELS, MASK, TARGETS)[2]
    assert decisions.tolist() == [6 * 5, 4 * 3, 2]
