"""A network that a search assembled and found, apart from the search.

It lies in the checkpoints of the search's run, and then as ``network.npz`` in the
folder of its final training: an array under each path, which needs neither the run nor
its tasks any more.
"""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.architectures.layers import Layers, Network
from evojax_mtl.architectures.table import Architecture
from evojax_mtl.codeepneat_configs import CMTRConfig
from evojax_mtl.errors import UserError
from evojax_mtl.evolution.front import Front
from evojax_mtl.genomes.graphs import Graph
from evojax_mtl.genomes.module_sets import ModuleSet
from evojax_mtl.leaf_configs import ArchitectureConfig
from evojax_mtl.runs.checkpoints import Checkpoints
from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.search.leaf_objectives import members

FILE = "network.npz"
Arrays = dict[str, np.ndarray]

_NETWORK, _FITNESS = ".best.network", ".best.fitness"
_FRONT, _MEMBERS = ".front.", ".front.items"


def _blank(kind: Any, **parts: Any) -> Any:
    """A pytree of this class, to be filled."""
    return kind(**dict.fromkeys(kind.__dataclass_fields__, 0) | parts)


_NETWORKS = _blank(
    Network,
    architecture=_blank(Architecture),
    layers=_blank(Layers),
    preprocessing=None,
)
_OF_LEAF = _NETWORKS.replace(preprocessing=0)
_SETS = _blank(
    ModuleSet,
    modules=_blank(Graph),
    table=dict.fromkeys(("learning_rate", "width", "initializer"), 0),
    chain=None,
)


def read_found(
    folder: RunFolder, searches: int, search: int | None, front: int | None = None
) -> Arrays:
    """The best network of a run, or one of its front, by its arrays' paths.

    Args:
      folder: of the run.
      searches: that the run has.
      search: which of them, from 0; None where there is one.
      front: which network of the front, from 0, the cheapest; None for the best.

    Raises:
      UserError: if there is no such search or network, or none has been measured.
    """
    if searches > 1 and (search is None or not 0 <= search < searches):
        found = "nothing" if search is None else search
        raise UserError(
            f"--search: found {found}, must be one of the searches of {folder.path}, "
            f"0 to {searches - 1}"
        )
    if searches == 1 and search is not None:
        raise UserError(f"--search: found {search}, but {folder.path} holds one search")
    parts = (_NETWORK, _FITNESS) if front is None else (_NETWORK, _FITNESS, _FRONT)
    best = Checkpoints(folder.checkpoints).part(*parts)
    if best is not None and searches > 1:
        best = {path: array[search] for path, array in best.items()}
    if best is None or not (best[_FITNESS] >= 0).all():
        raise UserError(
            f"{folder.path}: has measured no network yet, must have been run for a "
            "generation"
        )
    if front is None:
        return _below(best, _NETWORK)
    place = _place(folder, best, front)
    return {path: many[place] for path, many in _below(best, _MEMBERS).items()}


def _below(arrays: Arrays, prefix: str) -> Arrays:
    return {
        path.removeprefix(prefix): array
        for path, array in arrays.items()
        if path.startswith(prefix)
    }


def _place(folder: RunFolder, arrays: Arrays, number: int) -> int:
    """Where the ``number``-th network of the front lies."""
    own = _below(arrays, _FRONT)
    if not own:
        raise UserError(
            f"--front: found {number}, but {folder.path} has no front, must be left "
            "out: leaf keeps one"
        )
    scores = (jnp.asarray(own[name]) for name in ("primary", "secondary"))
    there = members(Front(None, *scores))
    if not 0 <= number < len(there):
        raise UserError(
            f"--front: found {number}, must be one of the {len(there)} networks of the "
            f"front of {folder.path}, 0, the cheapest, to {len(there) - 1}"
        )
    return there[number]


def network_of(arrays: Arrays, searched: Any, where: Path) -> Any:
    """The network, or the set of modules without its chain, NumPy.

    Args:
      arrays: as ``read_found`` gives them.
      searched: config of the search, whose method tells what it found.
      where: they are from, in words.

    Raises:
      UserError: if an array is missing.
    """

    def array(path, _):
        name = jax.tree_util.keystr(path)
        if name not in arrays:
            raise UserError(f"{where}: has no array {name}, is of another version")
        return arrays[name]

    kind = _OF_LEAF if isinstance(searched, ArchitectureConfig) else _NETWORKS
    kind = _SETS if isinstance(searched, CMTRConfig) else kind
    return jax.tree_util.tree_map_with_path(array, kind)


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Writes the file."""
    named: dict[str, Any] = arrays
    with path.open("wb") as file:
        np.savez(file, **named)


def read_arrays(path: Path) -> Arrays:
    """What ``write_arrays`` wrote.

    Raises:
      UserError: if the file cannot be read.
    """
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: cannot read the network: {error}") from None
