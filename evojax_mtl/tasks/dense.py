"""Scenes with a label at every pixel, which several dense tasks share. NumPy, no JAX.

Arrays of a ``Scenes`` of ``N`` scenes of ``H`` x ``W`` pixels, ``L`` classes:

============================ =================== =====================================
``images``                   uint8 (N, H, W, 3)  0 to 255
``labels["segmentation"]``   int8 (N, H, W)      class in ``[0, L)``; -1 is ignored
``labels["depth"]``          float32 (N, H, W, 1) metres along the optical axis (inverse
                                                 depth in Cityscapes); 0 is invalid
``labels["normals"]``        float32 (N, H, W, 3) unit vectors; 0, 0, 0 is invalid
============================ =================== =====================================

A source without a task's labels has no such key. ``splits`` tells the rows of each
split. A ``DenseTask`` stands where a ``Task`` does; the tasks of one set share one
``Scenes``, as tables share one space. ``dense_dataset.stack_scenes`` puts them on the
device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.task import SPLITS

METRICS = {
    "segmentation": "mean IoU",
    "depth": "negative absolute error",
    "normals": "fraction within 11.25 degrees",
}
"""Dense tasks, and the metric of each that a search sees: higher is better."""

IGNORED = -1
"""Class of pixels that do not count."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """Images, their labels, and the rows of each split; see the module.

    Attributes:
      origin: source or folder, for errors.
      classes: names of the classes.
      images: of all splits.
      labels: of each dense task, in the order of ``METRICS``.
      splits: rows of ``train``, ``validation`` and ``test``.
    """

    origin: str
    classes: tuple[str, ...]
    images: np.ndarray
    labels: dict[str, np.ndarray]
    splits: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        """Raises ``UserError`` for an empty split."""
        for split in SPLITS:
            if not len(self.splits[split]):
                raise UserError(
                    f"{self.origin}: the {split} split is empty; allowed: at least one "
                    "scene a split"
                )


@dataclass(frozen=True, eq=False)
class DenseTask:
    """One of the tasks of some scenes.

    Attributes:
      name: a key of ``METRICS``.
      scenes: shared by all tasks of the set.
    """

    name: str
    scenes: Scenes

    @property
    def metric(self) -> str:
        """What fitness and reports state; higher is better."""
        return METRICS[self.name]

    @property
    def outputs(self) -> int:
        """Channels that a network predicts at each pixel: classes, 1, or 3."""
        return outputs(self.name, len(self.scenes.classes))


def blank(
    count: int, height: int, width: int, tasks: Sequence[str] = tuple(METRICS)
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images and labels of these sizes, not filled."""
    shape = (count, height, width)
    labels = {
        "segmentation": np.empty(shape, np.int8),
        "depth": np.empty((*shape, 1), np.float32),
        "normals": np.empty((*shape, 3), np.float32),
    }
    images = np.empty((*shape, 3), np.uint8)
    return images, {name: labels[name] for name in tasks}


def outputs(task: str, classes: int) -> int:
    """Channels that a network predicts at each pixel."""
    return {"segmentation": classes, "depth": 1, "normals": 3}[task]


def dense_tasks(scenes: Scenes) -> list[DenseTask]:
    """A task for each kind of labels that the scenes have."""
    return [DenseTask(name, scenes) for name in METRICS if name in scenes.labels]
