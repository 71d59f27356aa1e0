"""What a search on tables knows without evaluating: embeddings and proxies.

None of it reads a measured metric: embeddings are of the architectures' graphs, proxies
of their networks before training. What takes seconds to compute is kept on disk.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.synflow_cache import cached_synflow
from evojax_mtl.evaluation.table_embeddings import vectors
from evojax_mtl.evaluation.tabular import TableData, table_data
from evojax_mtl.tasks import nasbench201
from evojax_mtl.tasks.tabular import Space, TableTask


class Tables:
    """The data of a run on tables, with what its config asks for; stays on the device.

    Args:
      config: of the search; its fields ``embedding`` and ``proxy``, where it has them,
        and those of embeddings.
      tasks: tables over one space.

    Raises:
      UserError: the space has no such embedding or proxy.
    """

    def __init__(self, config: Any, tasks: Sequence[TableTask]) -> None:
        """Computes embedding and proxy where they are asked for."""
        embedding = getattr(config, "embedding", None)
        proxy = getattr(config, "proxy", None)
        self._data = table_data(
            tasks,
            proxy=proxies(proxy, tasks) if proxy else None,
            vectors=vectors(embedding, tasks, config) if embedding else None,
        )

    def dataset(self, generation: int) -> TableData:
        """The same tables each generation."""
        return self._data


def proxies(proxy: str, tasks: Sequence[TableTask]) -> np.ndarray:
    """What each architecture promises on each task, ``(T, A)``; higher is better.

    Args:
      proxy: ``synflow``, its mean over initial weights; ``multiply-adds``; ``none``
        promises the same of all; ``auto``: the first of them that there is.
      tasks: tables over one space.
    """
    space = tasks[0].space
    flows = space.operations == nasbench201.OPERATIONS
    if proxy == "none":
        return np.zeros((len(tasks), len(space)))
    if proxy == "synflow" and not flows:
        raise UserError(
            f"--proxy: found synflow, must be multiply-adds or none on {space.name}: "
            "synflow is of the cells of NAS-Bench-201"
        )
    if proxy == "multiply-adds" or not flows:
        return np.stack([task.multiply_adds for task in tasks])
    return np.stack([_synflow(space, *(task.image or (10, 32))) for task in tasks])


def _synflow(space: Space, classes: int, size: int) -> np.ndarray:
    scores = cached_synflow(space.genes, classes, size)
    return np.log(np.maximum(scores, np.finfo(np.float64).tiny))
