"""NAS-Bench-201 from its official archives, through their own readers.

Two archives hold the table: NATS-Bench's ``NATS-tss-v1_0-*-simple``, a folder that the
package ``nats_bench`` reads, and ``NAS-Bench-201-v1_1-*.pth``, which ``nas_201_api``
reads. Both offer the same queries; either is an extra, which the error names where it
is not installed. Metrics are means over the seeds that an architecture was trained
with: validation accuracy of ``cifar10-valid``, of ``cifar100`` and of
``ImageNet16-120``; test accuracy of ``cifar10`` and of the other two.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.tabular import Space, check_space

PATTERNS = {
    "NATS-tss-v1_*-simple": "nats_bench",
    "NAS-Bench-201-v1_*.pth": "nas_201_api",
}
"""Archives, and the package that reads each."""
_EXTRAS = {"nats_bench": "nats_bench", "nas_201_api": "nas-bench-201"}
_VALIDATION = {"c10": "cifar10-valid", "c100": "cifar100", "in16": "ImageNet16-120"}
_TEST = _VALIDATION | {"c10": "cifar10"}


def find(folders: Sequence[Path]) -> Path | None:
    """The archive in the first folder that has one; None where none has.

    Raises:
      UserError: a folder has several.
    """
    for folder in folders:
        found = [p for pattern in PATTERNS for p in sorted(folder.glob(pattern))]
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(
                f"{folder}: found {len(found)} archives of NAS-Bench-201 ({names}); "
                "allowed: one, so move the others away"
            )
        if found:
            return found[0]
    return None


def reader(path: Path, cells: Space) -> Callable[[str], np.ndarray]:
    """What reads a field of an archive, in the order of ``cells``.

    Raises:
      UserError: the archive's reader is not installed, or cannot read it; it does not
        hold every cell.
    """
    api = _open(path)
    strings = [str(api.arch(index)) for index in range(len(api))]
    rows = check_space(str(path), cells.name, strings, cells.strings)

    def value(index: int, field: str) -> float:
        prefix, kind, *rest = field.split("_")
        if rest and kind in ("flops", "params"):
            cost = api.get_cost_info(index, _TEST[prefix])
            return cost[kind]
        data = (_VALIDATION if kind == "val" else _TEST)[prefix]
        info = api.get_more_info(index, data, hp=rest[0], is_random=False)
        return info["valid-accuracy" if kind == "val" else "test-accuracy"]

    def read(field: str) -> np.ndarray:
        try:
            return np.array([value(int(row), field) for row in rows], np.float64)
        except (KeyError, ValueError, TypeError, AssertionError) as error:
            raise UserError(
                f"{path}: {field} cannot be read ({' '.join(str(error).split())}); "
                "allowed: the whole archive, as published"
            ) from None

    return read


def _open(path: Path) -> Any:
    package = "nats_bench" if path.is_dir() else "nas_201_api"
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: needs the package that reads it: pip install {_EXTRAS[package]}"
        ) from None
    try:
        if package == "nats_bench":
            return module.create(str(path), "tss", fast_mode=True, verbose=False)
        return module.NASBench201API(str(path), verbose=False)
    except (OSError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: {package} cannot read it ({reason})") from None
