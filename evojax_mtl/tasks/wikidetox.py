"""``wikidetox``: comments on Wikipedia's talk pages, toxic or not.

Read from the first folder that has, itself or in its folder ``wikidetox``,

* ``wikidetox*.csv`` or ``wikidetox*.csv.gz``: a row a comment with the columns
  ``comment_text`` and at least one of ``LABELS``, each 0 or 1 (the ``train.csv`` of
  Kaggle's Toxic Comment Classification Challenge, renamed);
* ``toxicity_annotated_comments.tsv`` and ``toxicity_annotations.tsv``: Wikimedia's own
  release (Wulczyn 2017). A comment is toxic if more than half of its annotators say so.

The task ``wikidetox`` asks whether a comment has any of the labels, as LEAF does (Liang
2019, 4.1). ``wikidetox:any+obscene`` names tasks, of which ``any`` is that one.

Splits are fixed: those of Wikimedia's release (60/20/20 %), else 60/20/20 % of the
comments with a label and of those without. Words are in lower case; a comment keeps its
first 128, or ``text_length``. Their vectors, of 100 dimensions, are FastText's, learnt
from the training split and kept in ``computed`` of the user's cache folder.

Where the paper leaves room: it names no length and no dimensions, and speaks of four
categories that are combined; the two releases have one and six.
"""

import csv
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.build import split_rows
from evojax_mtl.tasks.files import missing
from evojax_mtl.tasks.request import Request, cache_folder
from evojax_mtl.tasks.subwords import trained
from evojax_mtl.tasks.task import SPLITS
from evojax_mtl.tasks.texts import TextTask, build_corpus, tokenise

NAME, ANY, TOXICITY, TEXT = "wikidetox", "any", "toxicity", "comment_text"
LABELS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
COMMENTS, ANNOTATIONS = "toxicity_annotated_comments.tsv", "toxicity_annotations.tsv"
LENGTH, DIMENSIONS = 128, 100
WHERE = (
    f"get {COMMENTS} and {ANNOTATIONS} from "
    "https://doi.org/10.6084/m9.figshare.4563973, or train.csv of "
    "kaggle.com/c/jigsaw-toxic-comment-classification-challenge, as wikidetox.csv"
)
_SHARES = (6, 2)
_SPLIT_SEED = 0
_OFFICIAL = {"train": "train", "dev": "validation", "test": "test"}
_SIGNS = {"NEWLINE_TOKEN": "\n", "TAB_TOKEN": "\t"}

# Texts, labels by name, rows by split.
Read = tuple[list[str], dict[str, np.ndarray], dict[str, np.ndarray]]


def load(argument: str | None, request: Request) -> list[TextTask]:
    """The tasks that ``argument`` names, joined by ``+``; ``any`` by default.

    Raises:
      UserError: a file is missing, there twice or damaged, a row has no text, a label
        is neither 0 nor 1, or there is no such label.
    """
    paths = _find(request)
    texts, labels, splits = _read_tsv(*paths) if len(paths) > 1 else _read_csv(*paths)
    names = (argument or ANY).split("+")
    for name in names:
        if name not in labels:
            raise UserError(
                f"tasks 'wikidetox:{argument}': found {name!r}; allowed with "
                f"{paths[0]}: {', '.join(labels)}, joined by +"
            )
    corpus = build_corpus(
        str(paths[0]),
        [tokenise(text) for text in texts],
        {name: labels[name] for name in names},
        splits,
        request.text_length or LENGTH,
        lambda words, train: trained(
            words, train, DIMENSIONS, cache_folder() / "computed"
        ),
    )
    return [
        TextTask(NAME if name == ANY else f"{NAME}-{name}", corpus, name)
        for name in names[: request.max_tasks]
    ]


def _find(request: Request) -> tuple[Path, ...]:
    """The CSV file, or both TSV files, of the first folder that has them."""
    for folder in (f / sub for f in request.folders for sub in ("", NAME)):
        pair = (folder / COMMENTS, folder / ANNOTATIONS)
        there = [path for path in pair if path.is_file()]
        found = sorted([*folder.glob(f"{NAME}*.csv"), *folder.glob(f"{NAME}*.csv.gz")])
        if len(there) == 1:
            absent = pair[1] if there[0] == pair[0] else pair[0]
            raise UserError(f"{absent}: no such file beside {there[0].name}")
        if len(found) + bool(there) > 1:
            names = ", ".join(path.name for path in [*found, *there])
            raise UserError(
                f"{folder}: found {NAME} {len(found) + bool(there)} times ({names}); "
                "allowed: one, so move the others away"
            )
        if found or there:
            return tuple(found) or pair
    raise missing(f"{NAME}*.csv or {COMMENTS}", request.folders, WHERE)


def _rows(path: Path, dialect: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a file as dictionaries, numbered from 1 after the header."""
    csv.field_size_limit(sys.maxsize)
    opening = gzip.open if path.suffix == ".gz" else open
    try:
        with opening(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, dialect=dialect)
            yield 0, dict.fromkeys(reader.fieldnames or (), "")
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise UserError(
                        f"{path}: row {number} has not as many fields as the header"
                    )
                yield number, row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable table ({reason})") from None


def _require(path: Path, header: dict[str, str], *columns: str) -> None:
    absent = [name for name in columns if name not in header]
    if absent:
        found = ", ".join(header) or "nothing"
        raise UserError(f"{path}: column {absent[0]!r} is missing; found {found}")


def _text(path: Path, number: int, text: str) -> str:
    if not text.strip():
        raise UserError(
            f"{path}: row {number} has no text; allowed: a comment in every row"
        )
    return text


def _label(path: Path, number: int, name: str, found: str) -> int:
    try:
        value = float(found)
    except ValueError:
        value = -1
    if value not in (0, 1):
        raise UserError(f"{path}: row {number}: found {name} {found!r}; allowed: 0, 1")
    return int(value)


def _read_csv(path: Path) -> Read:
    rows = _rows(path, "excel")
    _, header = next(rows)
    names = [name for name in LABELS if name in header]
    _require(path, header, TEXT, *(names or LABELS[:1]))
    texts, found = [], []
    for number, row in rows:
        texts.append(_text(path, number, row[TEXT]))
        found.append([_label(path, number, name, row[name]) for name in names])
    if not texts:
        raise UserError(f"{path}: no row; allowed: a comment in every row")
    values = np.array(found, np.int8)
    labels = {ANY: values.max(1)}
    labels |= {name: values[:, i] for i, name in enumerate(names)}
    return texts, labels, split_rows(labels[ANY], _SPLIT_SEED, _SHARES)


def _key(path: Path, number: int, found: str) -> int:
    try:
        return int(float(found))
    except (ValueError, OverflowError):
        raise UserError(
            f"{path}: row {number}: found rev_id {found!r}; allowed: a number"
        ) from None


def _read_tsv(comments: Path, annotations: Path) -> Read:
    votes: dict[int, list[int]] = {}
    rows = _rows(annotations, "excel-tab")
    _require(annotations, next(rows)[1], "rev_id", TOXICITY)
    for number, row in rows:
        vote = _label(annotations, number, TOXICITY, row[TOXICITY])
        votes.setdefault(_key(annotations, number, row["rev_id"]), []).append(vote)
    rows = _rows(comments, "excel-tab")
    _require(comments, next(rows)[1], "rev_id", "comment", "split")
    texts, labels = [], []
    splits: dict[str, list[int]] = {name: [] for name in SPLITS}
    for number, row in rows:
        text = _text(comments, number, row["comment"])
        for sign, meaning in _SIGNS.items():
            text = text.replace(sign, meaning)
        own = votes.get(_key(comments, number, row["rev_id"]))
        if own is None:
            raise UserError(
                f"{comments}: row {number}: rev_id {row['rev_id']} has no annotation "
                f"in {annotations.name}"
            )
        if row["split"] not in _OFFICIAL:
            raise UserError(
                f"{comments}: row {number}: found split {row['split']!r}; allowed: "
                f"{', '.join(_OFFICIAL)}"
            )
        splits[_OFFICIAL[row["split"]]].append(len(texts))
        labels.append(2 * sum(own) > len(own))
        texts.append(text)
    toxic = np.array(labels, np.int8)
    members = {name: np.array(own, int) for name, own in splits.items()}
    return texts, {ANY: toxic, TOXICITY: toxic}, members
