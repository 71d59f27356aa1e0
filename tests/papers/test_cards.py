"""How cards make the runs that are not there yet."""

import json

import pytest

from experiments.papers import cards


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The commands; each leaves a completed run."""
    found = []

    def command(words):
        found.append(words)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "summary.json").write_text(json.dumps({"status": "completed"}))

    monkeypatch.setattr(cards, "command", command)
    return found


def once(tmp_path):
    return cards.once(tmp_path / "run", ["run", "cm"], ["resume"])


def test_a_completed_run_is_not_repeated(asked, tmp_path):
    folder = str(tmp_path / "run")
    assert once(tmp_path) == once(tmp_path) == {"status": "completed"}
    assert asked == [["run", "cm", "--out", folder]]


def test_a_run_cut_off_goes_on(asked, tmp_path):
    (tmp_path / "run" / "checkpoints" / "3").mkdir(parents=True)
    once(tmp_path)
    assert asked == [["resume", str(tmp_path / "run")]]


def test_a_run_killed_before_its_first_checkpoint_begins_anew(asked, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").touch()
    once(tmp_path)
    assert asked == [["run", "cm", "--out", str(folder)]]
    assert not (folder / "config.json").exists()
