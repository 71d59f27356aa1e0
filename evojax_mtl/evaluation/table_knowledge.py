"""What a search on tables knows without evaluating: embeddings and proxies.

None of it reads a measured metric: embeddings are of the architectures' graphs, proxies
of their networks before training. What takes seconds to compute is kept in the user's
cache folder, under a name that tells all it depends on.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.synflow_cache import cached_synflow
from evojax_mtl.evaluation.tabular import TableData, table_data
from evojax_mtl.evolution.node2vec import (
    Node2VecConfig,
    architecture_vectors,
    node2vec,
)
from evojax_mtl.genomes.operation_graphs import (
    OperationGraphs,
    nasbench201_graphs,
    transnasbench101_graphs,
)
from evojax_mtl.tasks import nasbench201, transnasbench101
from evojax_mtl.tasks.request import cache_folder
from evojax_mtl.tasks.tabular import Space, TableTask

_VERSION = 1
"""Of what the cache holds: another one where the computations change."""


class Tables:
    """The data of a run on tables, with what its config asks for; stays on the device.

    Args:
      config: of the search; its fields ``embedding`` and ``proxy``, where it has them,
        and those of node2vec.
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
            vectors=vectors(embedding, tasks[0].space, config) if embedding else None,
        )

    def dataset(self, generation: int) -> TableData:
        """The same tables each generation."""
        return self._data


def vectors(embedding: str, space: Space, config: Any) -> np.ndarray:
    """Embeddings of the architectures, ``(A, D)``.

    Args:
      embedding: ``node2vec``, or ``one-hot``, a place for each gene and value: the
        distance of two architectures is then the share of genes in which they differ.
      space: of the architectures.
      config: has the fields of node2vec that ``KTNASConfig`` has.
    """
    if embedding == "one-hot":
        parts = [
            np.eye(count)[space.genes[:, place]]
            for place, count in enumerate(space.choices)
        ]
        return np.concatenate(parts, axis=1)
    order = walked_on(space, config)
    facts = ["node2vec", space.name, len(order), repr(choices(config))]
    shape = (len(space), config.dimensions)
    return kept(facts, shape, lambda: embed(space, config))


def choices(config: Any) -> Node2VecConfig:
    """node2vec's own config."""
    return Node2VecConfig(
        dimensions=config.dimensions,
        walk_length=config.walk_length,
        walks=config.walks,
        window=config.window,
        p=config.return_parameter,
        q=config.in_out_parameter,
    )


def walked_on(space: Space, config: Any) -> np.ndarray:
    """Rows of the architectures that node2vec walks on."""
    order = np.random.default_rng(0).permutation(len(space))
    return np.sort(order[: config.embedded])


def embed(space: Space, config: Any) -> np.ndarray:
    """node2vec's vectors of the architectures, ``(A, D)``, computed anew.

    Raises:
      UserError: the space's architectures are no graphs of operations.
    """
    graphs = graphs_of(space, "--embedding: found node2vec, must be one-hot")
    walked = graphs(jnp.asarray(space.genes[walked_on(space, config)]))
    table = jax.jit(node2vec)(jax.random.key(0), walked, choices(config))
    return np.asarray(architecture_vectors(graphs(jnp.asarray(space.genes)), table))


def graphs_of(space: Space, found: str) -> Callable[..., OperationGraphs]:
    """What makes operation graphs of genes.

    Args:
      space: of the architectures.
      found: begins the error's line.

    Raises:
      UserError: the space's architectures are no graphs of operations.
    """
    makers = {
        nasbench201.OPERATIONS: nasbench201_graphs,
        transnasbench101.OPERATIONS: transnasbench101_graphs,
    }
    if space.operations not in makers:
        raise UserError(
            f"{found} on {space.name}, whose networks are no graphs of operations"
        )
    return makers[space.operations]


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


def kept(
    facts: Sequence[Any], shape: tuple[int, ...], compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """An array from the cache folder; computed and put there where it is not yet.

    A folder that cannot be written costs the time to compute alone.

    Args:
      facts: JSON-able, all that the array depends on.
      shape: of the array.
      compute: makes it.
    """
    text = json.dumps([_VERSION, *facts])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = cache_folder() / "computed" / f"{facts[0]}-{digest}.npy"
    found = _read(path, shape)
    if found is not None:
        return found
    array = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{id(array)}.npy")
        np.save(partial, array)
        partial.replace(path)
    except OSError:
        pass
    return array


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in a file; None where it is missing, damaged or of another shape."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape else None
