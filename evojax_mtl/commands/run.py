"""``evojax-mtl run METHOD``: one search, or a vectorised sweep of searches."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evojax_mtl.commands.parsing import parse, scan, split_assignments
from evojax_mtl.configs import SCALES, fields_with, parse_value
from evojax_mtl.errors import UserError
from evojax_mtl.methods import METHODS, Method, find_method, method_on, unknown
from evojax_mtl.runs.settings import Settings

MAX_SEED = 2**31 - 1
MAX_SEEDS = 2**16
MESH_AXES = ("population", "tasks", "data")


@dataclass(frozen=True)
class RunOptions:
    """Options that every method has."""

    tasks: str = "glyphs"
    """Sources of tasks, joined by comma (names; see evojax-mtl list tasks)."""

    scale: str = "smoke"
    """Preset of the fields below: smoke, laptop, study, paper, tiny (a name)."""

    seed: int = 0
    """Seed of the search; the k-th of several seeds is this plus k (integer)."""

    seeds: int = 1
    """Searches that run as one program, each with its own seed (searches)."""

    sweep: tuple[str, ...] = ()
    """FIELD=V1,V2,...: one search a value of a traced field, in one program; fields
    and seeds combine as a product (assignments)."""

    out: Path | None = None
    """Folder of the run; None: a fresh one under runs/ (path)."""

    data_dir: Path | None = None
    """Folder of the data sets; None: $EVOJAX_MTL_DATA, else the user cache (path)."""

    mesh: str = ""
    """Devices to spread a sweep's searches over (population=4), or a search's tasks
    (tasks=4), individuals (population=4) or batches (data=4), as the method can; chosen
    to use all cores of a CPU if not given (AXIS=DEVICES)."""

    distributed: str = ""
    """One run of several processes, each started so: auto where Slurm, Open MPI,
    Kubernetes or a TPU pod tells them of each other, else where the first listens, how
    many there are and which this is, from 0 (auto or HOST:PORT,PROCESSES,INDEX)."""

    profile: bool = False
    """Time the phases of each generation apart: training, evaluation and what else the
    method has, as metrics (flag)."""


def main(arguments: Sequence[str]) -> int:
    """``run METHOD [options]``; returns the exit status."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if words[0].startswith("-"):
        raise UserError(f"run: METHOD comes first; allowed: {', '.join(METHODS)}")
    settings, out = read(find_method(words.pop(0)), words)
    from evojax_mtl.runs.launch import start

    return start(settings, out, scan(words, "--distributed") or "")


def read(method: Method, words: Sequence[str]) -> tuple[Settings, Path | None]:
    """The settings that a command line asks for, and the folder it names."""
    import tyro

    sources = scan(words, "--tasks") or method.tasks
    method = method_on(method.name, sources, scan(words, "--search"))
    scale = scan(words, "--scale") or RunOptions.scale
    config = method.configure(scale)
    section = method.name.replace("-", "_")
    target = dataclasses.make_dataclass(
        "Run", [("run", RunOptions), (section, type(config))], frozen=True
    )
    names = [f.name for f in dataclasses.fields(RunOptions)]
    names += [f.name for f in dataclasses.fields(config)]
    parsed = parse(
        tyro.conf.OmitArgPrefixes[target],
        words,
        command=f"run {method.name}",
        description=_description(method, scale),
        default=target(RunOptions(scale=scale, tasks=method.tasks), config),
        flags=names,
    )
    options, config = parsed.run, getattr(parsed, section)
    if not 0 <= options.seed <= MAX_SEED:
        raise UserError(f"--seed: found {options.seed}, must be 0 to {MAX_SEED}")
    if not 1 <= options.seeds <= MAX_SEEDS:
        raise UserError(f"--seeds: found {options.seeds}, must be 1 to {MAX_SEEDS}")
    settings = Settings(
        method=method.name,
        tasks=options.tasks,
        scale=options.scale,
        seed=options.seed,
        seeds=options.seeds,
        sweep=_sweep(config, options.sweep),
        mesh=_mesh(method, options.mesh),
        data_dir=str(options.data_dir.absolute()) if options.data_dir else None,
        profile=options.profile,
        config=config,
    )
    return settings, options.out


def _sweep(config: Any, words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    traced = fields_with(type(config), "traced")
    sweep = {}
    for field, text in split_assignments(words, "--sweep").items():
        if field not in traced:
            raise UserError(f"--sweep: {unknown(field, traced)}")
        values = tuple(
            parse_value(type(config), field, part) for part in text.split(",")
        )
        for value in values:
            dataclasses.replace(config, **{field: value})
        sweep[field] = values
    return sweep


def _mesh(method: Method, text: str) -> dict[str, int]:
    pairs = split_assignments([w for w in text.split(",") if w], "--mesh")
    mesh = {}
    for axis, count in pairs.items():
        if axis not in MESH_AXES:
            raise UserError(f"--mesh: {unknown(axis, MESH_AXES)}")
        if not count.isdecimal() or int(count) < 1:
            raise UserError(
                f"--mesh: found {axis}={count}, must be a number of devices, at least 1"
            )
        allowed = {"population", *method.mesh_axes}
        if int(count) > 1 and axis not in allowed:
            raise UserError(
                f"--mesh: {method.name} cannot spread over {axis!r}; "
                f"allowed: {', '.join(sorted(allowed))}"
            )
        mesh[axis] = int(count)
    return mesh


def _description(method: Method, scale: str) -> str:
    told = f"{method.summary} ({method.paper}). Defaults of scale {scale}."
    others = [f for f in METHODS[method.name].forms if f is not method]
    return told + "".join(
        f" With other tasks, as --tasks {other.tasks}: {other.summary}."
        if other.data != method.data
        else f" With --search {other.search}: {other.summary}."
        for other in others
    )


def _usage() -> str:
    width = max(map(len, METHODS))
    forms = [form for method in METHODS.values() for form in method.forms]
    lines = [f"  {form.name:<{width}}  {form.summary}" for form in forms]
    return "\n".join(
        [
            "usage: evojax-mtl run METHOD [options]",
            "",
            "methods:",
            *lines,
            "",
            f"scales: {', '.join(SCALES)} (tiny is for tests)",
            "",
            "  evojax-mtl run METHOD --help  its options, with units and defaults",
        ]
    )
