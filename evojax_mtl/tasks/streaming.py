"""Data larger than the device's memory: a window of training examples at a time.

A search asks for the data of each generation: ``data.dataset(generation)``. All
generations have the same shapes, so that nothing compiles again. ``Resident`` keeps
everything on the device; ``Windowed`` keeps, of each task, ``resident`` training
examples, and all of the validation and test examples, which fitness needs whole. The
training images may lie on disk (``npz`` maps large ones): only the window is read.

Shape legend: ``T`` tasks, ``n`` examples of the largest task, ``w`` tasks with more
than ``R`` = ``resident`` training examples, ``H`` x ``W`` pixels, ``c`` channels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.dataset import Dataset, stack_tasks
from evojax_mtl.tasks.task import Split, Task


@runtime_checkable
class TaskData(Protocol):
    """What a runner asks for the data of a generation."""

    def dataset(self, generation: int) -> Any:
        """The data of a generation: the same shapes, and the same bits, each time."""
        ...


class Resident:
    """All examples, on the device all the time."""

    def __init__(self, tasks: Sequence[Task]):
        """Puts the tasks on the device."""
        self._data = stack_tasks(tasks)

    def dataset(self, generation: int) -> Dataset:
        """The one data set."""
        return self._data


def window_rows(
    seed: int, task: int, generation: int, size: int, resident: int
) -> np.ndarray:
    """Rows of a task's training examples that a generation sees.

    The windows cut an endless row of permutations of ``size`` examples into pieces of
    ``resident``: each example is seen once a pass, and a generation's rows follow from
    the arguments alone, whatever was asked for before.

    Returns:
      int64 ``(resident,)``, ascending, so that a disk is read in its order.
    """
    positions = np.arange(generation * resident, (generation + 1) * resident)
    passes, places = np.divmod(positions, size)
    rows = np.empty(resident, np.int64)
    for number in np.unique(passes):
        order = np.random.default_rng([seed, task, int(number)]).permutation(size)
        chosen = passes == number
        rows[chosen] = order[places[chosen]]
    return np.sort(rows)


@jax.jit
def _replace(
    data: Dataset,
    tasks: Int[Array, "w"],
    images: UInt8[Array, "w R H W c"],
    labels: Int[Array, "w R"],
    mask: Bool[Array, "w R"],
) -> Dataset:
    window = slice(0, labels.shape[1])
    return data.replace(
        images=data.images.at[tasks, window].set(images),
        labels=data.labels.at[tasks, window].set(labels),
        mask=data.mask.at[tasks, window].set(mask),
    )


def _empty(task: Task, size: int) -> Split:
    """Room for ``size`` training examples."""
    return Split(
        np.zeros((size, *task.input_shape), np.uint8),
        np.zeros(size, np.int32),
        np.zeros(size, bool),
    )


class Windowed:
    """``resident`` training examples of each task, others each generation.

    A task with fewer stays whole. Two windows are in memory while one replaces the
    other.
    """

    def __init__(self, tasks: Sequence[Task], resident: int, seed: int = 0):
        """Puts the validation and test examples on the device.

        Args:
          tasks: of one input shape; their training images may be mapped from disk.
          resident: training examples a task on the device, at least 1.
          seed: of the order of the examples.
        """
        if resident < 1:
            raise UserError(f"resident: found {resident}; allowed: 1 or more examples")
        self._tasks = tuple(tasks)
        self._resident = resident
        self._seed = seed
        self._large = [t for t, task in enumerate(tasks) if len(task.train) > resident]
        self._data = stack_tasks(
            [
                dataclasses.replace(task, train=_empty(task, resident))
                if t in self._large
                else task
                for t, task in enumerate(tasks)
            ]
        )
        # The first window too is put in by ``_replace``, so that it compiles before
        # the first generation and not after it.
        self._generation: int | None = None

    def _window(self, task: int, generation: int) -> Split:
        train = self._tasks[task].train
        rows = window_rows(self._seed, task, generation, len(train), self._resident)
        return Split(
            np.ascontiguousarray(train.images[rows]),
            train.labels[rows],
            train.mask[rows],
        )

    def dataset(self, generation: int) -> Dataset:
        """The data with the window of a generation, read from disk where it is new."""
        if self._large and generation != self._generation:
            windows = [self._window(t, generation) for t in self._large]
            labels = [np.where(part.mask, part.labels, 0) for part in windows]
            self._data = _replace(
                self._data,
                jnp.array(self._large, jnp.int32),
                jnp.asarray(np.stack([part.images for part in windows])),
                jnp.asarray(np.stack(labels).astype(np.int32)),
                jnp.asarray(np.stack([part.mask for part in windows])),
            )
        self._generation = generation
        return self._data


def task_data(
    tasks: Sequence[Task], resident: int | None = None, seed: int = 0
) -> TaskData:
    """The data of a search: windowed where a task has more than ``resident``.

    Args:
      tasks: of one input shape.
      resident: training examples a task on the device; None for all.
      seed: of the order of windows.
    """
    if resident is None or all(len(task.train) <= resident for task in tasks):
        return Resident(tasks)
    return Windowed(tasks, resident, seed)
