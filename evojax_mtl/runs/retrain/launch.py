"""Starts and resumes retrainings: from settings to a runner."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from evojax_mtl.errors import UserError
from evojax_mtl.methods import unknown
from evojax_mtl.runs.compilation import CompilationCounter
from evojax_mtl.runs.folder import RunFolder, fresh_folder
from evojax_mtl.runs.launch import announce, compare_versions, load
from evojax_mtl.runs.retrain.genotypes import Found
from evojax_mtl.runs.retrain.plan import Plan, make_plan
from evojax_mtl.runs.retrain.runner import RetrainRunner
from evojax_mtl.runs.retrain.settings import Job, RetrainSettings
from evojax_mtl.runs.signals import Interrupt
from evojax_mtl.tasks.task import Task


def start(
    settings: RetrainSettings,
    found: Found,
    task: str | None,
    wanted: str | None,
    out: Path | None,
) -> int:
    """A new retraining in ``out`` (a fresh folder under ``runs/`` if None).

    Args:
      settings: what is asked, without its jobs.
      found: the genotypes there are.
      task: the one task to train on; None for all.
      wanted: whose genotype all tasks take; None for their own.
      out: the folder.

    Returns:
      Exit status: 0, or 128 plus the number of the signal that ended it.

    Raises:
      UserError: for a wrong task, genotype or size, or a folder that holds a run.
    """
    if out is not None:
        RunFolder.check_free(out)
    began = time.monotonic()
    loaded = load(settings.tasks, settings.data_dir, settings.data)
    tasks = {one.name: one for one in loaded}
    if task is not None and task not in tasks:
        raise UserError(f"--task: {unknown(task, tasks)}")
    names = list(tasks) if task is None else [task]
    jobs = tuple(Job(name, *found.pick(name, wanted)) for name in names)
    settings = dataclasses.replace(settings, jobs=jobs)
    plans = _plans(settings, tasks)
    source = Path(settings.genotype).resolve().stem
    name = f"retrain-{source}-{settings.scale}-seed{settings.seed}"
    path = out or fresh_folder(name)

    def create() -> RunFolder:
        return RunFolder.create(path, settings.to_json())

    return _run(settings, plans, path, create, began, RetrainRunner.start)


def resume(folder: RunFolder) -> int:
    """Goes on with a retraining, to the same bits as one that was not interrupted.

    Returns:
      Exit status, as ``start``.

    Raises:
      UserError: if the checkpoint does not fit the tasks.
    """
    began = time.monotonic()
    settings = RetrainSettings.from_json(folder.read_config())
    loaded = load(settings.tasks, settings.data_dir, settings.data)
    tasks = {one.name: one for one in loaded}
    for job in settings.jobs:
        if job.task not in tasks:
            raise UserError(f"{folder.path}: task {job.task!r}: no longer there")
    compare_versions(folder.read("summary.json").get("versions", {}))
    plans = _plans(settings, tasks)
    return _run(
        settings, plans, folder.path, lambda: folder, began, RetrainRunner.resume
    )


def _plans(settings: RetrainSettings, tasks: dict[str, Task]) -> list[Plan]:
    """The plans, each checked before anything is trained or written."""
    plans = [make_plan(settings, job, tasks[job.task]) for job in settings.jobs]
    checked = set()
    for plan in plans:
        kind = (plan.job.code, plan.task.input_shape, plan.task.classes)
        if kind not in checked:
            plan.abstract()
        checked.add(kind)
    return plans


def _run(
    settings: RetrainSettings,
    plans: list[Plan],
    path: Path,
    create: Callable[[], RunFolder],
    began: float,
    begin: Callable[[RetrainRunner], int],
) -> int:
    facts = announce(settings.seed, path)
    with Interrupt() as interrupt, CompilationCounter() as counter:
        runner = RetrainRunner(
            settings, plans, create(), counter, interrupt, facts, began
        )
        return begin(runner)
