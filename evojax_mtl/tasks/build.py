"""From arrays to a checked ``Task``: labels, fixed splits, classes. NumPy only.

Shape legend: ``n`` examples.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.task import SPLITS, Split, Task


def as_labels(labels: np.ndarray, count: int, field: str) -> np.ndarray:
    """Checks stored class indices ``(n,)`` or ``(n, 1)`` of ``count`` images.

    Returns:
      int32 ``(n,)``.
    """
    shape = labels.shape
    if labels.ndim == 2 and shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UserError(f"{field}: shape {shape}; allowed: one label an image, (n,)")
    if len(labels) != count:
        raise UserError(f"{field}: {len(labels)} labels for {count} images")
    if not np.issubdtype(labels.dtype, np.integer):
        real = np.issubdtype(labels.dtype, np.floating)
        strange = real and not np.isfinite(labels).all()
        found = f"{labels.dtype}{', not all finite' if strange else ''}"
        raise UserError(f"{field}: dtype {found}; allowed: integers")
    if labels.size and labels.min() < 0:
        raise UserError(f"{field}: found label {labels.min()}; allowed: 0 and up")
    if labels.size and labels.max() > np.iinfo(np.int32).max:
        raise UserError(
            f"{field}: found label {labels.max()}; allowed: 32-bit integers"
        )
    return labels.astype(np.int32)


def as_split(images: np.ndarray, labels: np.ndarray) -> Split:
    """A split in which every example has its label."""
    return Split(images, labels.astype(np.int32), np.ones(len(labels), bool))


def split_rows(
    labels: np.ndarray, seed: int, tenths: tuple[int, int] = (5, 2)
) -> dict[str, np.ndarray]:
    """Rows of a fixed split of each class, shuffled by ``seed``.

    ``tenths`` are the shares of training and validation, 50 and 20 % by default, the
    rest is test. Classes are shuffled in order by one generator: the split of the first
    classes does not depend on how many there are.
    """
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for label in range(int(labels.max(initial=-1)) + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        train, validation = (len(rows) * share // 10 for share in tenths)
        pieces = np.split(rows, [train, train + validation])
        for name, piece in zip(SPLITS, pieces, strict=True):
            parts[name].append(piece)
    empty = np.empty(0, int)
    return {name: np.concatenate([empty, *rows]) for name, rows in parts.items()}


def held_out(labels: np.ndarray) -> np.ndarray:
    """Whether a training example serves for validation: each class's every fifth."""
    out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        out[np.flatnonzero(labels == label)[4::5]] = True
    return out


def check_splits(splits: Mapping[str, Split], origin: str) -> None:
    """Raises a UserError for an empty split, or images of several shapes."""
    for split in SPLITS:
        if not splits[split].mask.any():
            raise UserError(
                f"{origin}: the {split} split is empty; allowed: at least one "
                "labelled example a split (a 50/20/30 % split takes 5 a class)"
            )
    train = splits["train"]
    for split in SPLITS:
        if splits[split].images.shape[1:] != train.images.shape[1:]:
            raise UserError(
                f"{origin}: {split} images are {splits[split].images.shape[1:]} and "
                f"train images {train.images.shape[1:]}; allowed: one shape"
            )


def build_task(
    name: str, splits: Mapping[str, Split], classes: int | None, origin: str
) -> Task:
    """A checked task.

    Args:
      name: of the task.
      splits: one of each name in ``SPLITS``.
      classes: how many there are; None for the largest training label and one.
      origin: the file or source, for errors.

    Raises:
      UserError: an empty split, shapes that differ, fewer than two classes, a class
        without training examples or a label outside the classes.
    """
    check_splits(splits, origin)
    train = splits["train"]
    present = np.unique(train.labels[train.mask])
    declared, classes = classes, classes or int(present[-1]) + 1
    if classes < 2:
        raise UserError(
            f"{origin}: one class in the training labels; allowed: 2 or more"
        )
    for split in SPLITS:
        most = splits[split].labels[splits[split].mask].max()
        if most >= classes:
            raise UserError(
                f"{origin}: found {split} label {most}; allowed: 0 to {classes - 1}"
            )
    if declared is None and len(present) < classes:
        absent = np.setdiff1d(np.arange(classes), present)[0]
        raise UserError(
            f"{origin}: class {absent} of {classes} has no training example; allowed: "
            "labels 0, 1, 2, ... without a gap"
        )
    return Task(
        name, splits["train"], splits["validation"], splits["test"], int(classes)
    )


def require_every_class(task: Task, origin: str) -> None:
    """Raises a UserError unless every class has an example in every split.

    For data whose classes are published: without some of them, accuracy is that of
    another, easier task.
    """
    for name in SPLITS:
        split: Split = getattr(task, name)
        absent = np.setdiff1d(np.arange(task.classes), split.labels[split.mask])
        if absent.size:
            raise UserError(
                f"{origin}: class {absent[0]} of {task.classes} has no {name} example; "
                "allowed: every class in every split"
            )


def split_task(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    seed: int,
    origin: str,
    classes: int | None = None,
) -> Task:
    """A task from unsplit examples, split 50/20/30 % per class by ``seed``."""
    rows = split_rows(labels, seed)
    splits = {part: as_split(images[rows[part]], labels[rows[part]]) for part in SPLITS}
    return build_task(name, splits, classes, origin)


def first_classes(task: Task, count: int) -> Task:
    """A task with only the classes, or labels, ``0`` to ``count - 1``."""
    if task.classes <= count:
        return task
    if task.several:
        first = np.int32((1 << count) - 1)

        def few(split: Split) -> Split:
            return dataclasses.replace(split, labels=split.labels & first)

        return dataclasses.replace(
            task,
            train=few(task.train),
            validation=few(task.validation),
            test=few(task.test),
            classes=count,
        )
    splits = {}
    for name in SPLITS:
        split: Split = getattr(task, name)
        keep = split.mask & (split.labels < count)
        splits[name] = Split(split.images[keep], split.labels[keep], split.mask[keep])
    origin = f"task {task.name} with its first {count} classes"
    smaller = build_task(task.name, splits, count, origin)
    return dataclasses.replace(smaller, loss=task.loss, metric=task.metric)
