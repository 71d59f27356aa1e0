"""Words, their vectors, and texts on the device."""

import sys
import types

import jax
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import subwords
from evojax_mtl.tasks.dataset import TEST, TRAIN, VALIDATION
from evojax_mtl.tasks.streaming import TaskData
from evojax_mtl.tasks.text_dataset import ResidentTexts, stack_texts
from evojax_mtl.tasks.texts import UNKNOWN, TextTask, build_corpus, tokenise

TEXTS = [f"text {word}" for word in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]]
SPLITS = {
    "train": np.array([1, 3, 5, 7, 9]),
    "validation": np.array([0, 2]),
    "test": np.array([4, 6, 8]),
}
LABELS = {
    "odd": np.arange(10) % 2,
    "late": np.where(np.arange(10) < 2, UNKNOWN, np.arange(10) > 4),
}


def make(length=3, labels=LABELS, splits=SPLITS):
    return build_corpus(
        "made",
        [tokenise(text) for text in TEXTS],
        labels,
        splits,
        length,
        lambda words, _: subwords.drawn(words, 8),
    )


def tasks_of(corpus):
    return [TextTask(name, corpus, name) for name in corpus.labels]


@pytest.fixture(scope="module")
def data():
    return stack_texts(tasks_of(make()))


def test_words():
    assert tokenise("Don't shout -- it's NOT_ok!! 2nd\tÜber") == [
        *("don't", "shout", "-", "-", "it's", "not", "ok", "!", "!", "2nd", "über")
    ]
    assert tokenise(" \n_ ") == []


def test_numbers_of_words_come_by_count_and_fill_from_the_left():
    corpus = make()
    assert corpus.words[:3] == ("text", "a", "b")
    assert corpus.tokens[0].tolist() == [1, 2, 0]
    assert make(length=1).tokens.tolist() == [[1]] * 10
    assert corpus.vectors.shape == (12, 8)
    assert not corpus.vectors[0].any()


def test_a_words_subwords():
    # the n-grams of "where" in Bojanowski 2017, 3.2, for n = 3
    of_three = [part for part in subwords.subwords("where") if len(part) == 3]
    assert of_three == ["<wh", "whe", "her", "ere", "re>"]
    assert {len(part) for part in subwords.subwords("where")} == {3, 4, 5, 6}
    assert subwords.subwords("a") == ["<a>"]


def test_drawn_vectors_of_words_spelt_alike_are_near():
    words = ["delightful", "delihgtful", "delightfully", "thunder", "soup"]
    vectors = subwords.drawn(words, 200)
    near = vectors @ vectors.T
    assert near[0, 2] > 0.6
    assert near[0, 1] > 0.15
    assert np.abs(near[0, 3:]).max() < 0.15
    np.testing.assert_allclose(np.diag(near), 1, atol=0.35)
    np.testing.assert_array_equal(vectors[3:], subwords.drawn(words[3:], 200))


def fake_gensim(monkeypatch):
    """A stand-in that learns nothing, and a list of what it was asked."""
    asked = []

    class FastText:
        def __init__(self, sentences, vector_size, **settings):
            asked.append((sentences, vector_size, settings))
            self.wv = {w: np.full(vector_size, len(w), np.float32) for w in ("ab", "c")}

    models = types.SimpleNamespace(FastText=FastText)
    monkeypatch.setitem(sys.modules, "gensim", types.SimpleNamespace(models=models))
    monkeypatch.setitem(sys.modules, "gensim.models", models)
    return asked


def test_learnt_vectors_are_kept_and_a_damaged_file_is_learnt_again(
    monkeypatch, tmp_path
):
    asked = fake_gensim(monkeypatch)
    for again in range(3):
        found = subwords.trained(["ab", "c"], [["c", "c"]], 4, tmp_path)
        np.testing.assert_array_equal(found, [[2] * 4, [1] * 4])
        (file,) = tmp_path.glob("*.npz")
        if again:
            file.write_bytes(b"no longer a file")
    assert [one[:2] for one in asked] == [([["c", "c"]], 4)] * 2
    subwords.trained(["ab", "c"], [["c", "ab"]], 4, tmp_path)
    assert len(asked) == 3


def test_without_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gensim", None)
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(UserError, match=r"pip install 'evojax-mtl\[text\]'"):
        subwords.trained(["a"], [["a"]], 4, tmp_path)


def test_fasttext_learns_who_keeps_company_with_whom(tmp_path):
    pytest.importorskip("gensim", reason="the extra 'text' is not installed")
    rng = np.random.default_rng(0)
    fields = (["bread", "soup", "cheese", "apple"], ["train", "bus", "ship", "plane"])
    sentences = [list(rng.choice(fields[i % 2], 6)) for i in range(300)]
    words = [*fields[0], *fields[1], "breads"]
    vectors = subwords.trained(words, sentences, 16, tmp_path / "a")
    again = subwords.trained(words, sentences, 16, tmp_path / "b")
    np.testing.assert_array_equal(vectors, again)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T
    own = near[:4, :4][~np.eye(4, dtype=bool)].mean()
    assert own > near[:4, 4:8].mean() + 0.1
    # never seen, yet it has the vector of what it is spelt like
    assert np.argmax(near[8, :8]) == 0


def test_what_it_tells(data):
    assert (data.tasks, data.names, data.max_classes) == (2, ("odd", "late"), 2)
    assert data.split_sizes == (5, 2, 3)
    assert [data.batches(split, 2) for split in range(3)] == [3, 1, 2]
    assert isinstance(ResidentTexts(tasks_of(make())), TaskData)


def test_samples_are_training_texts_and_all_of_them_come(data):
    batch = jax.jit(lambda key: data.sample(key, 200))(jax.random.key(0))
    rows = np.asarray(batch.tokens[..., 1]) - 2
    for own in rows:
        assert set(own.tolist()) == {1, 3, 5, 7, 9}
    assert (rows[0] != rows[1]).any()
    assert (batch.labels[0] == 1).all()
    np.testing.assert_array_equal(batch.labels[1], (rows[1] > 4))
    np.testing.assert_array_equal(batch.mask, [np.ones(200, bool), rows[1] > 1])


@pytest.mark.parametrize("split", [TRAIN, VALIDATION, TEST])
def test_a_pass_sees_each_text_of_a_split_once(data, split):
    take = jax.jit(lambda index: data.batch_at(split, index, 2))
    seen = []
    for index in range(data.batches(split, 2)):
        batch = take(index)
        counted = np.asarray(batch.mask[0])
        seen += (np.asarray(batch.tokens[0, counted, 1]) - 2).tolist()
    assert seen == list(SPLITS.values())[split].tolist()
    assert take._cache_size() == 1


def test_vectors_of_the_padding_are_zero(data):
    found = data.vectors(data.batch_at(TEST, 0, 2).tokens)
    assert found.shape == (2, 2, 3, 8)
    assert not found[:, :, 2].any()
    np.testing.assert_array_equal(found[0, 0, 1], data.table[2 + 4])


def test_another_split_in_tests_place(data):
    views = [data.only(VALIDATION), data.only(TEST)]
    assert views[0].split_sizes == views[1].split_sizes == (5, 3, 3)
    for view, name in zip(views, ("validation", "test"), strict=True):
        size = int(view.sizes[TEST])
        assert view.members[TEST, :size].tolist() == SPLITS[name].tolist()


def test_tasks_of_another_corpus_do_not_join():
    with pytest.raises(ValueError, match="several Corpora"):
        stack_texts(tasks_of(make())[:1] + tasks_of(make())[1:])


def test_a_split_without_labels_is_an_error():
    labels = LABELS | {"late": np.where(np.arange(10) < 3, UNKNOWN, 1)}
    message = "made: the validation split has no text with a label 'late'"
    with pytest.raises(UserError, match=message):
        make(labels=labels)
