"""Arrays that take long to compute, kept in the user's cache folder.

A file is ``computed/NAME.npz`` with the one field ``array``; its name tells all that
the array depends on. One that is damaged, or not what it should be, is computed again;
a folder that cannot be written costs the time to compute alone.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.files import Arrays, save_npz
from evojax_mtl.tasks.request import cache_folder

FIELD = "array"


def kept(
    name: str,
    shape: tuple[int, ...],
    compute: Callable[[], np.ndarray],
    folder: Path | None = None,
) -> np.ndarray:
    """An array from disk; computed and put there where it is not yet.

    Args:
      name: of the file.
      shape: of the array, whose values are finite.
      compute: makes it.
      folder: of the file; ``computed`` of the user's cache folder unless given.
    """
    folder = cache_folder() / "computed" if folder is None else folder
    path = folder / f"{name}.npz"
    found = _read(path, shape)
    if found is not None:
        return found
    array = compute()
    try:
        save_npz(path, {FIELD: array})
    except OSError as error:
        warnings.warn(f"{path}: not kept ({error})", RuntimeWarning, stacklevel=2)
    return array


def digest(*facts: Any) -> str:
    """A short name of facts, JSON-able ones, for the name of a file."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in a file; None where there is no such file, or a damaged one."""
    if not path.exists():
        return None
    try:
        array = Arrays(path).read(FIELD)
    except UserError:
        return None
    whole = array.shape == shape and np.issubdtype(array.dtype, np.floating)
    return array if whole and np.isfinite(array).all() else None
