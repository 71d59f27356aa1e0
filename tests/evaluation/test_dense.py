"""Losses, metrics and overall gain of dense tasks."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation import overall_gain
from evojax_mtl.evaluation.dense_losses import dense_losses, present, unit
from evojax_mtl.evaluation.dense_metrics import (
    HIGHER,
    OF_TASK,
    add_batch,
    dense_metrics,
    no_dense_tally,
    scores,
)
from evojax_mtl.tasks.dense import METRICS, Scenes, dense_tasks
from evojax_mtl.tasks.dense_dataset import DenseBatch, stack_scenes

from .golden.make_dense import CLASSES, GOLDEN, problem

NAMES = tuple(METRICS)


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


@pytest.fixture(scope="module")
def scenes():
    """The problem's predictions, and its scenes as a test split."""
    predicted, labels = problem()
    scenes = Scenes(
        "problem",
        tuple("abcde"),
        np.zeros((7, 6, 8, 3), np.uint8),
        labels | {"segmentation": labels["segmentation"].astype(np.int8)},
        {"train": np.arange(1), "validation": np.arange(2), "test": np.arange(7)},
    )
    assert len(scenes.classes) == CLASSES
    return predicted, stack_scenes(dense_tasks(scenes))


def whole(data) -> DenseBatch:
    return data.batch_at(2, 0, 7)


def arrays(predicted):
    return {name: jnp.asarray(values) for name, values in predicted.items()}


def test_losses_and_gradients_are_pytorchs(scenes, golden):
    predicted, data = scenes
    batch = whole(data)

    def losses(predicted):
        return dense_losses(predicted, batch)

    values, pull = jax.vjp(losses, arrays(predicted))
    for t, name in enumerate(NAMES):
        expected = golden["losses"][name]
        np.testing.assert_allclose(values[t], expected["value"], rtol=1e-5)
        (slopes,) = pull(jnp.eye(3)[t])
        np.testing.assert_allclose(
            slopes[name][0], expected["gradient"], rtol=1e-4, atol=1e-7
        )


@pytest.mark.parametrize("size", [7, 3, 1])
def test_metrics_are_scikit_learns_however_the_split_is_cut(scenes, golden, size):
    predicted, data = scenes
    add = jax.jit(lambda *arguments: add_batch(*arguments))
    tally = no_dense_tally(data)
    for index in range(data.batches(2, size)):
        rows = np.minimum(np.arange(index * size, (index + 1) * size), 6)
        part = {name: jnp.asarray(values[rows]) for name, values in predicted.items()}
        tally = add(tally, part, data.batch_at(2, index, size))
    assert add._cache_size() == 1
    found = dense_metrics(tally)
    assert set(found) == set(HIGHER) == set(golden["metrics"])
    for name, expected in golden["metrics"].items():
        tolerance = 0.005 if name == "median_angle" else 1e-5 * expected
        assert abs(float(found[name]) - expected) <= tolerance, name
    chosen = [found["mean_iou"], -found["absolute_error"], found["within_11.25"]]
    np.testing.assert_array_equal(scores(tally), jnp.stack(chosen))


def test_pixels_that_are_ignored_change_nothing(scenes):
    predicted, data = scenes
    batch = whole(data)
    spoilt = {
        name: jnp.where(batch.masks[name][..., None], values, 1e3)
        for name, values in arrays(predicted).items()
    }
    np.testing.assert_array_equal(
        dense_losses(spoilt, batch), dense_losses(arrays(predicted), batch)
    )
    empty = no_dense_tally(data)
    one, two = (
        dense_metrics(add_batch(empty, p, batch)) for p in (arrays(predicted), spoilt)
    )
    assert one == two


def test_a_task_without_a_label_has_loss_and_gradient_0(scenes):
    predicted, data = scenes
    batch = whole(data)
    nothing = jnp.zeros_like(batch.masks["depth"])
    batch = batch.replace(masks=batch.masks | {"depth": nothing})
    assert present(batch).tolist() == [True, False, True]

    def depth(predicted):
        return dense_losses(predicted, batch)[1]

    value, slopes = jax.value_and_grad(depth)(arrays(predicted))
    assert value == 0
    assert not any(jnp.any(slope) for slope in slopes.values())


def test_a_normal_of_length_0_has_no_gradient():
    slope = jax.grad(lambda v: unit(v).sum())(jnp.zeros((2, 3)))
    np.testing.assert_array_equal(slope, 0)
    np.testing.assert_allclose(unit(jnp.array([[3e-5, 0, 4e-5]])), [[0.6, 0, 0.8]])


def test_predictions_that_are_not_finite_spoil_their_own_task_alone(scenes):
    predicted, data = scenes
    given = arrays(predicted)
    given["depth"] = given["depth"].at[0].set(jnp.nan)
    found = dense_metrics(add_batch(no_dense_tally(data), given, whole(data)))
    spoilt = {name for name, value in found.items() if np.isnan(value)}
    assert spoilt == set(OF_TASK["depth"])


def test_classes_that_do_not_occur_do_not_count(scenes):
    predicted, data = scenes
    larger = data.replace(classes=tuple("abcdefg"))
    given = arrays(predicted)
    margin = [(0, 0)] * 3 + [(0, 2)]
    given["segmentation"] = jnp.pad(given["segmentation"], margin, constant_values=-1e9)
    five = add_batch(no_dense_tally(data), arrays(predicted), whole(data))
    seven = add_batch(no_dense_tally(larger), given, whole(data))
    np.testing.assert_allclose(
        dense_metrics(seven)["mean_iou"], dense_metrics(five)["mean_iou"], rtol=1e-6
    )


def gains_of(golden, name):
    rows = golden["gain"]["rows"]
    values, reference = (
        dict(zip(HIGHER, rows[row], strict=True)) for row in (name, "STL")
    )
    return overall_gain.gains(values, reference, HIGHER)


def test_flat_gain_is_the_papers(golden):
    """Table 2 from the figures of Table 4: MAMO +3.00, 100 %; HPS -2.74, 44 %."""
    gains = gains_of(golden, "MAMO")
    assert abs(100 * overall_gain.flat_gain(gains) - 3.00) < 0.01
    assert overall_gain.win_rate(gains) == 1
    gains = gains_of(golden, "HPS")
    assert abs(100 * overall_gain.flat_gain(gains) + 2.74) < 0.01
    assert abs(overall_gain.win_rate(gains) - 0.44) < 0.005


@pytest.mark.parametrize("name", ["MAMO", "HPS"])
def test_gain_per_task_is_libmtls(golden, name):
    found = overall_gain.task_gain(gains_of(golden, name), OF_TASK)
    assert abs(found - golden["gain"]["per_task"][name]) < 1e-6


def test_equal_is_no_win_and_lower_errors_are_gains():
    higher = {"a": True, "b": False}
    found = overall_gain.gains({"a": 2.0, "b": 1.0}, {"a": 2.0, "b": 4.0}, higher)
    assert found == {"a": 0.0, "b": 0.75}
    assert overall_gain.win_rate(found) == 0.5


@pytest.mark.parametrize("reference", [{}, {"a": 0.0}])
def test_a_reference_that_cannot_be_compared_with(reference):
    with pytest.raises(UserError, match="reference metric 'a': found"):
        overall_gain.gains({"a": 1.0}, reference, {"a": True})
