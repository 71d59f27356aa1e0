"""``mnist`` and ``fashion_mnist``: 28x28 grey images, 60,000 to train and 10,000.

The original files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, compressed (``.gz``) or not.
The two data sets name them alike: those of ``mnist`` lie in the data folder itself or
in its ``mnist``, those of ``fashion_mnist`` in ``fashion_mnist`` or ``fashion-mnist``.
``published`` has the other layouts.

Shape legend: ``n`` examples.
"""

import gzip
import math
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.published import Examples, Published

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_BYTES = 0x0800  # an idx file's magic number, without its number of dimensions


def _file(folder: Path, name: str) -> Path | None:
    """A file, uncompressed if there are both."""
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def _find(places: tuple[str, ...], folder: Path) -> list[Path]:
    """The folders among ``places`` that hold one of the files or more."""
    names = [name for pair in _FILES.values() for name in pair]
    return [
        folder / place
        for place in places
        if any(_file(folder / place, name) for name in names)
    ]


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An idx file of unsigned bytes, compressed where its name ends in ``.gz``.

    Returns:
      uint8, of ``dimensions`` axes.

    Raises:
      UserError: it is damaged, or holds something else.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: not a complete gzip file ({error}); allowed: the file as "
            "published"
        ) from None
    header = 4 * (1 + dimensions)
    magic = int.from_bytes(content[:4], "big")
    if len(content) >= 4 and magic != _BYTES + dimensions:
        raise UserError(
            f"{path}: found magic number {magic}; allowed: {_BYTES + dimensions}, for "
            f"unsigned bytes of {dimensions} dimensions"
        )
    if len(content) < header:
        raise UserError(
            f"{path}: found {len(content)} bytes; allowed: a header of {header} and "
            "the values"
        )
    shape = [int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4)]
    if len(content) - header != math.prod(shape):
        raise UserError(
            f"{path}: found {len(content) - header} values; allowed: "
            f"{math.prod(shape)}, as its header says ({shape})"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read(folder: Path) -> tuple[Examples, Examples]:
    splits = []
    for names in _FILES.values():
        paths = [_file(folder, name) for name in names]
        for name, path in zip(names, paths, strict=True):
            if path is None:
                found = ", ".join(sorted(file.name for file in folder.glob("*ubyte*")))
                raise UserError(
                    f"{folder}: {name} or {name}.gz is missing; found {found}"
                )
        images, labels = (
            read_idx(path, dimensions)
            for path, dimensions in zip(paths, (3, 1), strict=True)
            if path is not None
        )
        splits.append((images[..., None], labels))
    return splits[0], splits[1]


MNIST = Published(
    "mnist",
    10,
    (28, 28, 1),
    "get the four idx files from https://ossci-datasets.s3.amazonaws.com/mnist/",
    partial(_find, ("", "mnist")),
    _read,
)
FASHION_MNIST = Published(
    "fashion_mnist",
    10,
    (28, 28, 1),
    "get the four idx files from https://github.com/zalandoresearch/fashion-mnist and "
    "put them in a subfolder fashion_mnist",
    partial(_find, ("fashion_mnist", "fashion-mnist")),
    _read,
)
