"""Checkpoints: complete and checked, or ignored.

A checkpoint is a folder ``GENERATION-TICK`` with Orbax's ``state/`` and a
``manifest.json``: where the run stood, what shapes the state has, and size and SHA-256
of every file. It is written under a hidden name and then renamed. ``restore`` takes the
newest whose files all check, so a damaged one costs the work since the one before.

Several processes each write their part of the arrays, the first of them all else.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
from jax.sharding import SingleDeviceSharding

from evojax_mtl.errors import UserError
from evojax_mtl.runs import processes
from evojax_mtl.runs.folder import warn, write_atomically

KEEP = 3
# Orbax declares its trees with recursive types that type checkers cannot follow.
_save: Callable[[str, Any], None] = ocp.save
# Where devices hold copies of an array, each would cut its part out of it and so
# compile a program an array.
_WHOLE = ocp.options.ArrayOptions(
    saving=ocp.options.ArrayOptions.Saving(use_replica_parallel=False)
)
# How long one of several processes waits for the others' parts, which may have failed.
_PATIENCE = ocp.options.AsyncOptions(timeout_secs=300)
_load: Callable[[str, Any], Any] = ocp.load
_SOME = ocp.options.PyTreeOptions(
    loading=ocp.options.PyTreeOptions.Loading(partial_load=True)
)
_MANIFEST = "manifest.json"
_NAME = re.compile(r"\d{8}-\d{8}")


@dataclass(frozen=True)
class Position:
    """How far a run is.

    Attributes:
      generation: generations completed.
      tick: ticks done of the next one.
      wall_seconds: time that the run has taken up to here, in all its processes.
      sessions: processes that have worked on it.
    """

    generation: int = 0
    tick: int = 0
    wall_seconds: float = 0.0
    sessions: int = 1


def _leaves(state: Any) -> dict[str, Any]:
    """Arrays of a state by path; empty ones, which Orbax refuses, are left out."""
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): x for path, x in flat if x.size}


def _shapes(state: Any) -> dict[str, str]:
    return {path: f"{x.dtype}{list(x.shape)}" for path, x in _leaves(state).items()}


def _shape_of(told: str) -> tuple[tuple[int, ...], str]:
    """Shape and type of an array, as ``_shapes`` tells them."""
    kind, _, sides = told.removesuffix("]").partition("[")
    return tuple(int(side) for side in sides.split(",") if side.strip()), kind


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checkpoints:
    """The checkpoints of one run.

    Attributes:
      path: the folder that holds them.
      cost: how long the last one took to write (seconds).
    """

    def __init__(self, path: Path) -> None:
        """Those in ``path``, which need not exist yet."""
        self.path = path
        self.cost = 0.0
        # Orbax tells of every save and of its own asynchronous machinery.
        logging.getLogger("absl").setLevel(logging.ERROR)

    def names(self) -> list[str]:
        """Names of the checkpoints there are, oldest first."""
        if not self.path.is_dir():
            return []
        names = (entry.name for entry in self.path.iterdir())
        return sorted(name for name in names if _NAME.fullmatch(name))

    def generation(self) -> int:
        """Generations that the newest checkpoint has run; 0 if there is none."""
        names = self.names()
        return int(names[-1].split("-")[0]) if names else 0

    def save(self, state: Any, position: Position, static: dict[str, Any]) -> bool:
        """Writes one checkpoint and drops the oldest beyond the last three.

        Args:
          state: pytree of arrays, typed keys among them.
          position: where the run stands.
          static: JSON-able; what ``template`` in ``restore`` is given.

        Returns:
          Whether it was written; if not, one line says why, and the run may go on.
        """
        begin = time.monotonic()
        name = f"{position.generation:08}-{position.tick:08}"
        partial = self.path / f".partial-{name}"

        def empty():
            self._remove(partial)
            partial.mkdir(parents=True)

        def arrays():
            wait = _PATIENCE if processes.several() else None
            with ocp.Context(array_options=_WHOLE, async_options=wait):
                _save(str((partial / "state").absolute()), _leaves(state))

        def complete():
            self._complete(partial, name, state, position, static)

        first = processes.is_first()
        for step in (empty, arrays, complete):
            reason = _attempt(step) if first or step is arrays else ""
            if processes.most(bool(reason)):
                break
        else:
            for old in self.names()[:-KEEP] if first else ():
                self._remove(self.path / old)
            self.cost = time.monotonic() - begin
            return True
        if first:
            self._remove(partial)
        if reason:
            warn(f"checkpoint {name} could not be written, going on: {reason}")
        return False

    def _complete(
        self,
        partial: Path,
        name: str,
        state: Any,
        position: Position,
        static: dict[str, Any],
    ) -> None:
        """Gives a checkpoint its manifest and its name."""
        files = sorted(p for p in partial.rglob("*") if p.is_file())
        manifest = {
            "position": asdict(position),
            "static": static,
            "leaves": _shapes(state),
            "files": {
                str(p.relative_to(partial)): [p.stat().st_size, _digest(p)]
                for p in files
            },
        }
        write_atomically(partial / _MANIFEST, json.dumps(manifest, indent=1))
        self._remove(self.path / name)
        partial.rename(self.path / name)

    def restore(
        self, template: Callable[[dict[str, Any]], Any]
    ) -> tuple[Any, Position] | None:
        """The newest state whose files are all as they were written.

        Args:
          template: from the stored ``static`` to the abstract state
            (``jax.ShapeDtypeStruct`` leaves, with a sharding where there is a mesh).

        Returns:
          State and position, or None if there is no complete checkpoint.

        Raises:
          UserError: if the checkpoint is whole but of another shape.
        """
        for folder, manifest in self._whole():
            abstract = template(manifest["static"])
            _check_shapes(folder, manifest["leaves"], _shapes(abstract))
            device = SingleDeviceSharding(jax.local_devices()[0])
            placed = {
                path: jax.ShapeDtypeStruct(
                    x.shape, x.dtype, sharding=x.sharding or device
                )
                for path, x in _leaves(abstract).items()
            }
            loaded = _load(str((folder / "state").absolute()), placed)
            return _rebuild(abstract, loaded), Position(**manifest["position"])
        return None

    def part(self, *prefixes: str) -> dict[str, np.ndarray] | None:
        """Some arrays of the newest whole checkpoint, by path.

        Args:
          prefixes: what the paths of the wanted ones begin with, as ``.best.network``.

        Returns:
          None if there is no complete checkpoint.
        """
        device = SingleDeviceSharding(jax.local_devices()[0])
        for folder, manifest in self._whole():
            wanted = {
                path: jax.ShapeDtypeStruct(*_shape_of(told), sharding=device)
                for path, told in manifest["leaves"].items()
                if path.startswith(prefixes)
            }
            with ocp.Context(pytree_options=_SOME):
                loaded = _load(str((folder / "state").absolute()), wanted)
            return {path: np.asarray(array) for path, array in loaded.items()}
        return None

    def _whole(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Folders and manifests of those whose files all check, newest first."""
        for name in reversed(self.names()):
            folder = self.path / name
            try:
                manifest = self._check(folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                warn(f"checkpoint {name} is damaged, trying the one before: {error}")
                continue
            yield folder, manifest

    def _check(self, folder: Path) -> dict[str, Any]:
        """The manifest, after comparing every file with it."""
        if not (folder / _MANIFEST).exists():
            raise ValueError(f"has no {_MANIFEST}")
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        Position(**manifest["position"])
        for name, (size, digest) in manifest["files"].items():
            path = folder / name
            if not path.exists():
                raise ValueError(f"{name} is missing")
            if path.stat().st_size != size:
                found = path.stat().st_size
                raise ValueError(f"{name} has {found} bytes, must have {size}")
            if _digest(path) != digest:
                raise ValueError(f"{name} has another checksum")
        return manifest

    @staticmethod
    def _remove(path: Path) -> None:
        """Deletes a checkpoint, out of sight first: a kill leaves none half there."""
        if not path.exists():
            return
        if not path.name.startswith("."):
            hidden = path.with_name(f".old-{path.name}-{os.getpid()}")
            path.rename(hidden)
            path = hidden
        shutil.rmtree(path, ignore_errors=True)


def _attempt(step: Callable[[], None]) -> str:
    """Why a step could not be done; empty if it was."""
    try:
        step()
    except (OSError, ValueError, RuntimeError) as error:
        # Full disks reach here as OSError or, from TensorStore, ValueError.
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def _check_shapes(folder: Path, stored: dict[str, str], wanted: dict[str, str]) -> None:
    for path in sorted(stored.keys() | wanted.keys()):
        if stored.get(path) != wanted.get(path):
            raise UserError(
                f"{folder}: array {path} is {stored.get(path, 'missing')}, this "
                f"version with these tasks needs {wanted.get(path, 'none')}"
            )


def _rebuild(abstract: Any, loaded: dict[str, Any]) -> Any:
    """The state's tree from its arrays by path; empty ones are made anew."""
    flat, structure = jax.tree_util.tree_flatten_with_path(abstract)
    leaves = []
    for path, x in flat:
        array = loaded.get(jax.tree_util.keystr(path))
        if array is None:
            array = processes.placed(np.zeros(x.shape, x.dtype), x.sharding)
        leaves.append(_unplaced(array) if x.sharding is None else array)
    return jax.tree.unflatten(structure, leaves)


def _unplaced(array: jax.Array) -> jax.Array:
    """``array`` without a device of its own, as those of a new run.

    Orbax ties arrays to a device; a program that takes them so, and its own results
    otherwise, would be compiled twice.
    """
    if not array.committed:
        return array
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = jax.device_put(np.asarray(jax.random.key_data(array)))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    return jax.device_put(np.asarray(array))
