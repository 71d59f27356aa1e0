"""TransNAS-Bench-101 from its official archive ``transnas-bench_v*.pth``.

The archive is a dict that PyTorch saved, and PyTorch (the ``bench`` extra) reads it,
without running any code from it: ``data[space][architecture][task]`` holds ``metrics``,
a list of epochs for each metric, and ``model_info``. The last epoch counts.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.tabular import Space, check_space

PATTERN = "transnas-bench_v*.pth"
_METRICS = {
    "class_object": "top1",
    "class_scene": "top1",
    "room_layout": "neg_loss",
    "jigsaw": "top1",
    "segmentsemantic": "acc",
    "normal": "ssim",
    "autoencoder": "ssim",
}
_SIZES = {"flops_M": "FLOPs", "params_M": "params"}


def find(folders: Sequence[Path]) -> Path | None:
    """The archive in the first folder that has one; None where none has.

    Raises:
      UserError: a folder has several.
    """
    for folder in folders:
        found = sorted(folder.glob(PATTERN))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(
                f"{folder}: found {len(found)} files {PATTERN} ({names}); allowed: "
                "one, so move the others away"
            )
        if found:
            return found[0]
    return None


def reader(
    path: Path, space: Space, kind: str
) -> Callable[[str, str], np.ndarray | None]:
    """What reads a field of a task, in the order of ``space``.

    Args:
      path: of the archive.
      space: its architectures.
      kind: the archive's name of the space, ``micro`` or ``macro``.

    Raises:
      UserError: PyTorch is not installed or cannot read the file; it does not hold
        every architecture of the space.
    """
    results = _open(path, kind)
    check_space(str(path), space.name, list(results), space.strings)

    def value(own: Any, field: str, task: str) -> float:
        if field in _SIZES:
            info = own[task]["model_info"]
            name = _SIZES[field]
            # in millions already; the encoder is what differs between architectures
            return float(info.get(f"model_{name}", info.get(f"encoder_{name}")))
        part = "valid" if field == "val" else "test"
        return float(own[task]["metrics"][f"{part}_{_METRICS[task]}"][-1])

    def read(field: str, task: str) -> np.ndarray | None:
        try:
            found = [value(results[text], field, task) for text in space.strings]
            return np.array(found, np.float64)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            if field == "test":
                return None
            raise UserError(
                f"{path}: {field} of {task} cannot be read ({error}); allowed: the "
                "whole archive, as published"
            ) from None

    return read


def _open(path: Path, kind: str) -> dict[str, Any]:
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: needs PyTorch to be read: pip install 'evojax-mtl[bench]'"
        ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)["data"][kind]
    except Exception as error:  # torch raises what the file's bytes make it raise
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"{path}: not a readable archive of TransNAS-Bench-101 ({reason})"
        ) from None
