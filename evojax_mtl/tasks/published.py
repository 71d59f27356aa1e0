"""Data sets published as a training and a test split, in the layouts people have.

A data set is one task. It is read from the first folder that holds it as

* its original files (``cifar`` and ``mnist`` say which);
* ``NAME*.npz`` with the fields ``x_train``, ``y_train``, ``x_test``, ``y_test``, as
  Keras's, or with those of ``npz``: ``train_images``, ``train_labels``, ...;
* what ``evojax-mtl data prepare tfds:NAME`` wrote.

The test split is the published one. Unless the file has validation examples, every
fifth training example of each class serves for validation and not for training.

Shape legend: ``n`` examples, ``H`` x ``W`` pixels, ``c`` channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import tfds
from evojax_mtl.tasks.build import (
    as_labels,
    as_split,
    build_task,
    held_out,
    require_every_class,
)
from evojax_mtl.tasks.files import Arrays, find_npz, missing
from evojax_mtl.tasks.images import as_images
from evojax_mtl.tasks.npz import load_file
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.task import Task

# Images ``(n, H, W)`` or ``(n, H, W, c)`` and labels ``(n,)`` of a split.
Examples = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Published:
    """A published data set.

    Attributes:
      name: of the source and its task.
      classes: how many there are.
      shape: of its images, ``(H, W, c)``.
      where: how to get its files.
      originals: the places in a folder that hold the original files.
      read: the training and the test examples at one of these places.
    """

    name: str
    classes: int
    shape: tuple[int, int, int]
    where: str
    originals: Callable[[Path], list[Path]]
    read: Callable[[Path], tuple[Examples, Examples]]

    def load(self, argument: str | None, request: Request) -> list[Task]:
        """The one task.

        Raises:
          UserError: an argument is given, or the files are missing, there twice, or
            not as published.
        """
        if argument is not None:
            raise UserError(
                f"tasks '{self.name}:{argument}': found an argument; allowed: "
                f"{self.name}"
            )
        for folder in request.folders:
            found = self._find(folder)
            if len(found) > 1:
                paths = ", ".join(str(path) for path in found)
                raise UserError(
                    f"{folder}: found {self.name} {len(found)} times ({paths}); "
                    "allowed: one, so move the others away"
                )
            for path, read in found.items():
                return [self._checked(read(path), path)]
        raise missing(self.name, request.folders, self.where)

    def _find(self, folder: Path) -> dict[Path, Callable[[Path], Task]]:
        """Where the data set is in a folder, and what reads it there."""
        found: dict[Path, Callable[[Path], Task]] = {}
        for path in self.originals(folder):
            found[path] = self._from_originals
        arrays = find_npz(self.name, (folder,))
        if arrays is not None:
            found[arrays] = self._from_npz
        prepared = tfds.find_dataset(self.name, (folder,))
        if prepared is not None:
            found[prepared] = self._from_tfds
        return found

    def _checked(self, task: Task, path: Path) -> Task:
        if task.input_shape != self.shape or task.classes != self.classes:
            raise UserError(
                f"{path}: found images {task.input_shape} of {task.classes} classes; "
                f"allowed: {self.shape} of {self.classes}"
            )
        require_every_class(task, str(path))
        return task

    def _from_originals(self, path: Path) -> Task:
        return self._split(*self.read(path), path)

    def _from_npz(self, path: Path) -> Task:
        arrays = Arrays(path)
        if "x_train" not in arrays:
            arrays.require("train_images", "train_labels", "test_images", "test_labels")
            return load_file(path, self.name, self.classes)
        arrays.require("x_train", "y_train", "x_test", "y_test")
        train, test = (
            (
                as_images(arrays.read(f"x_{part}"), f"{path}: field 'x_{part}'"),
                arrays.read(f"y_{part}"),
            )
            for part in ("train", "test")
        )
        return self._split(train, test, path)

    def _from_tfds(self, path: Path) -> Task:
        (task,) = tfds.load(self.name, Request(folders=(path.parent.parent,)))
        return task

    def _split(self, train: Examples, test: Examples, path: Path) -> Task:
        splits = {}
        for part, (images, labels) in {"train": train, "test": test}.items():
            labels = as_labels(labels, len(images), f"{path}: {part} labels")
            splits[part] = (images, labels)
        images, labels = splits["train"]
        out = held_out(labels)
        return build_task(
            self.name,
            {
                "train": as_split(images[~out], labels[~out]),
                "validation": as_split(images[out], labels[out]),
                "test": as_split(*splits["test"]),
            },
            self.classes,
            str(path),
        )
