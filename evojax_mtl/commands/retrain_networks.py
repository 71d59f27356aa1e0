"""``evojax-mtl retrain RUN``: a network that a run found, trained from scratch."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from evojax_mtl.codeepneat_configs import AssembledConfig
from evojax_mtl.commands.parsing import parse, scan
from evojax_mtl.commands.run import MAX_SEED
from evojax_mtl.errors import UserError
from evojax_mtl.final_configs import final_preset
from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.settings import Settings

METHODS = ("cm", "cmsr", "cmtr", "leaf")
"""Whose runs find networks; LEAF's where it searches architectures."""


@dataclass(frozen=True)
class NetworkOptions:
    """Options that do not depend on the data."""

    tasks: str = ""
    """Sources of tasks, joined by comma, of the kind of the run's; those of the run
    unless told (names; see evojax-mtl list tasks)."""

    search: int | None = None
    """Take what this search of a sweep found, counted from 0 (a number)."""

    front: int | None = None
    """Take this network of the front that leaf kept in place of the best, counted from
    0, the cheapest, in the order of best.json (a number)."""

    scale: str = ""
    """Preset of the fields below: smoke, laptop, study, paper, tiny; that of the run
    unless told (a name)."""

    augment: str | None = None
    """What flip, rotation and translation start from: on, half of the images mirrored,
    10 degrees, a tenth of a side; off; None: the scale's (a name)."""

    seed: int = 0
    """Seed of weights, order, dropout and augmentation (integer)."""

    out: Path | None = None
    """Folder of the retraining; None: a fresh one under runs/ (path)."""

    data_dir: Path | None = None
    """Folder of the data sets; None: that of the run, else $EVOJAX_MTL_DATA, else the
    user cache (path)."""

    resume: Path | None = None
    """Go on with the retraining in this folder; takes no other option (path)."""


def main(run: str, config: dict[str, Any], words: Sequence[str]) -> int:
    """``retrain RUN [options]``; returns the exit status.

    Args:
      run: folder of a run of ``METHODS``.
      config: its ``config.json``.
      words: the options.
    """
    searched = Settings.from_json(config)
    own = searched.config
    if not isinstance(own, AssembledConfig):
        raise UserError(
            f"{run}: a run of {searched.method} --search {own.search} assembles no "
            "networks, must be one of --search architecture"
        )
    scale = scan(words, "--scale") or searched.scale
    final = final_preset(own, scale, scan(words, "--augment"))
    options = NetworkOptions(
        tasks=searched.tasks,
        scale=scale,
        data_dir=Path(searched.data_dir) if searched.data_dir else None,
    )
    parts = {"retrain": NetworkOptions, "final": type(final)}
    target = dataclasses.make_dataclass("Retrain", parts.items(), frozen=True)
    parsed = parse(
        tyro.conf.OmitArgPrefixes[target],
        words,
        command=f"retrain {run}",
        description=f"Trains the network that {run}, a run of {searched.method}, "
        "found from scratch and longer, and tests its best snapshot. Defaults of "
        f"scale {scale}.",
        default=target(options, final),
        flags=[f.name for kind in parts.values() for f in dataclasses.fields(kind)],
    )
    options = parsed.retrain
    if not 0 <= options.seed <= MAX_SEED:
        raise UserError(f"--seed: found {options.seed}, must be 0 to {MAX_SEED}")
    from evojax_mtl.tasks.sources import check_kind

    check_kind(options.tasks, searched.form.data)
    if options.out is not None:
        RunFolder.check_free(options.out)
    from evojax_mtl.runs import launch
    from evojax_mtl.runs.retrain.found import read_found
    from evojax_mtl.runs.retrain.networks import NetworkSettings

    folder = RunFolder(Path(run))
    arrays = read_found(folder, searched.population, options.search, options.front)
    settings = NetworkSettings(
        method=f"retrain-{searched.method}",
        tasks=options.tasks,
        scale=scale,
        seed=options.seed,
        seeds=1,
        sweep={},
        mesh={},
        data_dir=str(options.data_dir.absolute()) if options.data_dir else None,
        profile=False,
        config=parsed.final,
        run=str(folder.path.absolute()),
        searched=searched.method,
        searched_tasks=searched.tasks,
        searched_config=own,
        arrays=arrays,
    )
    return launch.start(settings, options.out)
