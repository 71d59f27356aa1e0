"""Examples in parts: each once a pass, the same rows each time, read when needed."""

import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.retrain_data import (
    Pool,
    TrainParts,
    UnseenParts,
    examples,
)
from evojax_mtl.evaluation.retrain_records import Examples
from evojax_mtl.tasks.task import Split


def split(first, size, unlabelled=()):
    """Images that are their number, from ``first`` on; the label is it modulo 7."""
    numbers = np.arange(first, first + size)
    images = np.broadcast_to(numbers[:, None, None, None], (size, 2, 2, 1))
    mask = ~np.isin(numbers, unlabelled)
    labels = np.where(mask, numbers % 7, -5).astype(np.int32)
    return Split(images.astype(np.uint8), labels, mask)


def numbers(part):
    return np.asarray(part.images)[:, 0, 0, 0]


@pytest.fixture
def pool():
    return Pool([split(0, 60, (3, 4)), split(60, 1, (60,)), split(61, 42, (99,))])


def test_a_pool_is_the_labelled_examples_of_its_splits(pool):
    own = np.setdiff1d(np.arange(103), (3, 4, 60, 99))
    assert len(pool) == 99
    assert pool.image_shape == (2, 2, 1)
    np.testing.assert_array_equal(pool.labels, own % 7)
    rows = np.array([98, 0, 57, 58, 3])
    np.testing.assert_array_equal(pool.images(rows)[:, 0, 0, 0], own[rows])


def test_only_labelled_examples_count():
    found = examples(split(0, 6, (1, 4)))
    assert isinstance(found, Examples)
    np.testing.assert_array_equal(found.labels, [0, 2, 3, 5])
    np.testing.assert_array_equal(numbers(found), [0, 2, 3, 5])
    with pytest.raises(UserError, match="found none with a label"):
        examples(split(0, 2, (0, 1)))


def check_shapes(parts, part):
    wanted = parts.abstract()
    assert part.images.shape == wanted.images.shape == (parts.size, 2, 2, 1)
    assert part.images.dtype == wanted.images.dtype == jnp.uint8
    assert part.labels.shape == wanted.labels.shape
    assert part.labels.dtype == wanted.labels.dtype


@pytest.mark.parametrize(
    ("resident", "batch", "count", "size"),
    [(40, 4, 3, 32), (98, 10, 2, 40), (8, 4, 13, 4), (20, 10, 5, 10)],
)
def test_an_epochs_parts_are_different_examples_in_whole_batches(
    pool, resident, batch, count, size
):
    parts = TrainParts(pool, resident, batch, (0,))
    assert (parts.count, parts.size) == (count, size)
    orders = []
    for epoch in (0, 1):
        seen = []
        for number in range(count):
            part = parts.part(epoch, number)
            check_shapes(parts, part)
            np.testing.assert_array_equal(part.labels, numbers(part) % 7)
            assert (np.diff(numbers(part).astype(int)) > 0).all()
            seen += numbers(part).tolist()
        assert len(set(seen)) == count * size
        # what is left over is less than a batch of every part
        assert len(pool) - len(seen) < count * (batch + 1)
        orders.append(seen)
    assert orders[0] != orders[1]


def test_a_part_follows_from_seed_epoch_and_number_alone(pool):
    onward = TrainParts(pool, 20, 4, (1, 2))
    seen = {(e, n): numbers(onward.part(e, n)) for e in range(3) for n in range(5)}
    for name in ((2, 3), (0, 1), (0, 2)):
        fresh = TrainParts(pool, 20, 4, (1, 2))
        np.testing.assert_array_equal(numbers(fresh.part(*name)), seen[name])
    other = TrainParts(pool, 20, 4, (2, 2))
    assert (numbers(other.part(2, 3)) != seen[2, 3]).any()


@pytest.mark.parametrize("resident", [None, 99, 1000])
def test_what_fits_is_put_on_the_device_once(pool, resident):
    for parts in (TrainParts(pool, resident, 8, (0,)), UnseenParts(pool, resident)):
        assert (parts.count, parts.size) == (1, 99)
        assert parts.part(0, 0) is parts.part(5, 0)
        np.testing.assert_array_equal(parts.part(3, 0).labels, pool.labels)


def test_the_next_part_is_read_ahead_and_no_part_twice(pool, monkeypatch):
    read = []
    images = Pool.images

    def spy(self, rows):
        read.append(rows.tolist())
        return images(self, rows)

    monkeypatch.setattr(Pool, "images", spy)
    parts = TrainParts(pool, 40, 4, (0,))
    names = [(e, n) for e in range(2) for n in range(parts.count)]
    for name in names:
        parts.part(*name)
        parts.part(*name)
    wanted = [parts.rows(*name).tolist() for name in names]
    assert read[: len(names)] == wanted


def test_a_part_smaller_than_two_batches_is_told(pool):
    with pytest.raises(UserError, match="--resident: found 7, must be at least 8"):
        TrainParts(pool, 7, 4, (0,))


@pytest.mark.parametrize("resident", [1, 40, 98])
def test_unseen_examples_come_once_and_the_filling_does_not_count(pool, resident):
    parts = UnseenParts(pool, resident)
    assert parts.size <= resident
    labels, images = [], []
    for number in range(parts.count):
        part = parts.part(4, number)
        check_shapes(parts, part)
        counted = np.asarray(part.labels) >= 0
        labels += np.asarray(part.labels)[counted].tolist()
        images += numbers(part)[counted].tolist()
    np.testing.assert_array_equal(labels, pool.labels)
    np.testing.assert_array_equal(images, pool.images(np.arange(99))[:, 0, 0, 0])
