"""``imagenet``: the official pictures, ``train/CLASS/*.JPEG`` and ``val/CLASS/*.JPEG``.

They lie in the folder ``imagenet`` of a data folder, or in that of ``imagenet:PATH``.
Classes are the class folders in the order of their names, a thousand in the official
set; fewer are a task of their own. The official ``val`` is the test split; every fifth
training picture of each class serves for validation.

All pictures are decoded once, to squares of 256 pixels or the image size asked for
(``pictures.read_square``), into ``imagenet-squares`` of the first data folder: 250 GB
for the whole set at 256 pixels. They are mapped from there and never read as a whole. A
picture that was changed under its old name is not noticed.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.build import as_split, build_task, held_out
from evojax_mtl.tasks.files import missing
from evojax_mtl.tasks.folder import SUFFIXES, subfolders
from evojax_mtl.tasks.pictures import squares
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.task import Task

SIDE = 256
WHERE = (
    "unpack ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org to "
    "imagenet/train/CLASS and imagenet/val/CLASS"
)


def load(argument: str | None, request: Request) -> list[Task]:
    """The one task.

    Raises:
      UserError: if folder, class or picture is missing, or a picture damaged.
    """
    root = _root(argument, request)
    names = _classes(root)[: request.max_classes]
    train, train_labels = _files(root, "train", names)
    test, test_labels = _files(root, "val", names)
    out = held_out(train_labels)
    parts = {
        "train": ([train[i] for i in np.flatnonzero(~out)], train_labels[~out]),
        "validation": ([train[i] for i in np.flatnonzero(out)], train_labels[out]),
        "test": (test, test_labels),
    }
    side = request.image_size or SIDE
    identity = "\n".join((str(root.resolve()), *train, *test))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    kept = request.folders[0] / "imagenet-squares" / f"{side}-{digest}"
    splits = {
        split: as_split(squares(root, files, side, kept / f"{split}.npy"), labels)
        for split, (files, labels) in parts.items()
    }
    return [build_task("imagenet", splits, len(names), str(root))]


def _root(argument: str | None, request: Request) -> Path:
    """The folder that holds ``train`` and ``val``."""
    if argument is None:
        tried = [folder / "imagenet" for folder in request.folders]
    else:
        named = Path(argument).expanduser()
        tried = [folder / named for folder in (Path(), *request.folders)]
    root = next((path for path in tried if path.is_dir()), None)
    if root is None and argument is None:
        raise missing("the folder imagenet", request.folders, WHERE)
    if root is None:
        looked = ", ".join(str(path.parent) for path in tried)
        raise UserError(f"tasks 'imagenet:{argument}': no such folder in {looked}")
    for split in ("train", "val"):
        if not (root / split).is_dir():
            raise UserError(f"{root}: has no folder {split!r}; {WHERE}")
    return root


def _classes(root: Path) -> list[str]:
    """The class folders, the same in both splits."""
    train, val = (
        [folder.name for folder in subfolders(root / split)]
        for split in ("train", "val")
    )
    for split, names in (("train", train), ("val", val)):
        if not names:
            raise UserError(
                f"{root / split}: found no class folder; allowed: CLASS/*.JPEG"
            )
    for split, names, others in (("val", val, train), ("train", train, val)):
        absent = sorted(set(others) - set(names))
        if absent:
            raise UserError(f"{root / split}: class {absent[0]!r} has no folder here")
    return train


def _files(root: Path, split: str, names: list[str]) -> tuple[list[str], np.ndarray]:
    """Pictures of some classes, relative to ``root``, and their int32 labels."""
    files, labels = [], []
    for label, name in enumerate(names):
        found = sorted(
            entry
            for entry in os.listdir(root / split / name)
            if os.path.splitext(entry)[1].lower() in SUFFIXES and entry[0] != "."
        )
        if not found:
            allowed = ", ".join(sorted(SUFFIXES))
            raise UserError(f"{root / split / name}: no picture; allowed: {allowed}")
        files += [f"{split}/{name}/{entry}" for entry in found]
        labels += [label] * len(found)
    return files, np.array(labels, np.int32)
