"""``transnasbench101``: the backbones of TransNAS-Bench-101, measured on seven tasks.

Two spaces: ``micro``, the default, 4,096 cells of four nodes with an operation on each
of six edges; ``macro``, 3,256 networks of four to six modules, each of which may halve
the resolution, double the channels, or both. Read from
``transnasbench101_micro*.npz`` or ``transnasbench101_macro*.npz`` (``arch_str``,
``tasks``, and ``val``, ``flops_M``, ``params_M`` of shape ``(A, tasks)``), or from what
``transnasbench101_official`` reads.

Values are those after the last epoch, higher is better: accuracies as fractions, the
negative of a loss, structural similarity. There is no test metric apart: the one of
validation stands for it where the file has no ``test``.

The argument names tasks and at most one space, joined by ``+``:
``transnasbench101:class_object+class_scene+room_layout``, the default.

Duan et al. 2021, arXiv:2105.11871.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.files import Arrays, find_npz, missing
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.tabular import (
    Space,
    TableTask,
    check_metric,
    check_space,
    choose,
    product_genes,
)

METRICS = {
    "class_object": "accuracy",
    "class_scene": "accuracy",
    "room_layout": "negative loss",
    "jigsaw": "accuracy",
    "segmentsemantic": "pixel accuracy",
    "normal": "structural similarity",
    "autoencoder": "structural similarity",
}
"""The seven tasks and their metrics."""
CLASSES = {"class_object": 75, "class_scene": 47, "jigsaw": 1000}
_RANGES = {
    "accuracy": (0.0, 100.0),
    "pixel accuracy": (0.0, 100.0),
    "negative loss": (-np.inf, 0.0),
    "structural similarity": (-1.0, 1.0),
}
DEFAULT = ("class_object", "class_scene", "room_layout")
SPACES = ("micro", "macro")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
MODULES = ("absent", "plain", "wider", "smaller", "wider and smaller")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
WHERE = (
    "or the archive transnas-bench_v*.pth, from "
    "https://github.com/yawen-d/TransNASBench"
)

Read = Callable[[str, str], np.ndarray | None]
"""A field (``val``, ``test``, ``flops_M``, ``params_M``) of a task, in the order of the
space; None where there is no such field."""


def micro() -> Space:
    """All cells."""
    genes = product_genes((len(OPERATIONS),) * len(EDGES))
    strings = tuple("64-41414-{}_{}{}_{}{}{}".format(*cell) for cell in genes.tolist())
    return Space(
        "TransNAS-Bench-101 micro", genes, (4,) * 6, strings, OPERATIONS, EDGES
    )


def macro() -> Space:
    """All networks: 1 to 4 modules that halve, 1 to 3 that double the channels."""
    found = []
    for length in (4, 5, 6):
        for kinds in itertools.product((1, 2, 3, 4), repeat=length):
            wider = sum(kind in (2, 4) for kind in kinds)
            smaller = sum(kind in (3, 4) for kind in kinds)
            if 1 <= wider <= 3 and 1 <= smaller <= 4:
                found.append(kinds)
    genes = np.array([kinds + (0,) * (6 - len(kinds)) for kinds in found], np.int32)
    strings = tuple(f"64-{''.join(map(str, kinds))}-basic" for kinds in found)
    return Space("TransNAS-Bench-101 macro", genes, (5,) * 6, strings, MODULES)


def load(argument: str | None, request: Request) -> list[TableTask]:
    """One task a task of the benchmark.

    Raises:
      UserError: an unknown word in ``argument``; a file is missing, there twice, or not
        a whole table of finite metrics.
    """
    names, kind = parse(argument)
    space = micro() if kind == "micro" else macro()
    file = f"transnasbench101_{kind}"
    path = find_npz(file, request.folders)
    if path is not None:
        read = _npz(path, space)
    else:
        from evojax_mtl.tasks import transnasbench101_official

        found = transnasbench101_official.find(request.folders)
        if found is None:
            raise missing(f"{file}.npz", request.folders, WHERE)
        path, read = found, transnasbench101_official.reader(found, space, kind)
    names = names[: request.max_tasks]
    return [_task(path, name, space, read) for name in names]


def parse(argument: str | None) -> tuple[list[str], str]:
    """Tasks and space that an argument names."""
    return choose(
        "transnasbench101", argument, METRICS, SPACES, "spaces", default=DEFAULT
    )


def _npz(path: Path, space: Space) -> Read:
    arrays = Arrays(path)
    strings = [str(string) for string in arrays.read("arch_str")]
    rows = check_space(str(path), space.name, strings, space.strings)
    columns = [str(name) for name in arrays.read("tasks")]

    def read(field: str, task: str) -> np.ndarray | None:
        if field == "test" and field not in arrays:
            return None
        values = arrays.read(field)
        if values.shape != (len(rows), len(columns)):
            raise UserError(
                f"{path}: {field}: found shape {values.shape}; allowed: "
                f"{(len(rows), len(columns))}, architectures and tasks"
            )
        if task not in columns:
            raise UserError(
                f"{path}: tasks: found {', '.join(columns)}; allowed: with {task}"
            )
        return values[rows, columns.index(task)]

    return read


def _task(path: Path, name: str, space: Space, read: Read) -> TableTask:
    metric = METRICS[name]
    low, high = _RANGES[metric]
    nothing = np.flatnonzero((space.genes == 0).all(1))
    worst = int(nothing[0]) if nothing.size else None

    def checked(
        field: str, allowed: tuple[float, float], worst: int | None
    ) -> np.ndarray | None:
        values = read(field, name)
        if values is None:
            return None
        origin = f"{path}: {field} of {name}"
        return check_metric(origin, values, space, allowed, worst)

    def sized(field: str) -> np.ndarray:
        values = checked(field, (0.0, np.inf), None)
        return np.zeros(len(space)) if values is None else values * 1e6

    scale = 100.0 if high == 100 else 1.0
    validation = checked("val", (low, high), worst)
    test = checked("test", (low, high), worst)
    if validation is None:
        raise UserError(f"{path}: no validation metric of {name}")
    return TableTask(
        name=name,
        space=space,
        validation=validation / scale,
        test=(validation if test is None else test) / scale,
        metric=metric,
        multiply_adds=sized("flops_M"),
        parameters=sized("params_M"),
        image=(CLASSES[name], 256) if name in CLASSES else None,
    )
