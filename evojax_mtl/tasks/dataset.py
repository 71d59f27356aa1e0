"""A set of tasks as one pytree of device arrays, sampled inside the compiled step.

Shape legend: ``T`` tasks, ``n`` examples of the largest task (all splits together),
``s`` examples of the largest split, ``B`` examples a batch, ``H`` x ``W`` pixels, ``c``
channels.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from evojax_mtl.pytrees import Pytree, static
from evojax_mtl.tasks.task import SPLITS, Task

TRAIN, VALIDATION, TEST = range(len(SPLITS))


class Targets(Pytree):
    """What the labels of ``P`` tasks, or of networks for them, mean.

    Attributes:
      classes: number of classes, or of labels where an example may have several.
      several: whether an example may have several labels, each a bit of an integer.
    """

    classes: Int[Array, "P"]
    several: Bool[Array, "P"]

    def take(self, rows: Int[Array, "Q"] | np.ndarray) -> "Targets":
        """Those of some tasks."""
        return Targets(self.classes[rows], self.several[rows])


class Batch(Pytree):
    """Examples of every task.

    Attributes:
      images: in ``[0, 1]``.
      labels: class indices, or bits of several labels.
      mask: which examples count.
    """

    images: Float[Array, "T B H W c"]
    labels: Int[Array, "T B"]
    mask: Bool[Array, "T B"]


class Dataset(Pytree):
    """Examples of all tasks, padded to the largest, and which split each is in.

    Attributes:
      images: 0 to 255.
      labels: class indices, or bits of several labels.
      mask: whether an example has a label.
      members: positions of each split's examples, per split and task.
      sizes: how many of ``members`` count, per split and task.
      targets: what the labels of each task mean.
    """

    images: UInt8[Array, "T n H W c"]
    labels: Int[Array, "T n"]
    mask: Bool[Array, "T n"]
    members: Int[Array, "3 T s"]
    sizes: Int[Array, "3 T"]
    targets: Targets
    names: tuple[str, ...] = static()
    max_classes: int = static()
    split_sizes: tuple[int, int, int] = static()

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.names)

    @property
    def classes(self) -> Int[Array, "T"]:
        """Number of classes, or of labels, of each task."""
        return self.targets.classes

    def batches(self, split: int, batch: int) -> int:
        """Batches that a pass over the largest task's split takes (host integer)."""
        return -(-self.split_sizes[split] // batch)

    def _take(self, rows: Int[Array, "T B"], valid: Bool[Array, "T B"]) -> Batch:
        task = jnp.arange(self.tasks)[:, None]
        images = self.images[task, rows].astype(jnp.float32) / 255
        return Batch(images, *self._labelled(rows, valid))

    def _labelled(
        self, rows: Int[Array, "T B"], valid: Bool[Array, "T B"]
    ) -> tuple[Int[Array, "T B"], Bool[Array, "T B"]]:
        task = jnp.arange(self.tasks)[:, None]
        return self.labels[task, rows], self.mask[task, rows] & valid

    def only(self, split: int) -> "Dataset":
        """The same with ``split`` in the test split's place.

        All views have the same static sizes, so one compiled test program measures
        the untrained networks on validation and the result on test.
        """
        return in_place_of_test(self, split)

    def sample(self, key: Array, batch: int) -> Batch:
        """``batch`` training examples of each task, uniformly with replacement."""
        draws = jax.random.uniform(key, (self.tasks, batch))
        size = self.sizes[TRAIN][:, None]
        position = jnp.minimum((draws * size).astype(jnp.int32), size - 1)
        rows = jnp.take_along_axis(self.members[TRAIN], position, axis=1)
        return self._take(rows, jnp.ones_like(rows, bool))

    def labels_of(
        self, split: int, count: int
    ) -> tuple[Int[Array, "T n"], Bool[Array, "T n"]]:
        """Labels of the first ``count`` examples of a pass over ``split``, and mask."""
        return self._labelled(
            *pass_of(self.members[split], self.sizes[split], 0, count)
        )

    def batch_at(
        self, split: Int[Array, ""] | int, index: Array | int, batch: int
    ) -> Batch:
        """The ``index``-th batch of a pass over ``split`` (traced); rest masked."""
        return self._take(
            *pass_of(self.members[split], self.sizes[split], index, batch)
        )


def pass_of(
    members: Int[Array, "*n s"], sizes: Int[Array, "*n"], index: Array | int, batch: int
) -> tuple[Int[Array, "*n B"], Bool[Array, "*n B"]]:
    """Rows of the ``index``-th batch of a pass over a split, and which there are."""
    position = index * batch + jnp.arange(batch)
    valid = position < sizes[..., None]
    return members[..., jnp.minimum(position, members.shape[-1] - 1)], valid


def pack_splits(
    splits: Sequence[Sequence[int] | np.ndarray],
) -> tuple[Int[Array, "3 s"], Int[Array, "3"], tuple[int, int, int]]:
    """``members``, ``sizes`` and ``split_sizes`` where all tasks have the same rows."""
    train, validation, test = sizes = tuple(len(split) for split in splits)
    members = np.zeros((len(sizes), max(sizes)), np.int32)
    for own, split in zip(members, splits, strict=True):
        own[: len(split)] = split
    return (
        jnp.asarray(members),
        jnp.asarray(sizes, jnp.int32),
        (train, validation, test),
    )


Data = TypeVar("Data", bound=Pytree)


def in_place_of_test(data: Data, split: int) -> Data:
    """A data set with ``split`` in the test split's place.

    For data sets with ``members`` and ``sizes``, a row a split, and ``split_sizes``.
    """
    own: Any = data
    train, *others = own.split_sizes
    rows = np.array([TRAIN, split, split])
    members, sizes = np.asarray(own.members)[rows], np.asarray(own.sizes)[rows]
    return own.replace(
        members=jax.device_put(members, own.members.sharding),
        sizes=jax.device_put(sizes, own.sizes.sharding),
        split_sizes=(train, max(others), max(others)),
    )


def stack_tasks(tasks: Sequence[Task]) -> Dataset:
    """Tasks of one input shape as a ``Dataset``, padded to the largest."""
    shapes = {task.input_shape for task in tasks}
    if len(shapes) != 1:
        raise ValueError(f"stack_tasks: found input shapes {shapes}; allowed: one")
    splits = [[getattr(task, name) for name in SPLITS] for task in tasks]
    sizes = np.array([[len(split) for split in row] for row in splits], np.int32).T
    n, s = int(sizes.sum(0).max()), int(sizes.max())
    images = np.zeros((len(tasks), n, *tasks[0].input_shape), np.uint8)
    labels = np.zeros((len(tasks), n), np.int32)
    mask = np.zeros((len(tasks), n), bool)
    members = np.zeros((len(SPLITS), len(tasks), s), np.int32)
    for t, row in enumerate(splits):
        begin = 0
        for k, split in enumerate(row):
            end = begin + len(split)
            images[t, begin:end] = split.images
            labels[t, begin:end] = np.where(split.mask, split.labels, 0)
            mask[t, begin:end] = split.mask
            members[k, t, : len(split)] = np.arange(begin, end)
            begin = end
    classes = np.array([task.classes for task in tasks], np.int32)
    train, validation, test = (int(size) for size in sizes.max(1))
    return Dataset(
        images=jnp.asarray(images),
        labels=jnp.asarray(labels),
        mask=jnp.asarray(mask),
        members=jnp.asarray(members),
        sizes=jnp.asarray(sizes),
        targets=Targets(
            jnp.asarray(classes), jnp.array([task.several for task in tasks])
        ),
        names=tuple(task.name for task in tasks),
        max_classes=int(classes.max()),
        split_sizes=(train, validation, test),
    )
