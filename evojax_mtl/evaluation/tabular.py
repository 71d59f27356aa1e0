"""Evaluation by look-up in a table, and what searches on tables are told besides.

Shape legend: ``T`` tasks, ``A`` architectures, ``K`` one-edit neighbours, ``S`` genes,
``D`` dimensions of an embedding, ``C`` candidates.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.seen import Seen, none_seen
from evojax_mtl.pytrees import Pytree, static
from evojax_mtl.tasks.dataset import TEST
from evojax_mtl.tasks.tabular import Space, TableTask

NOTHING = -1
"""In the place of a row: no architecture."""
UNLIMITED = np.iinfo(np.int32).max
"""A budget that no search spends (evaluations)."""


class TableData(Pytree):
    """The tables of all tasks, on the device.

    Attributes:
      validation: what a search may look up, one evaluation each; higher is better.
      test: of the architectures, for the result alone.
      order: rank of each architecture's validation on its task, 0 the best; for
        measuring a search, never for guiding it.
      target: a task ends when it has found this much; infinite: it never does.
      budget: a task ends when it has spent this many evaluations.
      proxy: what the search knows of each architecture without evaluating it, from no
        measured metric; higher is better.
      vectors: embeddings, of length 1, so that a product is a cosine.
      spread: mean distance of two architectures' vectors, 1 less their cosine.
      genes: of the architectures.
      lookup: row of each combination of genes, or -1.
      neighbours: rows that differ in one gene, or -1.
      tables: the tasks as they were loaded.
    """

    validation: Float[Array, "T A"]
    test: Float[Array, "T A"]
    order: Int[Array, "T A"]
    target: Float[Array, "T"]
    budget: Int[Array, ""]
    proxy: Float[Array, "T A"]
    vectors: Float[Array, "A D"]
    spread: Float[Array, ""]
    genes: Int[Array, "A S"]
    lookup: Int[Array, "_"]
    neighbours: Int[Array, "A K"]
    tables: tuple[TableTask, ...] = static()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tasks."""
        return tuple(task.name for task in self.tables)

    @property
    def space(self) -> Space:
        """Of the architectures."""
        return self.tables[0].space

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.tables)

    @property
    def architectures(self) -> int:
        """Number of architectures."""
        return self.validation.shape[1]

    def only(self, split: int) -> "TableData":
        """The same with ``split`` (validation or test) in the test split's place."""
        return self if split == TEST else self.replace(test=self.validation)


def table_data(
    tasks: Sequence[TableTask],
    proxy: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
    target: np.ndarray | None = None,
    budget: int | None = None,
) -> TableData:
    """The tables of some tasks over one space.

    Args:
      tasks: at least one.
      proxy: ``(T, A)``; None: all zero, for searches that use none.
      vectors: ``(A, D)``, of any length but 0; None: none, for searches that use none.
      target: ``(T,)``, where each task ends; None: nowhere.
      budget: evaluations after which each task ends; None: never.

    Raises:
      UserError: a proxy or vector is not finite, or of a wrong shape.
    """
    space = tasks[0].space
    shape = (len(tasks), len(space))
    proxy = np.zeros(shape) if proxy is None else np.asarray(proxy)
    vectors = np.ones((len(space), 1)) if vectors is None else np.asarray(vectors)
    target = np.full(len(tasks), np.inf) if target is None else np.asarray(target)
    for name, found, allowed in (
        ("proxy", proxy, shape),
        ("vectors", vectors, (len(space), vectors.shape[-1])),
        ("target", target, shape[:1]),
    ):
        if found.shape != allowed:
            raise UserError(f"{name}: found shape {found.shape}; allowed: {allowed}")
        if np.isnan(found).any():
            raise UserError(f"{name}: found NaN; allowed: numbers")
    vectors = directions(vectors)
    spread = 1 - np.sum(vectors.mean(0) ** 2)
    validation = np.stack([task.validation for task in tasks])
    return TableData(
        validation=jnp.asarray(validation, jnp.float32),
        test=jnp.asarray(np.stack([task.test for task in tasks]), jnp.float32),
        order=jnp.asarray(np.stack([ranks(row) for row in validation])),
        target=jnp.asarray(target, jnp.float32),
        budget=jnp.asarray(UNLIMITED if budget is None else budget, jnp.int32),
        proxy=jnp.asarray(np.stack([percentiles(row) for row in proxy]), jnp.float32),
        vectors=jnp.asarray(vectors, jnp.float32),
        spread=jnp.asarray(max(spread, 1e-9), jnp.float32),
        genes=jnp.asarray(space.genes),
        lookup=jnp.asarray(space.lookup),
        neighbours=jnp.asarray(space.neighbours),
        tables=tuple(tasks),
    )


def ranks(values: np.ndarray) -> np.ndarray:
    """How many are greater than each one, int32."""
    ordered = np.sort(values)
    return (len(values) - np.searchsorted(ordered, values, "right")).astype(np.int32)


def percentiles(values: np.ndarray) -> np.ndarray:
    """The share of others below each value: the same order in any unit."""
    ordered = np.sort(values)
    return np.searchsorted(ordered, values) / len(values)


def directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1 with the same cosines, in as few dimensions as hold them.

    Means of a few node vectors span far fewer dimensions than they have, so the same
    distances are had for less.
    """
    vectors = np.asarray(vectors, np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (length > 0).all():
        row = int(np.flatnonzero(length == 0)[0])
        raise UserError(f"vectors: found length 0 at row {row}; allowed: any other")
    vectors = vectors / length
    energy, basis = np.linalg.eigh(vectors.T @ vectors)
    kept = energy > energy.max() * 1e-10
    found = vectors @ basis[:, kept]
    return found / np.linalg.norm(found, axis=1, keepdims=True)


class Archive(Pytree):
    """What a search knows of a table.

    Attributes:
      seen: which architectures were evaluated.
      best: the best of them; before any was, an arbitrary one.
      fitness: of ``best``; before any, minus infinity.
      spent: evaluations.
    """

    seen: Seen
    best: Int[Array, "T"]
    fitness: Float[Array, "T"]
    spent: Int[Array, "T"]


def no_archive(data: TableData, best: Int[Array, "T"]) -> Archive:
    """Nothing is known; ``best`` stands in until something is."""
    tasks = data.tasks
    return Archive(
        seen=none_seen(tasks, data.architectures),
        best=best,
        fitness=jnp.full((tasks,), -jnp.inf, jnp.float32),
        spent=jnp.zeros((tasks,), jnp.int32),
    )


def finished(archive: Archive, data: TableData) -> Bool[Array, "T"]:
    """Which tasks have found their target or spent their budget."""
    return (archive.fitness >= data.target) | (archive.spent >= data.budget)


def look_up(
    archive: Archive, data: TableData, candidates: Int[Array, "T C"]
) -> tuple[Archive, Float[Array, "T C"]]:
    """Evaluates candidates, one after another.

    An architecture that was evaluated before costs nothing. A task ends with the
    candidate that reaches its target, or the budget: those after it are not evaluated.

    Args:
      archive: what was known.
      data: the tables.
      candidates: rows of architectures; -1 for none.

    Returns:
      What is known now, and the fitness of each candidate, minus infinity where none
      was evaluated.
    """
    return jax.vmap(_look_up, (0, 0, 0, None, 0))(
        archive, data.validation, data.target, data.budget, candidates
    )


def _look_up(archive, validation, target, budget, candidates):
    there = candidates != NOTHING
    before = np.tri(len(candidates), k=-1, dtype=bool)
    earlier = jnp.any(before & (candidates[:, None] == candidates), axis=1)
    new = there & ~archive.seen[candidates] & ~earlier
    spent = archive.spent + jnp.sum(before & new, axis=1)
    there = there & (spent < budget)
    fitness = jnp.where(there, validation[candidates], -jnp.inf)
    going = ~jnp.any(before & (fitness >= target), axis=1)
    evaluated = there & going & (archive.fitness < target)
    fitness = jnp.where(evaluated, fitness, -jnp.inf)
    new = new & evaluated
    first = jnp.argmax(fitness)
    better = fitness[first] > archive.fitness
    return (
        archive.replace(
            seen=archive.seen.add(candidates, new),
            best=jnp.where(better, candidates[first], archive.best),
            fitness=jnp.where(better, fitness[first], archive.fitness),
            spent=archive.spent + jnp.sum(new),
        ),
        fitness,
    )
