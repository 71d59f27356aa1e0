"""Starts and resumes runs: from settings to a runner."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.table_knowledge import Tables
from evojax_mtl.runs import processes, provenance
from evojax_mtl.runs.checkpoints import Checkpoints
from evojax_mtl.runs.compilation import CompilationCounter, enable_persistent_cache
from evojax_mtl.runs.devices import choose_mesh, make_mesh, resumed_mesh, use_cores
from evojax_mtl.runs.folder import RunFolder, fresh_folder, warn
from evojax_mtl.runs.program import Program
from evojax_mtl.runs.runner import Runner
from evojax_mtl.runs.settings import Settings
from evojax_mtl.runs.signals import Interrupt
from evojax_mtl.tasks import sources
from evojax_mtl.tasks.dense_dataset import ResidentScenes
from evojax_mtl.tasks.streaming import task_data
from evojax_mtl.tasks.text_dataset import ResidentTexts


def start(settings: Settings, out: Path | None, distributed: str = "") -> int:
    """A new run in ``out`` (a fresh folder under ``runs/`` if None).

    Args:
      settings: what to run.
      out: its folder.
      distributed: see ``processes.join``.

    Returns:
      Exit status: 0, or 128 plus the number of the signal that ended it.

    Raises:
      UserError: for tasks that cannot be loaded or a folder that holds a run.
    """
    use_cores()
    processes.join(distributed)
    if out is not None:
        RunFolder.check_free(out)
    began = time.monotonic()
    kind = settings.form.data
    tasks = load(settings.tasks, settings.data_dir, settings.config, kind)
    settings = dataclasses.replace(settings, mesh=choose_mesh(settings, len(tasks)))
    name = f"{settings.method}-{settings.scale}-seed{settings.seed}"
    path = out or Path(processes.of_first(str(fresh_folder(name))))

    def begin(runner: Runner) -> int:
        return runner.start()

    def create() -> RunFolder:
        return settings.create(path)

    return _run(settings, tasks, path, create, begin, began)


def resume(
    folder: RunFolder, settings: Settings, out: Path | None, distributed: str = ""
) -> int:
    """Goes on with a run, in its folder or branched into ``out``.

    Args:
      folder: the run's.
      settings: its settings, or changed ones.
      out: a new folder; None: that of the run.
      distributed: see ``processes.join``; the processes may be others than before.

    Returns:
      Exit status, as ``start``.

    Raises:
      UserError: if the checkpoint does not fit the tasks or the settings.
    """
    use_cores(math.prod(settings.mesh.values()))
    processes.join(distributed)
    if out is not None:
        RunFolder.check_free(out)
    done = Checkpoints(folder.checkpoints).generation()
    if done > settings.config.generations:
        raise UserError(
            f"--set: found generations={settings.config.generations}, must be at least "
            f"{done}, which the run has already done"
        )
    began = time.monotonic()
    kind = settings.form.data
    tasks = load(settings.tasks, settings.data_dir, settings.config, kind)
    settings = dataclasses.replace(settings, mesh=resumed_mesh(settings, len(tasks)))

    def create() -> RunFolder:
        return folder if out is None else folder.branch(out, settings.to_json())

    def begin(runner: Runner) -> int:
        restored = runner.checkpoints.restore(runner.program.template)
        if restored is None:
            warn("no complete checkpoint: starting from the beginning")
            runner.folder.trim_metrics(-1)
            return runner.start()
        state, position = restored
        runner.folder.trim_metrics(position.generation)
        print(
            f"resuming after generation {position.generation}, tick {position.tick}",
            flush=True,
        )
        position = dataclasses.replace(position, sessions=position.sessions + 1)
        return runner.run(state, position)

    compare_versions(folder.read("summary.json").get("versions", {}))
    return _run(settings, tasks, out or folder.path, create, begin, began)


def load(
    names: str,
    data_dir: str | None,
    limits: Any,
    data: sources.Kind = "images",
) -> Any:
    """The tasks of some sources.

    Args:
      names: the sources, joined by comma.
      data_dir: folder of the data sets; None for the default.
      limits: has ``max_tasks``, for images ``image_size`` and ``max_classes``, and for
        texts ``text_length``.
      data: what the tasks must be.

    Returns:
      A list of ``Task``, ``DenseTask``, ``TextTask`` or ``TableTask``, as ``data``
      says.

    Raises:
      UserError: they cannot be loaded, or are not what they must be.
    """
    sources.check_kind(names, data)
    return sources.load_tasks(
        names,
        data_dir=Path(data_dir) if data_dir else None,
        image_size=getattr(limits, "image_size", None),
        text_length=getattr(limits, "text_length", None),
        max_tasks=limits.max_tasks,
        max_classes=getattr(limits, "max_classes", None),
    )


def build(settings: Settings, tasks: Sequence[Any]) -> Program:
    """The program of a run."""
    kind = settings.form.data
    if kind == "table":
        loaded = Tables(settings.config, tasks)
    elif kind == "scenes":
        loaded = ResidentScenes(tasks)
    elif kind == "texts":
        loaded = ResidentTexts(tasks)
    else:
        loaded = task_data(tasks, settings.config.resident)
    data = loaded.dataset(0)
    factory = settings.factory()
    members = settings.members
    configs = [dataclasses.replace(settings.config, **m.changes) for m in members]
    rates = [factory(config, data).hyperparameters() for config in configs]
    # counts set capacities, which must do for every member
    counts = {
        name: max(getattr(config, name) for config in configs)
        for name, value in members[0].changes.items()
        if isinstance(value, int)
    }
    config = dataclasses.replace(settings.config, **counts)
    mesh = make_mesh(settings.mesh)
    spreads = mesh is not None and settings.population == 1
    return Program(
        factory(config, data, mesh) if spreads else factory(config, data),
        loaded,
        [member.seed for member in members],
        rates if settings.sweep else rates[:1],
        mesh,
    )


def _run(
    settings: Settings,
    tasks: Sequence[Any],
    path: Path,
    create: Callable[[], RunFolder],
    begin: Callable[[Runner], int],
    began: float,
) -> int:
    facts = announce(settings.seed, path)
    with Interrupt() as interrupt, CompilationCounter() as counter:
        program = build(settings, tasks)
        folder = _created(path, create)
        runner = Runner(
            program, settings, folder, tasks, counter, interrupt, facts, began
        )
        return begin(runner)


def _created(path: Path, create: Callable[[], RunFolder]) -> RunFolder:
    """The run's folder: the first process makes it when all have looked."""
    if not processes.several():
        return create()
    processes.most(0)
    folder, error = RunFolder(path, writes=False), None
    if processes.is_first():
        try:
            folder = create()
        except (UserError, OSError) as caught:
            error = caught
    failed = processes.most(error is not None)
    if error is not None:
        raise error
    if failed:
        raise UserError("--out: the first process could not make the run's folder")
    return folder


def announce(seed: int, path: Path) -> dict[str, Any]:
    """Begins to work with JAX; prints the run's first line and returns its facts."""
    enable_persistent_cache()
    facts = provenance.provenance()
    print(provenance.start_line(facts, seed, path), flush=True)
    if provenance.may_differ(facts["devices"]):
        warn(
            "the bits may differ from run to run on this GPU; "
            "XLA_FLAGS=--xla_gpu_deterministic_ops=true makes them equal"
        )
    return facts


def compare_versions(before: dict[str, Any]) -> None:
    """Warns where the versions that a run was begun with are no longer the same."""
    now = provenance.versions()
    changed = [p for p in now if p in before and before[p] != now[p]]
    if changed:
        names = ", ".join(f"{p} {before[p]} -> {now[p]}" for p in changed)
        warn(f"other versions than before, the bits may differ: {names}")
