"""An easy problem, and each method's compiled programs over it."""

from functools import lru_cache

import jax
import numpy as np

from evojax_mtl.evaluation.table_knowledge import Tables
from evojax_mtl.methods import find_method
from evojax_mtl.tasks.build import split_task
from evojax_mtl.tasks.sources import load_tasks
from evojax_mtl.tasks.streaming import Resident
from evojax_mtl.tasks.task import Task

SIDE, CLASSES, EXAMPLES = 6, 3, 20


def easy_task(seed: int, side: int = SIDE) -> Task:
    """Noise with a bright quadrant; which one is the class, each task its own way."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES, dtype=np.int32), EXAMPLES)
    images = rng.integers(0, 60, (len(labels), side, side, 1), np.uint8)
    half, quadrants = side // 2, rng.permutation(4)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(quadrants[label], 2)
        rows, columns = slice(row * half, None), slice(column * half, None)
        image[rows, columns][:half, :half] += 150
    return split_task(f"quadrants-{seed}", images, labels, seed, "quadrants")


@lru_cache
def easy_data() -> Resident:
    return Resident([easy_task(0), easy_task(1)])


@lru_cache
def data_of(method: str) -> Resident | Tables:
    """The easy problem that a method is for, images or tables."""
    entry = find_method(method)
    if entry.data == "images":
        return easy_data()
    return Tables(entry.configure("tiny"), load_tasks(entry.tasks))


def host(rates):
    """Rates as arguments of a program: NumPy arrays without weak types."""
    return jax.tree.map(lambda x: np.asarray(x, jax.dtypes.result_type(x)), rates)


class Case:
    """A search at the ``tiny`` scale on the easy problem; counts its traces."""

    def __init__(self, method: str) -> None:
        entry = find_method(method)
        self.data = data_of(method).dataset(0)
        self.search = entry.load()(entry.configure("tiny"), self.data)
        self.rates = host(self.search.hyperparameters())
        self.ticks = self.search.ticks(self.data)
        self.traces = 0
        self._init = jax.jit(self.search.init)
        self._advance = jax.jit(self._counted)
        self._test = jax.jit(self.search.test)
        self.run = lru_cache(self._run)

    def _counted(self, *arguments):
        self.traces += 1
        return self.search.advance(*arguments)

    def init(self, seed=0):
        return self._init(jax.random.key(seed), self.rates, self.data)

    def advance(self, state, rates=None, start=0, stop=None, data=None):
        """Some ticks of a generation, all by default."""
        rates = self.rates if rates is None else rates
        data = self.data if data is None else data
        stop = self.ticks if stop is None else stop
        return self._advance(state, rates, data, np.int32(start), np.int32(stop))

    def test(self, state):
        return np.asarray(self._test(state, self.rates, self.data))

    def _run(self, seed=0, generations=2):
        """State and metrics after some generations."""
        if generations == 1:
            return self.advance(self.init(seed))
        state, _ = self.run(seed, generations - 1)
        return self.advance(self.search.grow(state))


@lru_cache
def compiled(method: str) -> Case:
    """The one case of a method that all tests share."""
    return Case(method)


def _is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def plain(tree):
    """The leaves that are no keys."""
    return [np.asarray(x) for x in jax.tree.leaves(tree) if not _is_key(x)]


def weights_and_metrics(state, metrics):
    """What may not depend on how many devices there are."""
    return plain((found(state), metrics))


def found(state):
    """What tells searches apart: weights, or where there are none what is known."""
    return state.params if hasattr(state, "params") else state.archive


def comparable(search, state, metrics):
    """What searches of a sweep have in common with each run alone.

    Everything; weights and metrics where a training step enlarges what the order of
    sums changes, as those of cells do, so that individuals may swap ranks.
    """
    if search.method != "emt-nas":
        return plain((state, metrics))
    return weights_and_metrics(state, metrics)


def pieces(search, data):
    """Ticks after which two ways to compute the same agree.

    All of a generation; with the steep rates of cells only one step of training, since
    each blows up the last bits.
    """
    if search.method != "emt-nas":
        return [(0, search.ticks(data))]
    begin, found = 0, []
    for name, end in search.phases(data):
        found.append((begin, begin + 1 if name == "training" else end))
        begin = end
    return found


def on_host(tree):
    """The leaves, those that are no keys as NumPy arrays."""
    return [x if _is_key(x) else np.asarray(x) for x in jax.tree.leaves(tree)]


def bits(tree):
    """Leaves as NumPy arrays whose equality is that of bits."""

    def view(leaf):
        leaf = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        return leaf.view(np.uint32) if leaf.dtype == np.float32 else leaf

    return jax.tree.map(view, tree)


def assert_same_bits(got, expected):
    got, expected = bits(got), bits(expected)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    paths = jax.tree_util.tree_leaves_with_path(got)
    for (path, a), b in zip(paths, jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b, jax.tree_util.keystr(path))


def same_bits(got, expected):
    pairs = zip(
        jax.tree.leaves(bits(got)), jax.tree.leaves(bits(expected)), strict=True
    )
    return all(np.array_equal(a, b) for a, b in pairs)


def assert_close(got, expected, rtol=1e-4, atol=1e-5):
    """Integers and keys equal, floats up to the order of sums."""
    paths = jax.tree_util.tree_leaves_with_path(got)
    for (path, a), b in zip(paths, jax.tree.leaves(expected), strict=True):
        name = jax.tree_util.keystr(path)
        if jax.dtypes.issubdtype(a.dtype, np.floating):
            np.testing.assert_allclose(a, b, rtol, atol, err_msg=name)
        else:
            assert same_bits(a, b), name
