"""``npz:PATH``: the user's own arrays, one file a task.

``PATH`` is a file, a glob, or a folder of files (each a task, in the order of their
names), relative to the working folder or else to the data folders. A task is named
after its file. A folder of ``.npy`` files is one task, with a file for a field.

A file holds one of

* ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` and perhaps
  ``val_images``, ``val_labels``, as MedMNIST's do; without the latter, every fifth
  training example of each class serves for validation;
* ``images``, ``labels``, which are split 50/20/30 % per class, always in the same way.

Images are ``(n, H, W)`` or ``(n, H, W, c)``, uint8 (0 to 255) or float (0 to 1);
labels are integers ``(n,)`` or ``(n, 1)``. Optional: ``classes``, the number of
classes (else the largest training label and one); ``train_mask``, ``val_mask``,
``test_mask``, bool ``(n,)``, false for an example without a label. Other fields are
left alone. Uncompressed uint8 images above 256 MiB are mapped and not read, as long as
their validation split is given and nothing resizes them.
"""

import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.build import as_labels, build_task, held_out, split_task
from evojax_mtl.tasks.files import Arrays
from evojax_mtl.tasks.images import as_images
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.task import Split, Task

FIELDS = {"train": "train", "validation": "val", "test": "test"}
"""What the names of a split's fields begin with."""
_SPLIT_SEED = 0


def load(argument: str | None, request: Request) -> list[Task]:
    """The tasks at a path, a glob or in a folder."""
    if not argument:
        raise UserError("tasks 'npz': no path; allowed: npz:FILE, npz:FOLDER, npz:GLOB")
    paths = _paths(argument, request.folders)
    return [load_file(path) for path in paths[: request.max_tasks]]


def _paths(argument: str, folders: Sequence[Path]) -> list[Path]:
    for folder in (Path(), *folders):
        path = folder / Path(argument).expanduser()
        if path.is_dir():
            if any(path.glob("*images.npy")):
                return [path]
            files = sorted(path.glob("*.npz"))
            if not files:
                raise UserError(
                    f"{path}: found no .npz file; allowed: .npz files, or the .npy "
                    "files of one task"
                )
            return files
        if path.is_file():
            return [path]
        files = sorted(Path(match) for match in glob.glob(str(path)))
        if files:
            return files
    looked = ", ".join(str(folder) for folder in (Path.cwd(), *folders))
    raise UserError(f"tasks 'npz:{argument}': no such file or folder in {looked}")


def load_file(path: Path, name: str | None = None, classes: int | None = None) -> Task:
    """The task of one file or folder of ``.npy`` files.

    Args:
      path: of the file or folder.
      name: of the task; None names it after the file.
      classes: how many there are, unless a field says so; None counts them.

    Raises:
      UserError: anything in the file is not as the module describes.
    """
    arrays = Arrays(path)
    name = name or (path.name if path.is_dir() else path.stem)
    classes = _classes(arrays) or classes
    if "images" in arrays:
        images, labels = _pair(arrays, "")
        return split_task(name, images, labels, _SPLIT_SEED, str(path), classes)
    arrays.require("train_images", "test_images")
    present = [part for part in FIELDS if f"{FIELDS[part]}_images" in arrays]
    splits = {part: _split(arrays, FIELDS[part]) for part in present}
    if "validation" not in splits:
        train = splits["train"]
        out = held_out(np.where(train.mask, train.labels, -1))
        splits["train"], splits["validation"] = _take(train, ~out), _take(train, out)
    return build_task(name, splits, classes, str(path))


def _take(split: Split, rows: np.ndarray) -> Split:
    return Split(split.images[rows], split.labels[rows], split.mask[rows])


def _classes(arrays: Arrays) -> int | None:
    if "classes" not in arrays:
        return None
    classes = arrays.read("classes")
    if classes.size != 1 or not np.issubdtype(classes.dtype, np.integer):
        raise UserError(f"{arrays.path}: field 'classes' is not one integer")
    if classes.item() < 2:
        raise UserError(
            f"{arrays.path}: field 'classes': found {classes.item()}; allowed: 2 or "
            "more"
        )
    return int(classes.item())


def _pair(arrays: Arrays, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Checked images and labels, where ``prefix`` is ``""`` or like ``"train_"``."""
    field = f"{arrays.path}: field '{prefix}{{}}'"
    images = as_images(arrays.read(f"{prefix}images"), field.format("images"))
    labels = arrays.read(f"{prefix}labels")
    return images, as_labels(labels, len(images), field.format("labels"))


def _split(arrays: Arrays, prefix: str) -> Split:
    field = f"{prefix}_mask"
    if field not in arrays:
        images, labels = _pair(arrays, f"{prefix}_")
        return Split(images, labels, np.ones(len(labels), bool))
    mask = arrays.read(field)
    images, labels = _pair(arrays, f"{prefix}_")
    if mask.shape != labels.shape or mask.dtype != bool:
        raise UserError(
            f"{arrays.path}: field {field!r}: {mask.dtype} {mask.shape}; allowed: bool "
            f"{labels.shape}"
        )
    return Split(images, labels, mask)
