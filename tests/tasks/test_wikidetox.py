"""Wikipedia's comments, in both layouts that they are published in."""

import csv
import gzip

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import wikidetox
from evojax_mtl.tasks.sources import load_tasks

HEADER = ("row", "comment_text", "toxic", "obscene")


def plain(words, dimensions):
    return np.ones((len(words), dimensions), np.float32)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Words' vectors that need no extra."""
    monkeypatch.setattr(
        wikidetox, "trained", lambda words, train, d, folder: plain(words, d)
    )


def write(path, rows, header=HEADER, delimiter=","):
    path.parent.mkdir(exist_ok=True)
    opening = gzip.open if path.suffix == ".gz" else open
    with opening(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def comments(count=50):
    """Every fifth is toxic, every tenth obscene."""
    return [
        [i, f'comment "{i}",\nsecond line', int(i % 5 == 0), int(i % 10 == 0)]
        for i in range(count)
    ]


@pytest.mark.parametrize("name", ["wikidetox.csv", "wikidetox/wikidetox_50.csv.gz"])
def test_any_label_makes_a_comment_toxic(tmp_path, name):
    rows = comments()
    rows[3][3] = 1
    write(tmp_path / name, rows)
    (task,) = load_tasks("wikidetox", data_dir=tmp_path)
    assert (task.name, task.metric, task.loss) == (
        *("wikidetox", "accuracy", "cross_entropy"),
    )
    toxic = task.corpus.labels[task.label]
    assert np.flatnonzero(toxic).tolist() == sorted([3, *range(0, 50, 5)])
    sizes = {name: len(rows) for name, rows in task.corpus.splits.items()}
    assert sizes == {"train": 29, "validation": 9, "test": 12}
    every = np.concatenate(list(task.corpus.splits.values()))
    assert sorted(every.tolist()) == list(range(50))
    shares = [toxic[rows].mean() for rows in task.corpus.splits.values()]
    np.testing.assert_allclose(shares, 11 / 50, atol=0.04)


def test_labels_as_tasks_of_one_corpus(tmp_path):
    write(tmp_path / "wikidetox.csv", comments())
    tasks = load_tasks("wikidetox:any+obscene", data_dir=tmp_path, text_length=4)
    assert [task.name for task in tasks] == ["wikidetox", "wikidetox-obscene"]
    corpus = tasks[0].corpus
    assert tasks[1].corpus is corpus
    assert corpus.labels["obscene"].sum() == 5
    words = [corpus.words[token - 1] for token in corpus.tokens[7]]
    assert words == ["comment", '"', "7", '"']


def test_vectors_are_learnt_from_the_training_split_alone(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        wikidetox,
        "trained",
        lambda words, train, d, folder: seen.append((words, train)) or plain(words, d),
    )
    write(tmp_path / "wikidetox.csv", comments())
    (task,) = load_tasks("wikidetox", data_dir=tmp_path)
    ((words, train),) = seen
    assert [int(text[2]) for text in train] == task.corpus.splits["train"].tolist()
    assert {str(i) for i in range(50)} <= set(words)
    assert task.corpus.vectors.shape == (len(words) + 1, wikidetox.DIMENSIONS)


def write_tsv(folder, texts, splits, votes):
    write(
        folder / wikidetox.COMMENTS,
        [[f"{i}.0", t, s] for i, (t, s) in enumerate(zip(texts, splits, strict=True))],
        ("rev_id", "comment", "split"),
        "\t",
    )
    write(
        folder / wikidetox.ANNOTATIONS,
        [[float(i), w, v] for i, own in enumerate(votes) for w, v in enumerate(own)],
        ("rev_id", "worker_id", "toxicity"),
        "\t",
    )


def test_wikimedias_release(tmp_path):
    texts = ["one`sNEWLINE_TOKENbad", "twoTAB_TOKENgood", 'a "third"', "four"]
    votes = [[1, 1, 0], [0.0, 1.0], [0, 0], [1]]
    write_tsv(tmp_path, texts, ["train", "train", "dev", "test"], votes)
    (task,) = load_tasks("wikidetox", data_dir=tmp_path)
    # more than half: one of two is not
    assert task.corpus.labels[task.label].tolist() == [1, 0, 0, 1]
    rows = {name: own.tolist() for name, own in task.corpus.splits.items()}
    assert rows == {"train": [0, 1], "validation": [2], "test": [3]}
    first = [task.corpus.words[token - 1] for token in task.corpus.tokens[0] if token]
    assert first == ["one", "`", "s", "bad"]


def changed(row, column, value):
    rows = comments()
    rows[row][column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (changed(6, 1, "  "), HEADER, "csv: row 7 has no text; allowed: a comment"),
        (changed(2, 3, 2), HEADER, "csv: row 3: found obscene '2'; allowed: 0, 1"),
        (changed(2, 2, -1), HEADER, "row 3: found toxic '-1'"),
        (changed(2, 2, ""), HEADER, "row 3: found toxic ''; allowed: 0, 1"),
        (changed(2, 2, "nan"), HEADER, "row 3: found toxic 'nan'"),
        (comments(), ("row", "text", "toxic", "obscene"), "'comment_text' is missing"),
        (comments(), ("row", "comment_text", "a", "b"), "column 'toxic' is missing"),
        ([[1, "x"]], HEADER, "row 1 has not as many fields as the header"),
        ([], HEADER, "no row"),
        (comments(3), HEADER, "the train split has no text|the validation split has"),
    ],
)
def test_a_row_that_is_not_as_published(tmp_path, rows, header, message):
    write(tmp_path / "wikidetox.csv", rows, header)
    with pytest.raises(UserError, match=message) as caught:
        load_tasks("wikidetox", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "splits", "votes", "message"),
    [
        (["a", ""], ["train", "dev"], [[1], [0]], "row 2 has no text"),
        (["a", "b"], ["train", "val"], [[1], [0]], "row 2: found split 'val'; allow"),
        (["a", "b"], ["train", "dev"], [[1], []], "row 2: rev_id 1.0 has no annotatio"),
        (["a", "b"], ["train", "dev"], [[1], [3]], "row 2: found toxicity '3'; allow"),
    ],
)
def test_a_release_that_is_not_as_published(tmp_path, texts, splits, votes, message):
    write_tsv(tmp_path, texts, splits, votes)
    with pytest.raises(UserError, match=message):
        load_tasks("wikidetox", data_dir=tmp_path)


def test_files(tmp_path):
    with pytest.raises(UserError, match=r"wikidetox\*.csv or .* not found in .*figsh"):
        load_tasks("wikidetox", data_dir=tmp_path)
    write(tmp_path / "wikidetox.csv", comments())
    with pytest.raises(
        UserError, match=r"found 'rude'; allowed with .*: any, toxic, o"
    ):
        load_tasks("wikidetox:rude", data_dir=tmp_path)
    write(tmp_path / "wikidetox_2.csv", comments())
    with pytest.raises(UserError, match=r"found wikidetox 2 times \(wikidetox.csv, "):
        load_tasks("wikidetox", data_dir=tmp_path)
    (tmp_path / "wikidetox.csv").unlink()
    (tmp_path / "wikidetox_2.csv").unlink()
    write(tmp_path / wikidetox.COMMENTS, [], ("rev_id", "comment", "split"), "\t")
    with pytest.raises(UserError, match=r"toxicity_annotations.tsv: no such file bes"):
        load_tasks("wikidetox", data_dir=tmp_path)
    (tmp_path / wikidetox.COMMENTS).unlink()
    (tmp_path / "wikidetox.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(UserError, match=r"csv.gz: not a readable table"):
        load_tasks("wikidetox", data_dir=tmp_path)


def test_real_comments(real_data):
    if not list(real_data.glob("wikidetox*.csv*")):
        pytest.skip(f"{real_data} has no wikidetox*.csv")
    (task,) = load_tasks("wikidetox", data_dir=real_data)
    sizes = [len(rows) for rows in task.corpus.splits.values()]
    assert sum(sizes) == len(task.corpus.tokens)
    np.testing.assert_allclose(np.array(sizes) / sum(sizes), [0.6, 0.2, 0.2], atol=1e-3)
    assert 0.08 < task.corpus.labels[task.label].mean() < 0.12
