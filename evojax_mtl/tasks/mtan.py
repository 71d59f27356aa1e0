"""Scenes in MTAN's layout: ``SPLIT/KIND/NUMBER.npy`` in the folders train and val.

``image`` ``(H, W, 3)`` in ``[0, 1]``, ``label`` ``(H, W)`` with -1 for ignored pixels,
``depth`` ``(H, W, 1)`` and ``normal`` ``(H, W, 3)`` with 0 for invalid ones; numbers
count from 0. Images are kept in 8 bits. ``val`` is the test split; every tenth scene of
``train`` validates (the last, where there are fewer than ten).

``image_size`` is a height that divides the files': images are averaged, of labels the
pixel in the middle is taken.

Liu, Johns, Davison 2019, arXiv:1803.10704.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.dense import DenseTask, Scenes, blank, dense_tasks
from evojax_mtl.tasks.files import missing
from evojax_mtl.tasks.request import Request

FOLDERS = {"segmentation": "label", "depth": "depth", "normals": "normal"}
_IMAGE = "image"
_TRAIN, _TEST = "train", "val"


@dataclass(frozen=True)
class Layout:
    """A data set in this layout.

    Attributes:
      name: of the source, and of its folder.
      classes: of the segmentation.
      tasks: that have labels; keys of ``FOLDERS``.
      where: how to get it.
    """

    name: str
    classes: tuple[str, ...]
    tasks: tuple[str, ...]
    where: str

    def load(self, argument: str | None, request: Request) -> list[DenseTask]:
        """The tasks of the folder ``argument``, or of that in the data folder.

        Raises:
          UserError: a folder or file is missing or not as the module says.
        """
        tasks = dense_tasks(self.scenes(self._root(argument, request), request))
        return tasks[: request.max_tasks]

    def _root(self, argument: str | None, request: Request) -> Path:
        if argument is not None:
            folders = [Path(argument), *(f / argument for f in request.folders)]
        else:
            folders = [folder / self.name for folder in request.folders]
        for folder in folders:
            if (folder / _TRAIN).is_dir():
                return folder
        if argument is not None:
            raise UserError(
                f"tasks '{self.name}:{argument}': no folder {_TRAIN} in "
                f"{', '.join(map(str, folders))}; allowed: a folder with "
                f"{_TRAIN}/{_IMAGE}/0.npy"
            )
        raise missing(f"{self.name}/{_TRAIN}", request.folders, self.where)

    def scenes(self, root: Path, request: Request) -> Scenes:
        """All scenes of a folder."""
        counts = [_count(root / part) for part in (_TRAIN, _TEST)]
        files = [
            (root / part, number)
            for part, count in zip((_TRAIN, _TEST), counts, strict=True)
            for number in range(count)
        ]
        height, width, step = _size(root / _TRAIN, request.image_size)
        images, labels = blank(len(files), height, width, self.tasks)
        full = height * step, width * step
        middle = slice(step // 2, None, step)
        for row, (folder, number) in enumerate(files):
            path = folder / _IMAGE / f"{number}.npy"
            images[row] = _smaller(_image(path, full), step)
            for name, array in labels.items():
                path = folder / FOLDERS[name] / f"{number}.npy"
                found = _label(path, name, full, len(self.classes))
                array[row] = found[middle, middle]
        train = np.arange(counts[0])
        held = train[9::10] if counts[0] >= 10 else train[-1:]
        splits = {
            "train": np.setdiff1d(train, held),
            "validation": held,
            "test": counts[0] + np.arange(counts[1]),
        }
        return Scenes(str(root), self.classes, images, labels, splits)


def _count(folder: Path) -> int:
    """Scenes of a split."""
    count = len(list((folder / _IMAGE).glob("*.npy")))
    if not count:
        raise UserError(f"{folder / _IMAGE}: no .npy files; allowed: 0.npy, 1.npy, ...")
    return count


def _size(folder: Path, wanted: int | None) -> tuple[int, int, int]:
    """Height and width of the arrays, and pixels of the files for one of theirs."""
    path = folder / _IMAGE / "0.npy"
    shape = _array(path).shape
    if len(shape) != 3:
        raise UserError(f"{path}: found shape {shape}; allowed: (H, W, 3)")
    height, width = shape[:2]
    step = height // (wanted or height)
    if not step or (wanted or height) * step != height or width % step:
        sizes = [height // k for k in range(1, 13) if not (height % k or width % k)]
        raise UserError(
            f"image_size: found {wanted}; allowed for images of {height} x {width}: "
            f"{', '.join(map(str, sizes))} and other divisors"
        )
    return height // step, width // step, step


def _array(path: Path, shapes: Sequence[tuple[int, ...]] = ()) -> np.ndarray:
    """The numbers in a file, of one of the shapes."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; allowed: one for every image")
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable .npy file ({reason})") from None
    if shapes and array.shape not in shapes:
        allowed = " or ".join(map(str, shapes))
        raise UserError(f"{path}: found shape {array.shape}; allowed: {allowed}")
    if array.dtype.kind not in "fiub":
        raise UserError(f"{path}: found dtype {array.dtype}; allowed: numbers")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: not all finite; allowed: finite numbers")
    return array


def _within(
    path: Path, array: np.ndarray, low: float | int, high: float | int
) -> np.ndarray:
    least, most = array.min(), array.max()
    if least < low or most > high:
        raise UserError(
            f"{path}: found values {least:g} to {most:g}; allowed: {low:g} to {high:g}"
        )
    return array


def _image(path: Path, size: tuple[int, int]) -> np.ndarray:
    """In ``[0, 255]``."""
    array = _array(path, [(*size, 3)])
    if array.dtype == np.uint8:
        return array
    return _within(path, array, 0, 1) * 255


def _smaller(image: np.ndarray, step: int) -> np.ndarray:
    """Means of squares of ``step`` pixels a side, in 8 bits."""
    height, width, _ = image.shape
    blocks = image.reshape(height // step, step, width // step, step, 3)
    return np.round(blocks.mean((1, 3))).astype(np.uint8)


def _label(path: Path, task: str, size: tuple[int, int], classes: int) -> np.ndarray:
    if task == "segmentation":
        array = _within(path, _array(path, [size]), -1, classes - 1)
        if (array != np.round(array)).any():
            raise UserError(f"{path}: found fractions; allowed: classes, or -1")
        return array
    if task == "depth":
        array = _array(path, [(*size, 1), size]).reshape(*size, 1)
        return _within(path, array, 0, np.inf)
    return _within(path, _array(path, [(*size, 3)]), -1.01, 1.01)
