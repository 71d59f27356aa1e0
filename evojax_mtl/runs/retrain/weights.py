"""Trained weights in files of NumPy.

An ``.npz`` holds an array for each leaf of a network's variables, under the leaf's path
with slashes: ``params/stem/kernel``, ``batch_stats/stem_norm/mean``.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote
from zipfile import BadZipFile

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from evojax_mtl.errors import UserError

FOLDER = "weights"


def weights_name(task: str) -> str:
    """The file of a task's weights, in the folder of the retraining."""
    return f"{FOLDER}/{quote(task, safe=' ')}.npz"


def write_weights(path: Path, variables: dict[str, Any]) -> None:
    """Writes ``variables`` whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}")
    flat: dict[str, Any] = flatten_dict(variables, sep="/")
    try:
        with partial.open("wb") as file:
            np.savez(file, **flat)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_weights(path: Path) -> dict[str, Any]:
    """The variables that ``write_weights`` wrote, for ``network.apply``.

    Raises:
      UserError: if the file cannot be read.
    """
    try:
        with np.load(path) as file:
            return unflatten_dict({name: file[name] for name in file.files}, sep="/")
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: cannot read weights: {error}") from None
