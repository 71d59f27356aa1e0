"""What the final training of a found network is asked to do, and its folder.

Run as a search is (``launch``): one of a single network, whose generations all are
final training (``search.final_training``). Imports no JAX until it runs.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evojax_mtl.codeepneat_configs import AssembledConfig
from evojax_mtl.errors import UserError
from evojax_mtl.final_configs import config_kind
from evojax_mtl.methods import Method, method_on
from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.retrain.settings import COMMAND
from evojax_mtl.runs.settings import FORMAT, Settings


@dataclass(frozen=True)
class NetworkSettings(Settings):
    """The final training of one network.

    Attributes:
      run: folder of the run that found it.
      searched: method of that run.
      searched_tasks: its tasks, whose kind tells methods of one name apart.
      searched_config: its config.
      arrays: the network's; not part of the JSON.
    """

    run: str
    searched: str
    searched_tasks: str
    searched_config: AssembledConfig
    arrays: dict[str, Any]

    @property
    def form(self) -> Method:
        """The method of the search, which here has one network to train."""
        search = getattr(self.searched_config, "search", None)
        form = method_on(self.searched, self.searched_tasks, search)
        return dataclasses.replace(form, mesh_axes=())

    def factory(self) -> Callable[..., Any]:
        """See ``Settings.factory``."""
        from evojax_mtl.runs.retrain.found import network_of
        from evojax_mtl.search.final_training import after

        search: Any = self.form.load()
        kind, config = after(search), self.searched_config
        found = network_of(self.arrays, config, Path(self.run))
        return lambda final, data: kind(final, config, found, data)

    def create(self, path: Path) -> RunFolder:
        """The folder, with the network in it."""
        from evojax_mtl.runs.retrain.found import FILE, write_arrays

        RunFolder.check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            # before the file that makes the folder one of a run
            write_arrays(path / FILE, self.arrays)
        except OSError as error:
            raise UserError(f"--out: {path}: {error.strerror}") from None
        return super().create(path)

    def to_json(self) -> dict[str, Any]:
        """JSON-able; ``read`` reads it back."""
        fields = dataclasses.asdict(dataclasses.replace(self, arrays={}))
        del fields["arrays"]
        return {"format": FORMAT, "command": COMMAND} | fields

    @classmethod
    def read(cls, folder: RunFolder) -> "NetworkSettings":
        """The settings in a folder.

        Raises:
          UserError: if they were written by another version or damaged.
        """
        from evojax_mtl.runs.retrain.found import FILE, read_arrays

        stored = folder.read_config()
        if stored.get("format") != FORMAT:
            raise UserError(
                f"config.json: found format {stored.get('format')}, must be {FORMAT}"
            )
        try:
            own = stored["searched_config"]
            method = method_on(
                stored["searched"], stored["searched_tasks"], own.get("search")
            )
            searched: Any = method.config(**own)
            values: dict[str, Any] = {
                "config": config_kind(searched)(**stored["config"]),
                "searched_config": searched,
                "arrays": read_arrays(folder.path / FILE),
            }
            names = [f.name for f in dataclasses.fields(cls) if f.name not in values]
            values |= {name: stored[name] for name in names}
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"config.json: cannot be read: {error}") from None
        return cls(**values)


def is_network(stored: dict[str, Any]) -> bool:
    """Whether a ``config.json`` is that of the final training of a network."""
    return stored.get("command") == COMMAND and "searched" in stored


def resume_network(folder: RunFolder) -> int:
    """Goes on, to the same bits as a training that was not interrupted.

    Returns:
      Exit status: 0, or 128 plus the number of the signal that ended it.

    Raises:
      UserError: if the checkpoint does not fit the tasks.
    """
    from evojax_mtl.runs import launch

    return launch.resume(folder, NetworkSettings.read(folder), None)
