"""Texts of several tasks as one pytree of device arrays, sampled in the compiled step.

Shape legend: ``T`` tasks, ``N`` texts (all splits together), ``s`` texts of the largest
split, ``B`` texts a batch, ``L`` words a text, ``V`` rows of the table of ``D``
dimensional word vectors.

The same names as those of ``dataset.Dataset``. Texts stay numbers of words until
``vectors`` looks them up, so that memory holds each word's vector once.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.pytrees import Pytree, static
from evojax_mtl.tasks.dataset import (
    TRAIN,
    Targets,
    in_place_of_test,
    pack_splits,
    pass_of,
)
from evojax_mtl.tasks.task import SPLITS
from evojax_mtl.tasks.texts import CLASSES, UNKNOWN, TextTask


class TextBatch(Pytree):
    """Texts of every task.

    Attributes:
      tokens: numbers of words, 0 after the last.
      labels: 0 or 1.
      mask: which texts count.
    """

    tokens: Int[Array, "T B L"]
    labels: Int[Array, "T B"]
    mask: Bool[Array, "T B"]


class TextDataset(Pytree):
    """All texts, and which split each is in.

    Attributes:
      tokens: numbers of words, 0 after the last.
      table: a word's vector each; row 0 is zero.
      labels: 0 or 1.
      mask: whether a text has a task's label.
      members: rows of each split's texts.
      sizes: how many of ``members`` count, per split.
      targets: two classes a task.
      split_sizes: ``sizes`` as host integers.
    """

    tokens: Int[Array, "N L"]
    table: Float[Array, "V D"]
    labels: Int[Array, "T N"]
    mask: Bool[Array, "T N"]
    members: Int[Array, "3 s"]
    sizes: Int[Array, "3"]
    targets: Targets
    names: tuple[str, ...] = static()
    split_sizes: tuple[int, int, int] = static()

    max_classes = CLASSES

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.names)

    @property
    def classes(self) -> Int[Array, "T"]:
        """Number of classes of each task."""
        return self.targets.classes

    def batches(self, split: int, batch: int) -> int:
        """Batches that a pass over a split takes (host integer)."""
        return -(-self.split_sizes[split] // batch)

    def vectors(self, tokens: Int[Array, "*n L"]) -> Float[Array, "*n L D"]:
        """The words' vectors; 0 beyond the end of a text."""
        return self.table[tokens]

    def _take(self, rows: Int[Array, "T B"], valid: Bool[Array, "T B"]) -> TextBatch:
        task = jnp.arange(self.tasks)[:, None]
        return TextBatch(
            self.tokens[rows], self.labels[task, rows], self.mask[task, rows] & valid
        )

    def only(self, split: int) -> "TextDataset":
        """The same with ``split`` in the test split's place; see ``Dataset.only``."""
        return in_place_of_test(self, split)

    def sample(self, key: Array, batch: int) -> TextBatch:
        """``batch`` training texts of each task, uniformly with replacement."""
        shape = (self.tasks, batch)
        position = jax.random.randint(key, shape, 0, self.sizes[TRAIN])
        return self._take(self.members[TRAIN][position], jnp.ones(shape, bool))

    def batch_at(
        self, split: Int[Array, ""] | int, index: Array | int, batch: int
    ) -> TextBatch:
        """The ``index``-th batch of a pass over ``split`` (traced); rest masked."""
        rows, valid = pass_of(self.members[split], self.sizes[split], index, batch)
        shape = (self.tasks, batch)
        return self._take(jnp.broadcast_to(rows, shape), jnp.broadcast_to(valid, shape))


def stack_texts(tasks: Sequence[TextTask]) -> TextDataset:
    """Tasks of one ``Corpus`` as a ``TextDataset``."""
    corpus = tasks[0].corpus
    if any(task.corpus is not corpus for task in tasks):
        raise ValueError("stack_texts: found several Corpora; allowed: one")
    members, sizes, split_sizes = pack_splits([corpus.splits[k] for k in SPLITS])
    labels = np.stack([corpus.labels[task.label] for task in tasks]).astype(np.int32)
    known = labels != UNKNOWN
    return TextDataset(
        tokens=jnp.asarray(corpus.tokens),
        table=jnp.asarray(corpus.vectors),
        labels=jnp.asarray(np.where(known, labels, 0)),
        mask=jnp.asarray(known),
        members=members,
        sizes=sizes,
        targets=Targets(
            jnp.full(len(tasks), CLASSES, jnp.int32), jnp.zeros(len(tasks), bool)
        ),
        names=tuple(task.name for task in tasks),
        split_sizes=split_sizes,
    )


class ResidentTexts:
    """All texts, on the device all the time: a ``streaming.TaskData``."""

    def __init__(self, tasks: Sequence[TextTask]) -> None:
        """Puts the texts on the device."""
        self._data = stack_texts(tasks)

    def dataset(self, generation: int) -> TextDataset:
        """The one data set."""
        return self._data
