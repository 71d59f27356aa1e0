"""A task: examples in three splits, a loss and a metric. NumPy only, no JAX.

Shape legend: ``n`` examples, ``H`` x ``W`` pixels, ``c`` input channels.
"""

from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    Attributes:
      images: uint8 ``(n, H, W, c)``, 0 to 255.
      labels: int32 ``(n,)``, in ``[0, classes)`` where ``mask`` is true; in a task
        with several labels an example, a bit for each, the first the lowest.
      mask: bool ``(n,)``, false for an example that lacks this task's label.
    """

    images: np.ndarray
    labels: np.ndarray
    mask: np.ndarray

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """One task of a multitask problem.

    Attributes:
      name: unique within a set of tasks.
      train: examples to train on.
      validation: examples that give fitness.
      test: examples that only the final result sees.
      classes: number of classes, at least 2; of labels, where an example may have
        several.
      loss: what training minimises: ``cross_entropy``, or ``binary_cross_entropy``, the
        mean over the labels, where an example may have several.
      metric: what fitness and reports state, higher is better: ``accuracy``, the share
        of examples, or of labels, that are decided right.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    loss: str = "cross_entropy"
    metric: str = "accuracy"

    @property
    def several(self) -> bool:
        """Whether an example may have several labels, or none."""
        return self.loss == "binary_cross_entropy"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(H, W, c)``."""
        return self.train.images.shape[1:]

    @property
    def label_shape(self) -> tuple[int, ...]:
        """``()``: one integer an example, bits where there are several labels."""
        return self.train.labels.shape[1:]
