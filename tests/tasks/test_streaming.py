import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import npz, streaming
from evojax_mtl.tasks.dataset import TEST, VALIDATION
from evojax_mtl.tasks.files import Arrays
from evojax_mtl.tasks.streaming import Resident, Windowed, task_data, window_rows

from .conftest import medmnist_arrays
from .test_dataset import make_task


def greys(data, task):
    rows = data.members[0, task, : int(data.sizes[0, task])]
    return np.asarray(data.images)[task, np.asarray(rows), 0, 0, 0]


@pytest.fixture
def tasks():
    return [
        make_task("a", (20, 4, 3)),
        make_task("small", (5, 3, 4)),
        make_task("c", (13, 3, 3)),
    ]


def test_a_pass_of_windows_covers_each_example_once():
    rows = [window_rows(0, 3, g, 24, 8) for g in range(6)]
    for first in (0, 3):
        seen = np.concatenate(rows[first : first + 3])
        assert sorted(seen.tolist()) == list(range(24))
    assert not np.array_equal(rows[0], rows[3])


def test_windows_across_the_end_of_a_pass_stay_balanced():
    counts = np.zeros(7, int)
    for generation in range(7):
        rows = window_rows(1, 0, generation, 7, 5)
        assert rows.shape == (5,)
        np.add.at(counts, rows, 1)
    assert (counts == 5).all()


def test_only_resident_examples_are_on_the_device(tasks):
    data = Windowed(tasks, 6).dataset(0)
    assert data.sizes[0].tolist() == [6, 5, 6]
    assert data.images.shape[1] == 13
    assert sorted(greys(data, 1).tolist()) == [0, 1, 2, 3, 4]


def test_windows_bring_other_examples_with_their_labels(tasks):
    windowed = Windowed(tasks, 5)
    seen = set()
    for generation in range(4):
        data = windowed.dataset(generation)
        grey = greys(data, 0)
        seen |= set(grey.tolist())
        assert np.array_equal(np.asarray(data.labels)[0, :5], grey % 3)
    assert seen == set(range(20))


def test_validation_and_test_stay(tasks):
    windowed = Windowed(tasks, 5)
    first, later = windowed.dataset(0), windowed.dataset(9)
    for split in (VALIDATION, TEST):
        for index in range(2):
            one = first.batch_at(split, jnp.array(index), 3)
            other = later.batch_at(split, jnp.array(index), 3)
            counts = np.asarray(one.mask)
            assert np.array_equal(counts, np.asarray(other.mask))
            assert np.array_equal(one.images[counts], other.images[counts])
            assert np.array_equal(one.labels[counts], other.labels[counts])


def test_a_generation_follows_from_seed_and_number_alone(tasks):
    onward = Windowed(tasks, 6, seed=4)
    for generation in range(5):
        onward.dataset(generation)
    resumed = Windowed(tasks, 6, seed=4)
    chex.assert_trees_all_equal(onward.dataset(7), resumed.dataset(7))
    chex.assert_trees_all_equal(onward.dataset(2), resumed.dataset(2))
    other = Windowed(tasks, 6, seed=5).dataset(2)
    assert not np.array_equal(greys(other, 0), greys(resumed.dataset(2), 0))


def test_nothing_is_traced_again(tasks):
    windowed = Windowed(tasks, 6)

    @jax.jit
    @chex.assert_max_traces(1)
    def total(data):
        return data.images.sum()

    windowed.dataset(0)
    compiled = streaming._replace._cache_size()
    sums = {int(total(windowed.dataset(generation))) for generation in range(4)}
    assert len(sums) > 1
    assert streaming._replace._cache_size() == compiled


def test_masks_follow_their_examples():
    task = make_task("a", (20, 4, 3), masked=(3, 4, 5))
    windowed = Windowed([task], 10)
    for generation in range(2):
        data = windowed.dataset(generation)
        unlabelled = greys(data, 0)[~np.asarray(data.mask)[0, :10]]
        assert set(unlabelled.tolist()) <= {3, 4, 5}
        assert int(data.labels.min()) == 0


def test_the_earlier_window_stays_valid(tasks):
    windowed = Windowed(tasks, 6)
    first = windowed.dataset(0)
    kept = greys(first, 0).copy()
    windowed.dataset(1)
    assert np.array_equal(greys(first, 0), kept)


def test_mapped_images_are_read_a_window_at_a_time(tmp_path, monkeypatch):
    fields = medmnist_arrays(sizes=(30, 6, 6))
    np.savez(tmp_path / "a.npz", **fields)
    monkeypatch.setattr(npz, "Arrays", lambda path: Arrays(path, map_bytes=600))
    task = npz.load_file(tmp_path / "a.npz")
    assert isinstance(task.train.images, np.memmap)
    data = Windowed([task], 10).dataset(1)
    rows = window_rows(0, 0, 1, 30, 10)
    images = np.asarray(data.images)[0, :10, ..., 0]
    assert np.array_equal(images, fields["train_images"][rows])


def test_what_fits_is_resident(tasks):
    assert isinstance(task_data(tasks), Resident)
    assert isinstance(task_data(tasks, resident=20), Resident)
    assert isinstance(task_data(tasks, resident=19), Windowed)
    resident = task_data(tasks)
    assert resident.dataset(0) is resident.dataset(5)
    with pytest.raises(UserError, match="resident: found 0; allowed: 1 or more"):
        task_data(tasks, resident=0)
