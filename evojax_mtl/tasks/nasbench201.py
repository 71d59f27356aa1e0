"""``nasbench201``: the 15,625 cells of NAS-Bench-201, measured on three data sets.

A cell has four nodes and an operation on each of the six edges between them. The table
is read from ``nasbench201*.npz`` (fields ``arch_str``, and for ``k`` in ``c10``,
``c100``, ``in16``: ``k_val_200``, ``k_test_200``, ``k_val_12``, ``k_test_12`` in
percent, ``k_flops_M``, ``k_params_M``), or from what ``nasbench201_official`` reads.

The argument names data sets and at most one metric, joined by ``+``:
``nasbench201:cifar10+cifar100``, ``nasbench201:test_200``. A search sees ``METRIC`` and
is tested on the test metric of the same number of epochs.

Dong, Yang 2020, arXiv:2001.00326.
"""

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

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
DATASETS = {
    "cifar10": ("c10", (10, 32)),
    "cifar100": ("c100", (100, 32)),
    "imagenet16-120": ("in16", (120, 16)),
}
"""Prefix of a data set's fields; classes and pixels a side of its images."""
METRICS = ("val_200", "test_200", "val_12", "test_12")
WHERE = (
    "or the archive NATS-tss-v1_0-*-simple or NAS-Bench-201-v1_1-*.pth, from "
    "https://github.com/D-X-Y/NATS-Bench"
)

Read = Callable[[str], np.ndarray]
"""The values of a field such as ``c10_val_200``, in the order of the space."""


def space(name: str = "NAS-Bench-201") -> Space:
    """All cells, the operation of the last edge changing fastest."""
    genes = product_genes((len(OPERATIONS),) * len(EDGES))
    strings = tuple(cell_string(cell) for cell in genes.tolist())
    return Space(name, genes, (5,) * 6, strings, OPERATIONS, EDGES)


def cell_string(cell: list[int]) -> str:
    """How NAS-Bench-201 writes a cell: a group of incoming edges a node."""
    groups = [
        "|".join(
            f"{OPERATIONS[operation]}~{source}"
            for (source, target), operation in zip(EDGES, cell, strict=True)
            if target == node
        )
        for node in (1, 2, 3)
    ]
    return "+".join(f"|{group}|" for group in groups)


def load(argument: str | None, request: Request) -> list[TableTask]:
    """One task a data set.

    Raises:
      UserError: an unknown word in ``argument``; a file is missing, there twice, or not
        a whole table of finite metrics.
    """
    names, metric = parse(argument)
    path = find_npz("nasbench201", request.folders)
    cells = space()
    if path is not None:
        read = _npz(path, cells)
    else:
        from evojax_mtl.tasks import nasbench201_official

        found = nasbench201_official.find(request.folders)
        if found is None:
            raise missing("nasbench201.npz", request.folders, WHERE)
        path, read = found, nasbench201_official.reader(found, cells)
    names = names[: request.max_tasks]
    return [_task(path, name, metric, cells, read) for name in names]


def parse(argument: str | None) -> tuple[list[str], str]:
    """Data sets and metric that an argument names: all, and ``val_200``, by default."""
    return choose("nasbench201", argument, DATASETS, METRICS, "metrics")


def _npz(path: Path, cells: Space) -> Read:
    arrays = Arrays(path)
    strings = [str(string) for string in arrays.read("arch_str")]
    rows = check_space(str(path), cells.name, strings, cells.strings)

    def read(field: str) -> np.ndarray:
        values = arrays.read(field)
        if values.shape != rows.shape:
            raise UserError(
                f"{path}: {field}: found shape {values.shape}; allowed: {rows.shape}"
            )
        return values[rows]

    return read


def _task(path: Path, name: str, metric: str, cells: Space, read: Read) -> TableTask:
    prefix, image = DATASETS[name]
    nothing = int(np.flatnonzero((cells.genes == 0).all(1))[0])

    def fraction(kind: str) -> np.ndarray:
        field = f"{prefix}_{kind}"
        origin = f"{path}: {field}"
        return check_metric(origin, read(field), cells, (0.0, 100.0), nothing) / 100

    def millions(kind: str) -> np.ndarray:
        field = f"{prefix}_{kind}"
        values = check_metric(
            f"{path}: {field}", read(field), cells, (0.0, np.inf), None
        )
        return values * 1e6

    return TableTask(
        name=name,
        space=cells,
        validation=fraction(metric),
        test=fraction(f"test_{metric.rpartition('_')[2]}"),
        metric="accuracy",
        multiply_adds=millions("flops_M"),
        parameters=millions("params_M"),
        image=image,
    )
