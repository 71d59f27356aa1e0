"""Whose cells a retraining takes: a run's, a file's or published ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evojax_mtl.errors import UserError
from evojax_mtl.genomes.genotypes import (
    GENOTYPES,
    Code,
    find_genotype,
    genotype_from_json,
    read_json,
)
from evojax_mtl.methods import unknown


@dataclass(frozen=True)
class Found:
    """The genotypes of one source.

    Attributes:
      where: the source, in words.
      codes: genotype by the name of the task that it was found on; ``""`` is the name
        where the source tells none.
    """

    where: str
    codes: dict[str, Code]

    def pick(self, task: str, wanted: str | None) -> tuple[str, Code]:
        """Origin in words, and genotype, for a network to train on ``task``.

        Args:
          task: its own genotype is taken where there are several.
          wanted: whose genotype to take instead; None for no wish.

        Raises:
          UserError: if there is none of ``wanted``, or several and none of ``task``.
        """
        names = list(self.codes)
        if wanted is not None and wanted not in self.codes:
            if names == [""]:
                raise UserError(
                    f"--from: found {wanted!r}, but {self.where} is a single genotype"
                )
            raise UserError(f"--from: {unknown(wanted, names)}")
        name = wanted if wanted is not None else task
        if name not in self.codes and len(names) == 1:
            name = names[0]
        if name not in self.codes:
            raise UserError(
                f"--from: not given, and {self.where} has no genotype of task "
                f"{task!r}; allowed: {', '.join(names)}"
            )
        origin = f"{self.where}, task {name}" if name else self.where
        return origin, self.codes[name]


def find(genotype: str, search: int | None) -> Found:
    """The genotypes that the command line names.

    Args:
      genotype: a run's folder, a JSON file, or the name of a published genotype.
      search: which of a sweep's searches to take, from 0; None where there is one.

    Raises:
      UserError: if there is none, or one that is not valid.
    """
    path = Path(genotype)
    if path.is_dir():
        path = path / "best.json"
        if not path.is_file():
            raise UserError(
                f"{genotype}: has no best.json, must be the folder of a search that "
                "has ended"
            )
    elif not path.is_file():
        if path.suffix == ".json" or len(path.parts) > 1:
            raise UserError(
                f"{genotype}: no such file or folder, must be a run's folder, a JSON "
                f"file or one of {', '.join(GENOTYPES)}"
            )
        if search is not None:
            raise UserError("--search: only a sweep of searches has several")
        return Found(genotype, {"": find_genotype(genotype)})
    return Found(genotype, _codes(read_json(path), search, str(path)))


def _codes(parsed: Any, search: int | None, where: str) -> dict[str, Code]:
    """Genotypes by name; a name is ``""`` for a bare list."""
    searches = parsed.get("searches") if isinstance(parsed, dict) else None
    if isinstance(searches, Sequence):
        if search is None or not 0 <= search < len(searches):
            found = "nothing" if search is None else search
            raise UserError(
                f"--search: found {found}, must be one of the searches in {where}, "
                f"0 to {len(searches) - 1}"
            )
        parsed, where = searches[search], f"{where}, search {search}"
    elif search is not None:
        raise UserError(f"--search: found {search}, but {where} holds one search")
    networks = parsed.get("networks") if isinstance(parsed, dict) else None
    if not isinstance(networks, Sequence):
        return {"": genotype_from_json(parsed, where=where)}
    names = [
        str(network.get("name"))
        for network in networks
        if isinstance(network, dict) and "code" in network
    ]
    if not names:
        raise UserError(
            f"{where}: its networks have no genotype of cells, must be found by a "
            "search for cells, or by cm, cmsr, cmtr or leaf"
        )
    return {name: genotype_from_json(parsed, name, where) for name in names}
