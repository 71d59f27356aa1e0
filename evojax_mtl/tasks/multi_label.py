"""Images that may have several labels each, as MedMNIST's ``chest``.

Shape legend: ``n`` examples, ``L`` labels.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.build import as_split, check_splits
from evojax_mtl.tasks.files import Arrays
from evojax_mtl.tasks.images import as_images
from evojax_mtl.tasks.npz import FIELDS
from evojax_mtl.tasks.task import Split, Task


def as_bits(labels: np.ndarray, count: int, field: str) -> np.ndarray:
    """Checked labels ``(n, L)`` of 0 and 1 of ``count`` images, as int32 ``(n,)``.

    Label ``k`` is bit ``k``.
    """
    if labels.ndim != 2 or len(labels) != count:
        raise UserError(f"{field}: shape {labels.shape}; allowed: ({count}, labels)")
    if labels.shape[1] not in range(2, 32):
        raise UserError(f"{field}: {labels.shape[1]} labels; allowed: 2 to 31")
    if not np.isin(labels, (0, 1)).all():
        raise UserError(f"{field}: found {np.max(labels)}; allowed: 0 and 1")
    weights = 1 << np.arange(labels.shape[1], dtype=np.int32)
    return (labels.astype(np.int32) * weights).sum(1, dtype=np.int32)


def load_multi_label(path: Path, name: str, labels: int) -> Task:
    """The task of one file with fields ``train_images``, ``train_labels`` and so on.

    Raises:
      UserError: a field is missing or not as described; as ``multi_label_task``.
    """
    arrays = Arrays(path)
    splits = {part: _split(arrays, field, labels) for part, field in FIELDS.items()}
    return multi_label_task(name, splits, labels, str(path))


def multi_label_task(
    name: str, splits: Mapping[str, Split], labels: int, origin: str
) -> Task:
    """A checked task of examples whose labels are bits.

    Args:
      name: of the task.
      splits: one of each name in ``task.SPLITS``.
      labels: how many there are.
      origin: the file or source, for errors.

    Raises:
      UserError: an empty split, or a label that no training image has.
    """
    check_splits(splits, origin)
    train = splits["train"]
    present = int(np.bitwise_or.reduce(train.labels[train.mask]))
    for label in range(labels):
        if not present >> label & 1:
            raise UserError(
                f"{origin}: label {label} of {labels} has no train example; allowed: "
                "every label in the train split"
            )
    return Task(
        name,
        splits["train"],
        splits["validation"],
        splits["test"],
        classes=labels,
        loss="binary_cross_entropy",
    )


def _split(arrays: Arrays, prefix: str, labels: int) -> Split:
    field = f"{arrays.path}: field '{prefix}_{{}}'"
    arrays.require(f"{prefix}_images", f"{prefix}_labels")
    images = as_images(arrays.read(f"{prefix}_images"), field.format("images"))
    found = arrays.read(f"{prefix}_labels")
    bits = as_bits(found, len(images), field.format("labels"))
    if found.shape[1] != labels:
        raise UserError(
            f"{field.format('labels')}: {found.shape[1]} labels; allowed: {labels}"
        )
    return as_split(images, bits)
