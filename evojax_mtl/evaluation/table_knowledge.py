"""What a search on tables knows without evaluating: embeddings and proxies.

None of it reads a measured metric: embeddings are of the architectures' graphs, proxies
of their networks before training.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evojax_mtl.evaluation.tabular import TableData, table_data
from evojax_mtl.tasks.tabular import TableTask


class Tables:
    """The data of a run on tables, with what its config asks for; stays on the device.

    Args:
      config: of the search; ``embedding`` and ``proxy`` where it has such fields.
      tasks: tables over one space.
    """

    def __init__(self, config: Any, tasks: Sequence[TableTask]) -> None:
        """Computes embedding and proxy where they are asked for."""
        embedding = getattr(config, "embedding", None)
        proxy = getattr(config, "proxy", None)
        self._data = table_data(
            tasks,
            proxy=proxies(proxy, tasks) if proxy else None,
            vectors=vectors(embedding, tasks) if embedding else None,
        )

    def dataset(self, generation: int) -> TableData:
        """The same tables each generation."""
        return self._data


def vectors(embedding: str, tasks: Sequence[TableTask]) -> np.ndarray:
    """Embeddings of the architectures, ``(A, D)``.

    Args:
      embedding: ``one-hot``, a place for each gene and value: the distance of two
        architectures is then the share of genes in which they differ.
      tasks: tables over one space.
    """
    space = tasks[0].space
    parts = [
        np.eye(count)[space.genes[:, place]]
        for place, count in enumerate(space.choices)
    ]
    return np.concatenate(parts, axis=1)


def proxies(proxy: str, tasks: Sequence[TableTask]) -> np.ndarray:
    """What each architecture promises on each task, ``(T, A)``; higher is better.

    Args:
      proxy: ``multiply-adds``; ``none`` promises the same of all.
      tasks: tables over one space.
    """
    if proxy == "none":
        return np.zeros((len(tasks), len(tasks[0].space)))
    return np.stack([task.multiply_adds for task in tasks])
