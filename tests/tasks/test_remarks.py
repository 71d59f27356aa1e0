"""Opinions written by procedure."""

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.remarks import QUESTIONS, remark
from evojax_mtl.tasks.sources import load_tasks


def words_of(corpus, row):
    return [corpus.words[token - 1] for token in corpus.tokens[row] if token]


def test_four_questions_about_the_same_remarks():
    tasks = load_tasks("remarks:100")
    assert [task.name for task in tasks] == [f"remarks-{name}" for name in QUESTIONS]
    corpus = tasks[0].corpus
    assert all(task.corpus is corpus for task in tasks)
    assert {name: len(rows) for name, rows in corpus.splits.items()} == {
        "train": 60,
        "validation": 20,
        "test": 20,
    }
    text, labels = remark(0, 7)
    assert words_of(corpus, 7) == text.split()
    assert {name: own[7] for name, own in corpus.labels.items()} == labels
    assert len(load_tasks("remarks:100", max_tasks=3)) == 3
    assert load_tasks("remarks:100", text_length=5)[0].corpus.tokens.shape == (100, 5)


def test_a_remark_does_not_depend_on_how_many_there_are():
    few, many = (load_tasks(f"remarks:{n}", seed=3)[0].corpus for n in (30, 60))
    for row in range(30):
        assert words_of(few, row) == words_of(many, row)
    other = load_tasks("remarks:30", seed=4)[0].corpus
    assert [words_of(other, r) for r in range(9)] != [
        words_of(few, r) for r in range(9)
    ]


def test_the_answers_are_in_the_words():
    for number in range(300):
        text, labels = remark(1, number)
        words = text.split()
        assert ("was" in words) == bool(labels["past"])
        assert ("is" in words) == (not labels["past"])
        if words[-1] in ".?":
            assert (words[-1] == "?") == bool(labels["question"])
        verb = words.index("was" if labels["past"] else "is")
        assert (words[verb + 1] == "the") == bool(labels["question"])


def test_each_answer_is_given_about_as_often():
    answers = np.array([list(remark(2, n)[1].values()) for n in range(1000)])
    assert (np.abs(answers.mean(0) - 0.5) < 0.06).all()


@pytest.mark.parametrize(
    ("spec", "wish", "message"),
    [
        ("remarks:few", {}, "found 'few'; allowed: a number of remarks, 20 to 200000"),
        ("remarks:19", {}, "found '19'"),
        ("remarks", {"seed": -1}, "data seed: found -1"),
        ("remarks", {"text_length": 0}, "text_length: found 0; allowed: 1 to 4096"),
        ("remarks", {"max_classes": 2}, "allowed for texts: None"),
        ("remarks,wikidetox", {}, "allowed: one source of texts"),
        ("remarks,digits", {}, "remarks gives texts and digits images"),
    ],
)
def test_errors(spec, wish, message):
    with pytest.raises(UserError, match=message):
        load_tasks(spec, **wish)
