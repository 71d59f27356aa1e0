"""Genotypes: published cells by name, and cells read from JSON files.

The four published ones are those that the authors of KTNAS (Zhang et al. 2026) list
beside their retraining network: two of EMT-NAS, found on CIFAR-10 and CIFAR-100
together, and two of KTNAS. Whose run of EMT-NAS gave the former is not said; in the
authors' own network they have the parameters that Liao 2023 reports, to 1.5 %.

A code is the forty integers of ``genomes.cells``, reduction cell first. Inputs 0 and 1
are as published. Which of the two is the previous cell's output is the network's
affair: see ``networks.cell_network`` and ``networks.darts_network``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evojax_mtl.errors import UserError
from evojax_mtl.genomes.cells import LENGTH, code, from_code

Code = tuple[int, ...]

# fmt: off
EMT_C10: Code = (
    # reduction: input, input, operation, operation of each block
    0, 1, 1, 1,  2, 1, 3, 5,  0, 1, 0, 5,  0, 1, 1, 1,  0, 3, 0, 1,
    # normal
    0, 0, 1, 3,  0, 0, 0, 5,  0, 1, 5, 3,  0, 1, 1, 3,  2, 2, 1, 1,
)
"""EMT-NAS on CIFAR-10."""

EMT_C100: Code = (
    0, 1, 1, 1,  2, 2, 5, 1,  0, 1, 0, 5,  0, 1, 1, 1,  0, 3, 0, 2,
    0, 0, 1, 3,  0, 2, 0, 5,  2, 2, 1, 1,  1, 0, 3, 5,  0, 2, 1, 5,
)
"""EMT-NAS on CIFAR-100."""

KT_C10: Code = (
    1, 1, 7, 5,  0, 1, 6, 4,  0, 0, 1, 8,  4, 3, 8, 7,  3, 0, 3, 7,
    1, 1, 6, 8,  1, 1, 7, 0,  1, 2, 0, 5,  0, 4, 4, 7,  0, 4, 0, 2,
)
"""KTNAS on CIFAR-10."""

KT_C100: Code = (
    1, 1, 5, 0,  0, 1, 0, 0,  0, 2, 4, 8,  0, 4, 3, 3,  2, 1, 0, 3,
    0, 0, 4, 5,  1, 0, 1, 2,  1, 0, 8, 7,  1, 0, 2, 6,  1, 4, 1, 8,
)
"""KTNAS on CIFAR-100."""
# fmt: on

GENOTYPES = {
    "emt-c10": EMT_C10,
    "emt-c100": EMT_C100,
    "kt-c10": KT_C10,
    "kt-c100": KT_C100,
}


def find_genotype(name: str) -> Code:
    """The published code of that name.

    Raises:
      UserError: if there is none.
    """
    if name not in GENOTYPES:
        names = ", ".join(GENOTYPES)
        raise UserError(f"genotype: found {name!r}, must be one of {names}")
    return GENOTYPES[name]


def read_genotype(path: Path, task: str | None = None) -> Code:
    """The code in a JSON file: forty integers, or a run's ``best.json``.

    Args:
      path: of the file.
      task: whose network to take from a ``best.json``; may be left out where the file
        has one network.

    Raises:
      UserError: if the file cannot be read, or as ``genotype_from_json``.
    """
    return genotype_from_json(read_json(path), task, str(path))


def read_json(path: Path) -> Any:
    """What a JSON file that should hold genotypes holds; ``UserError`` otherwise."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"no JSON: {error}"
        raise UserError(f"{path}: cannot read a genotype: {reason}") from None


def genotype_from_json(
    parsed: Any, task: str | None = None, where: str = "genotype"
) -> Code:
    """The code in parsed JSON.

    Args:
      parsed: a list of forty integers, or what ``best.json`` holds:
        ``{"networks": [{"name": ..., "code": [...]}, ...]}``.
      task: as in ``read_genotype``; of no effect on a list.
      where: names the source in messages.

    Raises:
      UserError: if there is no code in it, none of ``task``, or one that is not valid.
    """
    if isinstance(parsed, dict):
        if "searches" in parsed:
            raise UserError(f"{where}: found several searches, must be one of them")
        name, parsed = _network(parsed, task, where)
        where = f"{where}, network {name!r}"
    whole = isinstance(parsed, list) and all(type(value) is int for value in parsed)
    if not whole:
        raise UserError(f"{where}: found no list of integers, must be {LENGTH} of them")
    return tuple(code(from_code(parsed, where)))


def _network(parsed: dict[str, Any], task: str | None, where: str) -> tuple[str, Any]:
    """Name and code of the network of ``task``."""
    entries = parsed.get("networks")
    if not isinstance(entries, Sequence):
        entries = ()
    codes = {
        str(entry.get("name")): entry["code"]
        for entry in entries
        if isinstance(entry, dict) and "code" in entry
    }
    if not codes:
        raise UserError(f"{where}: found no network with a code, must have networks")
    names = ", ".join(codes)
    if task is None and len(codes) > 1:
        raise UserError(f"{where}: found several networks, name one task of {names}")
    task = next(iter(codes)) if task is None else task
    if task not in codes:
        raise UserError(f"{where}: found no task {task!r}, must be one of {names}")
    return task, codes[task]
