"""Texts as rows of words, which several tasks share. NumPy only, no JAX.

Shape legend: ``N`` texts, ``L`` words of the longest text kept, ``V`` words of the
vocabulary and one, ``D`` dimensions of a word's vector.

A word is a number from 1; 0 fills a text up to ``L``. Each word that any split has is
in the vocabulary, and has a vector made of its subwords even where no training text has
the word. A ``TextTask`` stands where a ``Task`` does: a question with two answers about
each text. The tasks of one set share one ``Corpus``, as dense tasks share their scenes.
``text_dataset.stack_texts`` puts them on the device.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.task import SPLITS

CLASSES = 2
UNKNOWN = -1
"""Label of a text that lacks a task's label."""
_WORDS = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*|[^\w\s]")

Embed = Callable[[Sequence[str], Sequence[Sequence[str]]], np.ndarray]
"""Vectors ``(words, D)`` of some words, learnt from the words of the training texts."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts, their labels, and the rows of each split; see the module.

    Attributes:
      origin: source or file, for errors.
      words: word 1, word 2, ...
      vectors: float32 ``(V, D)``, a row a word; row 0 is zero.
      tokens: int32 ``(N, L)``, in ``[0, V)``; a text's words, then 0.
      labels: of each task, int8 ``(N,)``: 0, 1, or -1 where it is not known.
      splits: rows of ``train``, ``validation`` and ``test``.
    """

    origin: str
    words: tuple[str, ...]
    vectors: np.ndarray
    tokens: np.ndarray
    labels: dict[str, np.ndarray]
    splits: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        """Raises ``UserError`` for a split in which a task has no label."""
        for name, labels in self.labels.items():
            for split in SPLITS:
                known = labels[self.splits[split]]
                if not (known != UNKNOWN).any():
                    raise UserError(
                        f"{self.origin}: the {split} split has no text with a label "
                        f"{name!r}; allowed: at least one a split"
                    )


@dataclass(frozen=True, eq=False)
class TextTask:
    """One question about some texts.

    Attributes:
      name: unique within a set of tasks.
      corpus: shared by all tasks of the set.
      label: a key of ``corpus.labels``.
    """

    name: str
    corpus: Corpus
    label: str

    classes = CLASSES
    loss = "cross_entropy"
    metric = "accuracy"


def tokenise(text: str) -> list[str]:
    """The words of a text in lower case, and each of its other signs as a word."""
    return _WORDS.findall(text.lower())


def build_corpus(
    origin: str,
    texts: Sequence[Sequence[str]],
    labels: Mapping[str, np.ndarray],
    splits: dict[str, np.ndarray],
    length: int,
    embed: Embed,
) -> Corpus:
    """A corpus of texts that are divided into words.

    Args:
      origin: for errors.
      texts: the words of each.
      labels: of each task, ``(N,)``: 0, 1 or ``UNKNOWN``.
      splits: rows of each.
      length: L; a longer text keeps its first words.
      embed: makes the words' vectors, from whole training texts.
    """
    counts = Counter(word for text in texts for word in text)
    words = sorted(counts, key=lambda word: (-counts[word], word))
    number = {word: index for index, word in enumerate(words, 1)}
    tokens = np.zeros((len(texts), length), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        kept = [number[word] for word in text[:length]]
        row[: len(kept)] = kept
    vectors = embed(words, [texts[row] for row in splits["train"]])
    none = np.zeros((1, vectors.shape[1]), np.float32)
    return Corpus(
        origin=origin,
        words=tuple(words),
        vectors=np.concatenate([none, vectors.astype(np.float32)]),
        tokens=tokens,
        labels={name: np.asarray(own, np.int8) for name, own in labels.items()},
        splits=splits,
    )
