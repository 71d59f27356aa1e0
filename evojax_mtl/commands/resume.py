"""``evojax-mtl resume DIR``: go on with a run, or branch off from it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evojax_mtl.commands.parsing import parse, split_assignments
from evojax_mtl.configs import fields_with, parse_value
from evojax_mtl.errors import UserError
from evojax_mtl.methods import unknown
from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.retrain.networks import is_network, resume_network
from evojax_mtl.runs.retrain.settings import is_retraining
from evojax_mtl.runs.settings import Settings


@dataclass(frozen=True)
class ResumeOptions:
    """Options of ``evojax-mtl resume``."""

    set: tuple[str, ...] = ()
    """FIELD=VALUE of traced fields or generations, changed from the checkpoint on;
    needs --out (assignments)."""

    out: Path | None = None
    """Branch into this new folder and leave DIR as it is (path)."""

    distributed: str = ""
    """As that of evojax-mtl run, of as many processes or others (auto or
    HOST:PORT,PROCESSES,INDEX)."""


def main(arguments: Sequence[str]) -> int:
    """``resume DIR [--set FIELD=VALUE ... --out DIR]``; returns the exit status."""
    words = list(arguments)
    directory = words.pop(0) if words and not words[0].startswith("-") else None
    options = parse(
        ResumeOptions,
        words,
        command="resume DIR",
        description="Goes on from the last complete checkpoint of a run, to the same "
        "bits as a run that was never interrupted.",
        flags=["set", "out", "distributed"],
    )
    if directory is None:
        raise UserError("resume: no run given; usage: evojax-mtl resume DIR")
    folder = RunFolder(Path(directory))
    config = folder.read_config()
    if is_retraining(config):
        if options.set or options.out is not None:
            raise UserError(f"{directory}: a retraining goes on as it was begun")
        if options.distributed:
            raise UserError(f"{directory}: a retraining runs in one process")
        if is_network(config):
            return resume_network(folder)
        from evojax_mtl.runs.retrain.launch import resume as resume_retraining

        return resume_retraining(folder)
    settings = Settings.from_json(config)
    if options.set and options.out is None:
        raise UserError("--set: needs --out, a new folder for the changed run")
    changed = _changed(settings, options.set)
    from evojax_mtl.runs.launch import resume

    return resume(folder, changed, options.out, options.distributed)


def _changed(settings: Settings, words: Sequence[str]) -> Settings:
    config = settings.config
    kind = type(config)
    allowed = fields_with(kind, "traced") + fields_with(kind, "extends")
    changes = {}
    for field, text in split_assignments(words, "--set").items():
        if field not in allowed:
            raise UserError(f"--set: {unknown(field, allowed)}")
        if field in settings.sweep:
            raise UserError(f"--set: {field} is swept in this run and cannot be set")
        changes[field] = parse_value(kind, field, text)
    return dataclasses.replace(settings, config=dataclasses.replace(config, **changes))
