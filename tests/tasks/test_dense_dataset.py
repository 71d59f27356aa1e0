"""Scenes on the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.dataset import TEST, TRAIN, VALIDATION
from evojax_mtl.tasks.dense import Scenes, dense_tasks
from evojax_mtl.tasks.dense_dataset import ResidentScenes, stack_scenes
from evojax_mtl.tasks.streaming import TaskData


def make(splits):
    """Ten scenes; every pixel's depth is its scene's number and a half."""
    number = np.arange(10).reshape(10, 1, 1, 1)
    zeros = np.zeros((10, 2, 3, 1), int)
    return Scenes(
        "made",
        ("a", "b"),
        (zeros + np.arange(3) + number).astype(np.uint8),
        {
            "segmentation": ((zeros + number)[..., 0] % 2).astype(np.int8),
            "depth": (zeros + number + 0.5).astype(np.float32),
        },
        splits,
    )


SPLITS = {
    "train": np.array([1, 3, 5, 7, 9]),
    "validation": np.array([0, 2]),
    "test": np.array([4, 6, 8]),
}


@pytest.fixture(scope="module")
def data():
    return stack_scenes(dense_tasks(make(SPLITS)))


def test_what_it_tells(data):
    assert (data.tasks, data.names) == (2, ("segmentation", "depth"))
    assert data.outputs == {"segmentation": 2, "depth": 1}
    assert data.split_sizes == (5, 2, 3)
    assert [data.batches(split, 2) for split in range(3)] == [3, 1, 2]
    assert isinstance(ResidentScenes(dense_tasks(make(SPLITS))), TaskData)


def test_samples_are_training_scenes_and_all_of_them_come(data):
    batch = jax.jit(lambda key: data.sample(key, 200))(jax.random.key(0))
    rows = (batch.labels["depth"][:, 0, 0, 0] - 0.5).astype(int)
    assert set(rows.tolist()) == {1, 3, 5, 7, 9}
    np.testing.assert_allclose(batch.images[:, 0, 0, 2] * 255, rows + 2, rtol=1e-6)
    np.testing.assert_array_equal(batch.labels["segmentation"][:, 1, 2], rows % 2)
    assert batch.labels["segmentation"].dtype == jnp.int32
    assert all(mask.all() for mask in batch.masks.values())


@pytest.mark.parametrize("split", [TRAIN, VALIDATION, TEST])
def test_a_pass_sees_each_scene_of_a_split_once(data, split):
    take = jax.jit(lambda index: data.batch_at(split, index, 2))
    seen = []
    for index in range(data.batches(split, 2)):
        batch = take(index)
        for row in np.flatnonzero(np.asarray(batch.masks["depth"]).all((1, 2))):
            seen.append(int(batch.labels["depth"][row, 0, 0, 0]))
    assert seen == list(SPLITS.values())[split].tolist()
    assert take._cache_size() == 1


def test_another_split_in_tests_place(data):
    views = [data.only(VALIDATION), data.only(TEST)]
    assert views[0].split_sizes == views[1].split_sizes == (5, 3, 3)
    for view, name in zip(views, ("validation", "test"), strict=True):
        size = int(view.sizes[TEST])
        assert view.members[TEST, :size].tolist() == SPLITS[name].tolist()


def test_first_tasks_only():
    tasks = dense_tasks(make(SPLITS))[:1]
    batch = stack_scenes(tasks).batch_at(TRAIN, 0, 2)
    assert set(batch.labels) == set(batch.masks) == {"segmentation"}


def test_tasks_of_other_scenes_do_not_join():
    tasks = dense_tasks(make(SPLITS))[:1] + dense_tasks(make(SPLITS))[1:]
    with pytest.raises(ValueError, match="several Scenes"):
        stack_scenes(tasks)


def test_an_empty_split_is_an_error():
    with pytest.raises(UserError, match="made: the validation split is empty"):
        make(SPLITS | {"validation": np.array([], int)})
