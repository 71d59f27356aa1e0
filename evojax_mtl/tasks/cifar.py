"""``cifar10`` and ``cifar100``: 32x32 colour pictures, 50,000 to train and 10,000.

The original files are the "python version": the archive ``cifar-10-python.tar.gz``
(``cifar-100-python.tar.gz``), or the folder ``cifar-10-batches-py``
(``cifar-100-python``) that it unpacks to, which is taken where both are there. The
labels of ``cifar100`` are the 100 fine ones. ``published`` has the other layouts.

Shape legend: ``n`` examples.
"""

import gzip
import pickle
import tarfile
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.published import Examples, Published
from evojax_mtl.tasks.unpickling import unpickle

_WHERE = "get {} from https://www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True)
class _Originals:
    """The files of one data set.

    Attributes:
      archive: its name.
      folder: in the archive.
      train: files of the training split.
      test: file of the test split.
      labels: the field of a file that holds the labels.
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    labels: bytes

    def find(self, folder: Path) -> list[Path]:
        """The folder, or else the archive, that a data folder holds."""
        if (folder / self.folder).is_dir():
            return [folder / self.folder]
        return [path for path in (folder / self.archive,) if path.is_file()]

    def read(self, path: Path) -> tuple[Examples, Examples]:
        """Training and test examples."""
        names = (*self.train, self.test)
        files = _folder(path, names) if path.is_dir() else self._unpack(path, names)
        parts = [self._batch(files[name], f"{path}: {name}") for name in self.train]
        images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        return (images, labels), self._batch(files[self.test], f"{path}: {self.test}")

    def _unpack(self, path: Path, names: Sequence[str]) -> dict[str, bytes]:
        files = {}
        try:
            with gzip.open(path) as stream:
                # In one pass: to seek back is to decompress all of it again.
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    for member in archive:
                        place = PurePosixPath(member.name)
                        wanted = (
                            place.parent.name == self.folder and place.name in names
                        )
                        content = archive.extractfile(member) if wanted else None
                        if content is not None:
                            files[place.name] = content.read()
                while stream.read(1 << 20):
                    pass  # the checksum is at the end
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise UserError(
                f"{path}: not a complete tar.gz file ({error}); allowed: the archive "
                "as published"
            ) from None
        _require(path, names, files)
        return files

    def _batch(self, content: bytes, file: str) -> Examples:
        """The examples of one file: uint8 ``(n, 32, 32, 3)`` and labels ``(n,)``."""
        try:
            fields = unpickle(content)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"{file}: not a readable batch ({error}); allowed: the file as "
                "published"
            ) from None
        for name in (b"data", self.labels):
            if not isinstance(fields, dict) or name not in fields:
                kind = type(fields).__name__
                found = sorted(map(str, fields)) if isinstance(fields, dict) else kind
                raise UserError(
                    f"{file}: field {name.decode()!r} is missing; found {found}"
                )
        pixels, labels = fields[b"data"], fields[self.labels]
        if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (3072,):
            found = getattr(pixels, "shape", type(pixels).__name__)
            raise UserError(f"{file}: field 'data': {found}; allowed: uint8 (n, 3072)")
        if not isinstance(labels, list) or any(type(one) is not int for one in labels):
            raise UserError(
                f"{file}: field {self.labels.decode()!r} is not a list of integers"
            )
        if len(labels) != len(pixels) or not labels:
            raise UserError(
                f"{file}: {len(labels)} labels for {len(pixels)} images; allowed: one "
                "an image, and an image or more"
            )
        images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), np.array(labels)


def _folder(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    _require(path, names, {file.name for file in path.iterdir() if file.is_file()})
    return {name: (path / name).read_bytes() for name in names}


def _require(path: Path, names: Sequence[str], found: Collection[str]) -> None:
    absent = [name for name in names if name not in found]
    if absent:
        here = ", ".join(sorted(found)) or "nothing"
        raise UserError(
            f"{path}: {absent[0]} is missing; found {here}; allowed: {', '.join(names)}"
        )


_TEN = _Originals(
    archive="cifar-10-python.tar.gz",
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    labels=b"labels",
)
_HUNDRED = _Originals(
    archive="cifar-100-python.tar.gz",
    folder="cifar-100-python",
    train=("train",),
    test="test",
    labels=b"fine_labels",
)
CIFAR10 = Published(
    "cifar10", 10, (32, 32, 3), _WHERE.format(_TEN.archive), _TEN.find, _TEN.read
)
CIFAR100 = Published(
    "cifar100",
    100,
    (32, 32, 3),
    _WHERE.format(_HUNDRED.archive),
    _HUNDRED.find,
    _HUNDRED.read,
)
