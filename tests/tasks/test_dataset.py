import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.tasks.dataset import TEST, TRAIN, VALIDATION, stack_tasks
from evojax_mtl.tasks.task import SPLITS, Split, Task


def make_split(first, size, classes, masked=()):
    """Images whose one grey level is unique in their task."""
    values = np.arange(first, first + size, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (size, 2, 2, 1)).copy()
    mask = ~np.isin(np.arange(size), masked)
    labels = np.where(mask, values % classes, -7).astype(np.int32)
    return Split(images, labels, mask)


def make_task(name="a", sizes=(7, 3, 5), classes=3, masked=()):
    starts = np.cumsum([0, *sizes])
    parts = [
        make_split(int(start), size, classes, masked if split == "train" else ())
        for start, size, split in zip(starts, sizes, SPLITS, strict=False)
    ]
    return Task(name, *parts, classes)


@pytest.fixture
def data():
    return stack_tasks([make_task(), make_task("b", (4, 6, 2), 4, masked=(1,))])


def test_shapes_and_sizes(data):
    assert data.tasks == 2
    assert data.images.shape == (2, 15, 2, 2, 1)
    assert data.sizes.tolist() == [[7, 4], [3, 6], [5, 2]]
    assert data.classes.tolist() == [3, 4]
    assert (data.max_classes, data.split_sizes) == (4, (7, 6, 5))
    assert data.batches(TRAIN, 4) == 2
    assert data.batches(VALIDATION, 6) == 1


@pytest.mark.parametrize("split", [TRAIN, VALIDATION, TEST])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_pass_covers_each_example_once(data, split, batch):
    seen = [[], []]
    for index in range(data.batches(split, batch)):
        part = data.batch_at(split, jnp.array(index), batch)
        assert part.images.shape == (2, batch, 2, 2, 1)
        for task in range(2):
            grey = np.rint(np.asarray(part.images[task, :, 0, 0, 0]) * 255).astype(int)
            mask = np.asarray(part.mask[task])
            seen[task] += grey[mask].tolist()
            labels = np.asarray(part.labels[task])
            assert np.array_equal(labels[mask], grey[mask] % (3, 4)[task])
    starts, sizes = ((0, 7, 10), (0, 4, 10))[0], (7, 3, 5)
    first = [starts[split] + i for i in range(sizes[split])]
    assert seen[0] == first
    starts, sizes = (0, 4, 10), (4, 6, 2)
    second = [starts[split] + i for i in range(sizes[split])]
    if split == TRAIN:
        second.remove(1)  # has no label
    assert seen[1] == second


def test_batch_at_takes_traced_split_and_index(data):
    @jax.jit
    @chex.assert_max_traces(1)
    def mask(split, index):
        return data.batch_at(split, index, 4).mask.sum()

    counts = [
        [int(mask(jnp.array(split), jnp.array(index))) for index in range(2)]
        for split in range(3)
    ]
    assert counts == [[7, 3], [7, 2], [6, 1]]


def test_samples_are_training_examples_with_their_labels(data):
    batch = jax.jit(data.sample, static_argnums=1)(jax.random.key(0), 50)
    grey = np.rint(np.asarray(batch.images[:, :, 0, 0, 0]) * 255).astype(int)
    assert set(grey[0].tolist()) == set(range(7))
    assert set(grey[1].tolist()) == set(range(4))
    assert np.asarray(batch.mask[0]).all()
    assert np.array_equal(np.asarray(batch.mask[1]), grey[1] != 1)
    assert np.array_equal(np.asarray(batch.labels[0]), grey[0] % 3)
    assert float(batch.images.max()) <= 1


def test_sampling_is_uniform_and_follows_its_key(data):
    batch = data.sample(jax.random.key(1), 7000)
    grey = np.rint(np.asarray(batch.images[0, :, 0, 0, 0]) * 255).astype(int)
    counts = np.bincount(grey, minlength=7)
    # Chi-squared with 6 degrees of freedom: above 22.5 once in a thousand.
    assert ((counts - 1000) ** 2 / 1000).sum() < 22.5
    again = data.sample(jax.random.key(1), 7000)
    assert np.array_equal(np.asarray(again.images), np.asarray(batch.images))
    other = data.sample(jax.random.key(2), 7000)
    assert not np.array_equal(np.asarray(other.images), np.asarray(batch.images))


def test_examples_without_a_label_get_label_0(data):
    assert int(data.labels.min()) == 0
    assert int((~data.mask[1, :12]).sum()) == 1


def test_tasks_of_several_shapes_are_refused():
    task = make_task()
    wide = [
        dataclasses.replace(part, images=np.repeat(part.images, 3, axis=-1))
        for part in (task.train, task.validation, task.test)
    ]
    with pytest.raises(ValueError, match="stack_tasks: found input shapes"):
        stack_tasks([task, Task("b", *wide, 3)])


def test_a_data_set_passes_through_jit_and_keeps_its_names(data):
    out = jax.jit(lambda data: data)(data)
    assert out.names == ("a", "b")
    chex.assert_trees_all_equal(out, data)
