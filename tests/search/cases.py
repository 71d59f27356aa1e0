"""An easy problem, and each method's compiled programs over it."""

import dataclasses
from functools import lru_cache

import jax
import numpy as np
import optax

from evojax_mtl.evaluation.table_knowledge import Tables
from evojax_mtl.methods import METHODS, Method, find_method
from evojax_mtl.runs.compilation import CompilationCounter
from evojax_mtl.tasks.build import split_task
from evojax_mtl.tasks.dataset import VALIDATION
from evojax_mtl.tasks.dense import Scenes, dense_tasks
from evojax_mtl.tasks.dense_dataset import ResidentScenes
from evojax_mtl.tasks.multi_label import multi_label_task
from evojax_mtl.tasks.sources import load_tasks
from evojax_mtl.tasks.streaming import Resident
from evojax_mtl.tasks.task import SPLITS, Split, Task
from evojax_mtl.tasks.text_dataset import ResidentTexts
from evojax_mtl.tasks.texts import Corpus, TextTask

SIDE, CLASSES, EXAMPLES = 6, 3, 60
LABELS = 3
SCENES, PIXELS = 60, 24
TEXTS, LENGTH = 240, 6


def labels() -> list[str]:
    """Every method, those of one name by the kind of their data too."""
    return [
        f"{name}@{form.search or form.data}" if method.other else name
        for name, method in METHODS.items()
        for form in method.forms
    ]


def entry_of(label: str) -> Method:
    """The method of a label; of a name alone its first form."""
    name, _, kind = label.partition("@")
    method = find_method(name)
    kinds = (form for form in method.forms if kind in (form.data, form.search))
    return next(kinds, method)


SHARED = {
    "emt-nas@images": ("data",),
    "ktnas@images": ("population",),
    "mtnas@images": (),
}
"""Searches of cells spread by one code: each axis is tried with one of them."""


def axes_of(label: str) -> tuple[str, ...]:
    """Axes of devices that a method is tried on."""
    return SHARED.get(label, entry_of(label).mesh_axes)


def of_cells(label: str) -> bool:
    """Whether a method trains cells."""
    return "data" in entry_of(label).mesh_axes


def steep(label: str) -> bool:
    """Whether a training step enlarges what the order of sums changes."""
    return of_cells(label) or entry_of(label).data == "scenes"


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
def easy_findings() -> Resident:
    """A task whose images have several labels, each a quadrant, and an easy one."""
    splits = {}
    for seed, (name, count) in enumerate(zip(SPLITS, (80, 50, 50), strict=True)):
        rng = np.random.default_rng(seed)
        there = rng.integers(0, 2, (count, LABELS))
        images = rng.integers(0, 60, (count, SIDE, SIDE, 1), np.uint8)
        half = SIDE // 2
        for label, own in enumerate(there.T):
            row, column = (half * x for x in divmod(label, 2))
            quadrant = images[:, row : row + half, column : column + half]
            quadrant += 150 * own.astype(np.uint8)[:, None, None, None]
        # one image of ten is not labelled
        mask = np.arange(count) % 10 > 0
        bits = (there << np.arange(LABELS)).sum(1).astype(np.int32)
        splits[name] = Split(images, np.where(mask, bits, 0), mask)
    task = multi_label_task("findings", splits, LABELS, "findings")
    return Resident([task, easy_task(0)])


@lru_cache
def easy_scenes() -> ResidentScenes:
    """Scenes of one colour, which tells class, depth and direction of all pixels."""
    rng = np.random.default_rng(0)
    kind = np.arange(SCENES) % CLASSES
    # so large that the maps of the last stages have several pixels
    shape = (SCENES, PIXELS, PIXELS)
    images = rng.integers(0, 60, (*shape, 3), np.uint8)
    images += (np.eye(3, dtype=np.uint8) * 150)[kind][:, None, None]

    def everywhere(values):
        return np.broadcast_to(values[:, None, None], (*shape, *values.shape[1:]))

    labels = {
        "segmentation": everywhere(kind.astype(np.int8)),
        "depth": everywhere(1 + kind[:, None].astype(np.float32)),
        "normals": everywhere(np.eye(3, dtype=np.float32)[kind]),
    }
    rows = dict(zip(SPLITS, np.split(np.arange(len(kind)), [30, 42]), strict=True))
    classes = tuple("abc"[:CLASSES])
    return ResidentScenes(dense_tasks(Scenes("easy", classes, images, labels, rows)))


@lru_cache
def easy_texts() -> ResidentTexts:
    """Texts of four to six words; whether two of the words are in them is asked."""
    rng = np.random.default_rng(0)
    words = 9
    tokens = rng.integers(3, words, (TEXTS, LENGTH)).astype(np.int32)
    tokens[np.arange(LENGTH) >= rng.integers(4, LENGTH + 1, (TEXTS, 1))] = 0
    labels = {name: rng.integers(0, 2, TEXTS).astype(np.int8) for name in "ab"}
    for word, own in enumerate(labels.values(), 1):
        rows = np.flatnonzero(own)
        tokens[rows, 2 * word - rng.integers(1, 3, len(rows))] = word
    vectors = rng.normal(size=(words, 8)).astype(np.float32)
    vectors[0] = 0
    rows = dict(zip(SPLITS, np.split(np.arange(TEXTS), [144, 192]), strict=True))
    names = tuple(f"word-{word}" for word in range(1, words))
    corpus = Corpus("easy", names, vectors, tokens, labels, rows)
    return ResidentTexts([TextTask(name, corpus, name) for name in labels])


@lru_cache
def data_of(method: str) -> Resident | ResidentScenes | ResidentTexts | Tables:
    """The easy problem that a method is for: images, scenes, texts or tables."""
    entry = entry_of(method)
    if entry.data == "images":
        # LEAF measures areas where there are several labels
        return easy_findings() if entry.name == "leaf" else easy_data()
    if entry.data == "scenes":
        return easy_scenes()
    if entry.data == "texts":
        return easy_texts()
    return Tables(entry.configure("tiny"), load_tasks(entry.tasks))


def host(rates):
    """Rates as arguments of a program: NumPy arrays without weak types."""
    return jax.tree.map(lambda x: np.asarray(x, jax.dtypes.result_type(x)), rates)


class Case:
    """A search at the ``tiny`` scale on the easy problem; counts its traces.

    Args:
      method: of the search.
      changes: fields of its config that differ.
    """

    def __init__(self, method: str, **changes) -> None:
        entry = entry_of(method)
        self.label, self.cells, self.steep = method, of_cells(method), steep(method)
        self.data = data_of(method).dataset(0)
        config = dataclasses.replace(entry.configure("tiny"), **changes)
        self.search = entry.load()(config, self.data)
        if entry.data == "scenes":
            # Adam makes whole steps of gradients that are 0 but for rounding
            self.search.transformation = optax.scale_by_adam(eps=1e-4)
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

    def assert_compiled(self):
        """Asserts that generations after the first compile nothing."""
        state, _ = self.run(0, 1)
        with CompilationCounter() as counter:
            for _ in range(2):
                state, _ = self.advance(self.search.grow(state))
            jax.block_until_ready(state)
        assert counter.requests == 0
        assert self.traces == 1

    def _run(self, seed=0, generations=2):
        """State and metrics after some generations."""
        if generations == 1:
            return self.advance(self.init(seed))
        state, _ = self.run(seed, generations - 1)
        return self.advance(self.search.grow(state))


@lru_cache
def compiled(method: str, **changes) -> Case:
    """The one case of a method that all tests share."""
    return Case(method, **changes)


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
    if hasattr(state, "finalists"):
        return state.best.params
    return state.params if hasattr(state, "params") else state.archive


def comparable(steep, state, metrics):
    """What searches of a sweep have in common with each run alone.

    Everything; weights and metrics where a training step enlarges what the order of
    sums changes, as those of cells do, so that individuals may swap ranks.
    """
    if not steep:
        return plain((state, metrics))
    return weights_and_metrics(state, metrics)


def pieces(steep, search, data):
    """Ticks after which two ways to compute the same agree.

    All of a generation; with the steep rates of cells, and with batch norms over few
    pixels, only one step of training, since each blows up the last bits.
    """
    if not steep:
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


def assert_measured_as_kept(case):
    """The result, tested on validation data, has the accuracies it was kept for."""
    state, metrics = case.run()
    data = case.data.only(VALIDATION)
    again = jax.jit(case.search.test)(state, case.rates, data)
    np.testing.assert_allclose(again, metrics["kept"], atol=1e-6)


def assert_close(got, expected, rtol=1e-4, atol=1e-5):
    """Integers and keys equal, floats up to the order of sums."""
    paths = jax.tree_util.tree_leaves_with_path(got)
    for (path, a), b in zip(paths, jax.tree.leaves(expected), strict=True):
        name = jax.tree_util.keystr(path)
        if jax.dtypes.issubdtype(a.dtype, np.floating):
            np.testing.assert_allclose(a, b, rtol, atol, err_msg=name)
        else:
            assert same_bits(a, b), name
