"""What cards of searches on tables share: many seeds as one compiled program."""

from typing import Any

import jax
import numpy as np

from evojax_mtl.evaluation.table_knowledge import Tables
from evojax_mtl.evaluation.tabular import Archive, TableData
from evojax_mtl.methods import method_on
from evojax_mtl.search.predicted import PredictedSearch
from evojax_mtl.search.tabular import TableSearch
from evojax_mtl.tasks.sources import load_tables

KEY = 2024
CHUNK, SMALL_CHUNK = 100, 10
"""Searches of one program; few of those that score all architectures by a network."""


def prepare(
    method: str, options: dict[str, Any], spec: str
) -> tuple[TableSearch, TableData]:
    """A search, and its tables with what its config asks for."""
    entry = method_on(method, spec)
    config = entry.config(**options)
    data = Tables(config, load_tables(spec)).dataset(0)
    return entry.load()(config, data), data


def to_target(data: TableData) -> TableData:
    """The same; a task ends when it has found its best architecture."""
    return data.replace(target=data.validation.max(1))


def until_found(search: TableSearch, data: TableData, seeds: int) -> Archive:
    """What searches know when every task is at its end; ``seen`` is left out."""
    rates = search.hyperparameters()

    @jax.jit
    def several(keys, data):
        def one(key):
            return search.run_to_target(key, rates, data).archive.replace(seen=())

        return jax.vmap(one)(keys)

    return _in_chunks(several, search, data, seeds)


def throughout(
    search: TableSearch, data: TableData, seeds: int
) -> tuple[Archive, dict[str, np.ndarray]]:
    """Likewise after all generations, and the metrics of each, ``(seeds, G, ...)``."""
    rates = search.hyperparameters()

    @jax.jit
    def several(keys, data):
        def one(key):
            state, metrics = search.run(key, rates, data)
            return state.archive.replace(seen=()), metrics

        return jax.vmap(one)(keys)

    return _in_chunks(several, search, data, seeds)


def _in_chunks(several, search: TableSearch, data: TableData, seeds: int):
    large = isinstance(search, PredictedSearch)
    size = min(seeds, SMALL_CHUNK if large else CHUNK)
    keys = jax.random.split(jax.random.key(KEY), seeds)
    parts = [several(keys[k : k + size], data) for k in range(0, seeds, size)]
    return jax.tree.map(lambda *own: np.concatenate(own), *parts)
