"""Tabular benchmarks: a space of architectures, each with its measured metrics. No JAX.

A ``TableTask`` stands where a ``Task`` does; instead of examples it has the metrics of
every architecture of its space after training. Tasks of one set share one space.

Shape legend: ``A`` architectures, ``S`` genes of an architecture, ``K`` one-edit
neighbours.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from evojax_mtl.errors import UserError


@dataclass(frozen=True, eq=False, repr=False)
class Space:
    """A finite space of architectures.

    Attributes:
      name: of the space.
      genes: int32 ``(A, S)``, each in ``[0, choices)`` of its place.
      choices: number of values of each gene.
      strings: how the benchmark writes each architecture, ``A`` of them.
      operations: names of the values of the genes.
      edges: source and target of each gene's edge in a cell; empty where the genes are
        no edges.
    """

    name: str
    genes: np.ndarray
    choices: tuple[int, ...]
    strings: tuple[str, ...]
    operations: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        """Short: there are thousands of strings."""
        return f"Space({self.name!r}, {len(self)} architectures)"

    def __len__(self) -> int:
        """Number of architectures."""
        return len(self.genes)

    @functools.cached_property
    def strides(self) -> np.ndarray:
        """What each gene counts in the position of ``lookup``, int32 ``(S,)``."""
        sizes = np.array([1, *self.choices[:0:-1]], np.int32)
        return np.cumprod(sizes, dtype=np.int32)[::-1]

    @functools.cached_property
    def lookup(self) -> np.ndarray:
        """Row of each combination of genes, or -1 where the space has none."""
        rows = np.full(int(np.prod(self.choices)), -1, np.int32)
        rows[self.genes @ self.strides] = np.arange(len(self), dtype=np.int32)
        return rows

    @functools.cached_property
    def neighbours(self) -> np.ndarray:
        """Rows that differ in one gene, int32 ``(A, K)``; -1 where there is none."""
        found = []
        for place, count in enumerate(self.choices):
            own = self.genes[:, place]
            position = self.genes @ self.strides
            for step in range(1, count):
                other = (own + step) % count
                moved = position + (other - own) * self.strides[place]
                found.append(self.lookup[moved])
        return np.stack(found, 1)


@dataclass(frozen=True, eq=False)
class TableTask:
    """One task of a tabular benchmark.

    Attributes:
      name: unique within a set of tasks.
      space: of its architectures.
      validation: float64 ``(A,)``, what searches see; higher is better.
      test: likewise, what only the final result sees.
      metric: what they are: ``accuracy`` and ``pixel accuracy`` are fractions.
      multiply_adds: of each architecture, float64 ``(A,)``.
      parameters: of each architecture (weights), float64 ``(A,)``.
      image: classes and pixels a side of the images that it was measured on; None where
        they are not classified.
    """

    name: str
    space: Space
    validation: np.ndarray
    test: np.ndarray
    metric: str
    multiply_adds: np.ndarray
    parameters: np.ndarray
    image: tuple[int, int] | None = None


def check_space(
    origin: str, name: str, found: Sequence[str], expected: Sequence[str]
) -> np.ndarray:
    """Rows of ``found`` in the order of ``expected``.

    Args:
      origin: file, for errors.
      name: of the space, for errors.
      found: architecture strings of a file.
      expected: those of the whole space.

    Raises:
      UserError: an architecture is unknown, there twice, or missing.
    """
    place = {string: row for row, string in enumerate(expected)}
    rows = np.full(len(place), -1)
    for row, string in enumerate(found):
        if string not in place:
            raise UserError(
                f"{origin}: row {row}: found architecture {string!r}; allowed: those "
                f"of {name}, such as {expected[-1]!r}"
            )
        if rows[place[string]] >= 0:
            raise UserError(
                f"{origin}: rows {rows[place[string]]} and {row} are both architecture "
                f"{string!r}; allowed: each once"
            )
        rows[place[string]] = row
    missing = np.flatnonzero(rows < 0)
    if missing.size:
        raise UserError(
            f"{origin}: {missing.size} of {len(place)} architectures of {name} are "
            f"missing, the first is {expected[missing[0]]!r}; allowed: all of them"
        )
    return rows


def check_metric(
    origin: str,
    values: np.ndarray,
    space: Space,
    allowed: tuple[float, float],
    worst: int | None,
) -> np.ndarray:
    """Metrics as float64 ``(A,)``.

    Args:
      origin: file and field, for errors.
      values: of each architecture of ``space``, higher is better.
      space: of the architectures.
      allowed: least and greatest value that the metric can have.
      worst: row of an architecture that passes nothing on, which must not do better
        than half of the others; None where there is none.

    Raises:
      UserError: the shape is wrong, a value is not finite or out of range, or lower
        values are the better ones.
    """
    if values.shape != (len(space),):
        raise UserError(
            f"{origin}: found shape {values.shape}; allowed: one value an architecture "
            f"of {space.name}, ({len(space)},)"
        )
    if not np.issubdtype(values.dtype, np.number):
        raise UserError(f"{origin}: found dtype {values.dtype}; allowed: numbers")
    values = values.astype(np.float64)
    infinite = np.flatnonzero(~np.isfinite(values))
    if infinite.size:
        row = infinite[0]
        raise UserError(
            f"{origin}: found {values[row]} at row {row}, {space.strings[row]!r}; "
            "allowed: finite numbers"
        )
    low, high = allowed
    for row in (int(values.argmin()), int(values.argmax())):
        if not low <= values[row] <= high:
            raise UserError(
                f"{origin}: found {values[row]:g} at row {row}; allowed: {low:g} to "
                f"{high:g}, higher is better (a loss is given as its negative)"
            )
    if worst is not None and values[worst] > np.median(values):
        raise UserError(
            f"{origin}: found {values[worst]:g} for {space.strings[worst]!r}, which "
            f"passes nothing on, above the median {np.median(values):g}; allowed: a "
            "metric of which higher is better"
        )
    return values


def choose(
    source: str,
    argument: str | None,
    names: Iterable[str],
    kinds: Sequence[str],
    what: str,
    default: Iterable[str] | None = None,
) -> tuple[list[str], str]:
    """Names, and one kind, that a source's argument asks for: words joined by ``+``.

    Args:
      source: what the argument is of.
      argument: None asks for the default.
      names: those there are.
      kinds: those there are; the first is the default.
      what: the word for kinds.
      default: names where none is asked for; all if None.

    Raises:
      UserError: a word is neither, or several kinds are asked for.
    """
    names = list(names)
    words = argument.split("+") if argument else []
    for word in words:
        if word not in names and word not in kinds:
            raise UserError(
                f"tasks '{source}:{argument}': found {word!r}; allowed: "
                f"{', '.join((*names, *kinds))}, joined by +"
            )
    wanted = [word for word in words if word in kinds]
    if len(wanted) > 1:
        raise UserError(
            f"tasks '{source}:{argument}': found {len(wanted)} {what}; allowed: "
            "at most one"
        )
    chosen = [word for word in words if word in names]
    return chosen or list(default or names), (wanted or kinds)[0]


def product_genes(choices: Sequence[int]) -> np.ndarray:
    """All combinations of genes, int32 ``(A, S)``, the last gene fastest."""
    grid = np.indices(tuple(choices), np.int32)
    return grid.reshape(len(choices), -1).T.copy()
