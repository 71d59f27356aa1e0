"""What the card of Liang 2018's Table 1 asks of its runs, and keeps of them."""

import json
import sys

import pytest

from evojax_mtl.methods import find_method
from experiments.papers import liang2018_codeepneat as card
from experiments.papers.liang2018_codeepneat import PAPER, SCALES, examples, options_of


def test_all_methods_train_for_the_papers_30000_iterations_at_paper():
    for method in PAPER:
        config = find_method(method).configure("paper")
        assert (examples(config), config.batch) == (30_000, 1)
        assert options_of(method, "paper") in ({}, {"generations": 120})


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", ["single-task", "soft-ordering", "ctr"])
def test_methods_without_a_search_train_as_long_as_cmtr(method, scale):
    wanted = examples(find_method("cmtr").configure(scale))
    config = find_method(method).configure(scale)
    length = options_of(method, scale)["generations"]
    found = examples(type(config)(**vars(config) | {"generations": length}))
    assert abs(found - wanted) <= config.iterations * config.batch / 2


def test_rows_of_other_methods_stay_until_the_setting_changes(monkeypatch, tmp_path):
    asked = []

    def fake(folder, method, options):
        asked.append((method, options["seed"]))
        score = 0.5 + 0.01 * len(asked)
        told = ("mean_validation", "mean_test", "wall_seconds", "parameters")
        return dict.fromkeys(told, score)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["card", *words, "--out", str(tmp_path)])
        card.main()
        return json.loads((tmp_path / "liang2018_codeepneat_smoke.json").read_text())

    monkeypatch.setattr(card, "run", fake)
    monkeypatch.setattr(card, "command", lambda arguments: None)
    monkeypatch.setattr(card, "RESULTS", tmp_path)
    monkeypatch.setattr("experiments.papers.cards.RESULTS", tmp_path)
    first = call("--methods", "cmtr", "--seeds", "2")
    assert asked == [("cmtr", 1), ("cmtr", 2)]
    assert first["missing"] == [m for m in PAPER if m != "cmtr"]
    both = call("--methods", "cm", "--seeds", "2")
    assert list(both["results"]) == ["cm", "cmtr"]
    assert both["results"]["cmtr"] == first["results"]["cmtr"]
    assert [row["methods"] for row in both["comparisons"]] == [["cm", "cmtr"]]
    assert list(call("--methods", "cm")["results"]) == ["cm"]
