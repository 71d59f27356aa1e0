"""Finding and reading the files of a source, with errors that a user can act on."""

import glob
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evojax_mtl.errors import UserError

# What reading a damaged or foreign file as an npz raises.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
_MAP_BYTES = 256 << 20


def find_npz(name: str, folders: Sequence[Path]) -> Path | None:
    """``NAME*.npz`` in the first folder that has one; None where none has.

    A number at the end of the name does not go on: ``cifar100.npz`` is no ``cifar10``.

    Raises:
      UserError: several files of one folder match.
    """
    for folder in folders:
        matches = [
            match
            for match in sorted(folder.glob(f"{glob.escape(name)}*.npz"))
            if not (name[-1:] + match.name[len(name)]).isdecimal()
        ]
        if len(matches) > 1:
            found = ", ".join(match.name for match in matches)
            raise UserError(
                f"{folder}: found {len(matches)} files {name}*.npz ({found}); "
                "allowed: one, so move the others away"
            )
        if matches:
            return matches[0]
    return None


def missing(what: str, folders: Sequence[Path], where: str) -> UserError:
    """The error for a file that no folder has; ``where`` says how to get it."""
    looked = ", ".join(str(folder) for folder in folders)
    return UserError(
        f"{what} not found in {looked} (--data-dir or $EVOJAX_MTL_DATA names another "
        f"folder); {where}"
    )


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "pickle" in reason.lower():
        reason = "it holds Python objects"
    return UserError(
        f"{path}: not a readable npz file ({reason}); allowed: arrays written by "
        "numpy.savez or numpy.savez_compressed, complete"
    )


class Arrays:
    """The named arrays of an ``.npz`` file or of a folder of ``.npy`` files.

    An array above ``map_bytes`` that lies uncompressed on disk is mapped into memory
    and not read: a source may be larger than the memory.
    """

    def __init__(self, path: Path, map_bytes: int = _MAP_BYTES):
        """Lists the arrays of ``path`` and reads none."""
        self.path = path
        self.map_bytes = map_bytes
        if path.is_dir():
            self.names = {file.stem for file in path.glob("*.npy")}
            return
        if not path.is_file():
            raise UserError(f"{path}: no such file; allowed: an .npz file")
        try:
            with zipfile.ZipFile(path) as archive:
                self.names = {name.removesuffix(".npy") for name in archive.namelist()}
        except _UNREADABLE as error:
            raise _unreadable(path, error) from None

    def __contains__(self, name: str) -> bool:
        """Whether there is an array of this name."""
        return name in self.names

    def require(self, *names: str) -> None:
        """Raises a UserError unless all ``names`` are there."""
        absent = [name for name in names if name not in self.names]
        if absent:
            found = ", ".join(sorted(self.names)) or "nothing"
            raise UserError(
                f"{self.path}: field {absent[0]!r} is missing; found {found}"
            )

    def read(self, name: str) -> np.ndarray:
        """One array.

        Raises:
          UserError: it is missing, damaged or an array of Python objects.
        """
        self.require(name)
        try:
            if self.path.is_dir():
                file = self.path / f"{name}.npy"
                large = file.stat().st_size > self.map_bytes
                return np.load(
                    file, mmap_mode="r" if large else None, allow_pickle=False
                )
            mapped = _map_member(self.path, f"{name}.npy", self.map_bytes)
            if mapped is not None:
                return mapped
            with np.load(self.path, allow_pickle=False) as archive:
                return archive[name]
        except _UNREADABLE as error:
            raise _unreadable(self.path, error) from None


def _map_member(path: Path, member: str, map_bytes: int) -> np.ndarray | None:
    """Maps a large stored member of a zip file; None if it is small or compressed."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size <= map_bytes:
            return None
        with archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read is None:
                return None
            shape, fortran, dtype = read(stream)
            header = stream.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    with path.open("rb") as file:
        # The local header repeats the name and has an extra field of its own length.
        file.seek(info.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
        begin = info.header_offset + 30 + int(lengths.sum()) + header
    order = "F" if fortran else "C"
    return np.memmap(path, dtype, mode="r", offset=begin, shape=shape, order=order)


def save_npz(path: Path, arrays: dict[str, Any]) -> Path:
    """Writes all or nothing, compressed: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
