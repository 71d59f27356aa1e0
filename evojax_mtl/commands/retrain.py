"""``evojax-mtl retrain GENOTYPE``: what was found, trained from scratch.

Cells here; the networks of searches that assemble them in ``retrain_networks``.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from evojax_mtl.commands import retrain_networks
from evojax_mtl.commands.parsing import parse, scan
from evojax_mtl.commands.run import MAX_SEED
from evojax_mtl.errors import UserError
from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.retrain.networks import is_network, resume_network
from evojax_mtl.runs.retrain.settings import (
    RetrainSettings,
    is_retraining,
    parts_of,
    preset,
)

_DEFAULT_TASKS = "digits:digit"
_USAGE = "usage: evojax-mtl retrain GENOTYPE|RUN [options]; retrain --resume DIR"


@dataclass(frozen=True)
class RetrainOptions:
    """Options that do not depend on the network."""

    tasks: str = _DEFAULT_TASKS
    """Sources of tasks, joined by comma; those of the run if GENOTYPE is one (names;
    see evojax-mtl list tasks)."""

    task: str | None = None
    """Train on this task of the source alone; None: on each of them (a name)."""

    # A field cannot be called so: it is a keyword of Python.
    origin: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Take the genotype found on this task; None: each task's own (a name)."""

    search: int | None = None
    """Take the genotypes of this search of a sweep, counted from 0 (a number)."""

    network: str = "emt-nas"
    """Plain network of the cells: emt-nas, as searched, or darts, as KTNAS retrains
    (a name)."""

    scale: str = "smoke"
    """Preset of the fields below: smoke, laptop, study, paper, tiny (a name)."""

    recipe: str = "cifar"
    """Training that the scale starts from: cifar, as KTNAS trains, or imagenet, as
    DARTS does on ImageNet, with its stem (a name)."""

    seed: int = 0
    """Seed of weights, order and augmentation (integer)."""

    out: Path | None = None
    """Folder of the retraining; None: a fresh one under runs/ (path)."""

    data_dir: Path | None = None
    """Folder of the data sets; None: that of the run, else $EVOJAX_MTL_DATA, else the
    user cache (path)."""

    resume: Path | None = None
    """Go on with the retraining in this folder; takes no other option (path)."""


def main(arguments: Sequence[str]) -> int:
    """``retrain GENOTYPE [options]``; returns the exit status."""
    words = list(arguments)
    if scan(words, "--resume") is not None:
        return _resume(words)
    genotype = words.pop(0) if words and not words[0].startswith("-") else None
    run = _run_of(genotype)
    if genotype is not None and run and run["method"] in retrain_networks.METHODS:
        return retrain_networks.main(genotype, run, words)
    settings, options = _read(genotype, run, words)
    if genotype is None:
        raise UserError(f"retrain: no genotype given; {_USAGE}")
    if options.out is not None:
        RunFolder.check_free(options.out)
    from evojax_mtl.runs.retrain.genotypes import find
    from evojax_mtl.runs.retrain.launch import start

    found = find(genotype, options.search)
    return start(settings, found, options.task, options.origin, options.out)


def _resume(words: list[str]) -> int:
    folder = RunFolder(Path(scan(words, "--resume") or ""))
    if len(words) > 2 or not words[0].startswith("--resume"):
        raise UserError(
            f"--resume: takes no other option; {folder.path}/config.json has them"
        )
    config = folder.read_config()
    if is_network(config):
        return resume_network(folder)
    if not is_retraining(config):
        raise UserError(
            f"--resume: {folder.path} is no retraining; go on with it by: "
            "evojax-mtl resume"
        )
    from evojax_mtl.runs.retrain.launch import resume

    return resume(folder)


def _read(
    genotype: str | None, run: dict[str, Any] | None, words: Sequence[str]
) -> tuple[RetrainSettings, RetrainOptions]:
    """What a command line asks for, its jobs aside."""
    network = scan(words, "--network") or RetrainOptions.network
    scale = scan(words, "--scale") or RetrainOptions.scale
    recipe = scan(words, "--recipe") or RetrainOptions.recipe
    own = run is not None and scan(words, "--tasks") is None
    images = _images(run["config"]) if own else {}
    configs = preset(network, scale, images, recipe)
    options = RetrainOptions(
        tasks=run["tasks"] if own else _DEFAULT_TASKS,
        network=network,
        scale=scale,
        recipe=recipe,
        data_dir=Path(run["data_dir"]) if own and run.get("data_dir") else None,
    )
    parts = {"retrain": RetrainOptions} | parts_of(network)
    target = dataclasses.make_dataclass("Retrain", parts.items(), frozen=True)
    parsed = parse(
        tyro.conf.OmitArgPrefixes[target],
        words,
        command="retrain GENOTYPE",
        description="Trains cells from scratch as a plain network and says how good "
        "it is. GENOTYPE is the folder of a run, a JSON file, or one of the published "
        "emt-c10, emt-c100, kt-c10, kt-c100. With RUN, the folder of a run of "
        f"{', '.join(retrain_networks.METHODS)}, in its place trains the network that "
        "it found; retrain RUN --help tells its options. Defaults of scale "
        f"{scale}, recipe {recipe}, network {network}.",
        default=target(options, **configs),
        flags=["from"]
        + [f.name for kind in parts.values() for f in dataclasses.fields(kind)],
    )
    options = parsed.retrain
    if not 0 <= options.seed <= MAX_SEED:
        raise UserError(f"--seed: found {options.seed}, must be 0 to {MAX_SEED}")
    settings = RetrainSettings(
        genotype=genotype or "",
        tasks=options.tasks,
        network=network,
        scale=scale,
        recipe=recipe,
        seed=options.seed,
        data_dir=str(options.data_dir.absolute()) if options.data_dir else None,
        architecture=parsed.architecture,
        training=parsed.training,
        data=parsed.data,
    )
    return settings, options


def _run_of(genotype: str | None) -> dict[str, Any] | None:
    """``config.json`` of the run that a genotype names; None if it names none."""
    if genotype is None or not Path(genotype).is_dir():
        return None
    config = RunFolder(Path(genotype)).read_config()
    if is_retraining(config):
        raise UserError(f"{genotype}: is a retraining, must be the folder of a search")
    if not isinstance(config.get("tasks"), str) or "config" not in config:
        raise UserError(f"{genotype}: not the folder of a run: its config has no tasks")
    return config


def _images(config: dict[str, Any]) -> dict[str, Any]:
    """What the run's own config says about its images."""
    names = ("image_size", "max_tasks", "max_classes")
    return {name: config[name] for name in names if name in config}
