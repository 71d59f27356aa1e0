"""Vectors of words, made of the vectors of their subwords (Bojanowski 2017).

Shape legend: ``D`` dimensions.

A word in angle brackets is cut into its n-grams of three to six characters; its vector
follows from theirs, so that a word that no training text has, a misspelt one above all,
has a vector too.

* ``trained``: FastText's skip-grams, learnt by gensim (the extra ``text``) from the
  training texts alone, and kept on disk. One thread, so that the same texts give the
  same vectors.
* ``drawn``: each n-gram's vector is drawn, none is learnt. Near words are alike in
  spelling, not in meaning. For small texts without files or extras.
"""

import hashlib
import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.extras import import_extra
from evojax_mtl.tasks.files import Arrays, save_npz

SHORTEST, LONGEST = 3, 6
_BUCKETS = 4096
_FIELD = "vectors"
# gensim's own, but for fewer buckets: two million of them take 0.8 GB
_FASTTEXT = {
    "sg": 1,
    "window": 5,
    "min_count": 2,
    "negative": 5,
    "epochs": 5,
    "alpha": 0.05,
    "min_n": SHORTEST,
    "max_n": LONGEST,
    "bucket": 200_000,
    "seed": 0,
    "workers": 1,
}


def subwords(word: str) -> list[str]:
    """The n-grams of a word in angle brackets; the whole of it if it has none."""
    marked = f"<{word}>"
    found = [
        marked[begin : begin + size]
        for size in range(SHORTEST, LONGEST + 1)
        for begin in range(len(marked) - size + 1)
    ]
    return found or [marked]


def drawn(words: Sequence[str], dimensions: int, seed: int = 0) -> np.ndarray:
    """Vectors of about unit length, means of what their n-grams drew.

    Returns:
      float32 ``(len(words), D)``.
    """
    table = np.random.default_rng(seed).normal(size=(_BUCKETS, dimensions))
    vectors = np.empty((len(words), dimensions), np.float32)
    for row, word in zip(vectors, words, strict=True):
        rows = [zlib.crc32(part.encode()) % _BUCKETS for part in subwords(word)]
        row[:] = table[rows].sum(0) / np.sqrt(len(rows) * dimensions)
    return vectors


def trained(
    words: Sequence[str],
    sentences: Sequence[Sequence[str]],
    dimensions: int,
    folder: Path,
) -> np.ndarray:
    """FastText's vectors of ``words``, from disk, or learnt and put there.

    Args:
      words: whose vectors are wanted, training texts have them or not.
      sentences: the words of the training texts.
      dimensions: D.
      folder: where vectors are kept; a name tells all that they depend on.

    Returns:
      float32 ``(len(words), D)``.

    Raises:
      UserError: the extra ``text`` is not installed and the vectors are not on disk.
    """
    digest = hashlib.sha256(json.dumps([dimensions, _FASTTEXT]).encode())
    for text in (words, *sentences):
        digest.update("\x1f".join(text).encode() + b"\n")
    path = folder / f"fasttext-{dimensions}-{digest.hexdigest()[:16]}.npz"
    shape = (len(words), dimensions)
    found = _read(path, shape)
    if found is not None:
        return found
    vectors = _learn(words, sentences, dimensions)
    try:
        save_npz(path, {_FIELD: vectors})
    except OSError as error:
        print(f"{path}: word vectors not kept ({error})", file=sys.stderr, flush=True)
    return vectors


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Vectors in a file; None where there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        vectors = Arrays(path).read(_FIELD)
    except UserError:
        return None
    return vectors if vectors.shape == shape else None


def _learn(
    words: Sequence[str], sentences: Sequence[Sequence[str]], dimensions: int
) -> np.ndarray:
    models = import_extra("gensim.models", "text", "word vectors")
    print(
        f"learning the vectors of {len(words):,} words from {len(sentences):,} texts",
        file=sys.stderr,
        flush=True,
    )
    model = models.FastText(
        [list(sentence) for sentence in sentences],
        vector_size=dimensions,
        **_FASTTEXT,
    )
    return np.stack([model.wv[word] for word in words]).astype(np.float32)
