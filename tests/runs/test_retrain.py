import json
import re
import signal

import jax
import numpy as np
import pytest

from evojax_mtl.cli import main
from evojax_mtl.evaluation.complexity import complexity
from evojax_mtl.networks.cell_network import CellNetwork
from evojax_mtl.networks.darts_network import DartsNetwork
from evojax_mtl.runs.retrain import launch
from evojax_mtl.runs.retrain.plan import channel_moments
from evojax_mtl.runs.retrain.weights import read_weights
from evojax_mtl.runs.runner import Pacer
from evojax_mtl.runs.signals import Interrupt
from evojax_mtl.tasks.sources import load_tasks
from tests.runs.helpers import metrics, summary

# Few convolutions, so that they compile quickly.
FIRST = [0, 1, 6, 6] * 10
SECOND = [0, 1, 6, 7] * 10


class StopAfter(Interrupt):
    """Stands in for ``Interrupt``: a signal after so many looks at it."""

    looks = 0
    limit = 0

    def __init__(self):
        pass

    def __enter__(self):
        type(self).looks = 0
        return self

    def __exit__(self, *_):
        pass

    @property
    def signal(self):
        type(self).looks += 1
        return signal.SIGTERM if self.looks > self.limit else 0

    @property
    def status(self):
        return 128 + signal.SIGTERM


def make_run(path, networks, **config):
    """A folder as a search for cells leaves it."""
    path.mkdir(parents=True)
    stored = {"format": 1, "method": "emt-nas", "tasks": "digits", "data_dir": None}
    config = {"image_size": None, "max_tasks": 2, "max_classes": 3} | config
    (path / "config.json").write_text(json.dumps(stored | {"config": config}))
    best = {"networks": [{"name": n, "code": c} for n, c in networks.items()]}
    (path / "best.json").write_text(json.dumps(best))
    return path


def retrain(*words, status=0):
    assert main(["retrain", *map(str, words)]) == status


def without_times(folder):
    """What must be equal where two retrainings are."""
    times = ("seconds", "wall_seconds")
    lines = [{k: v for k, v in x.items() if k not in times} for x in metrics(folder)]
    files = {p.name: p.read_bytes() for p in (folder / "weights").iterdir()}
    return lines, files, summary(folder)["tasks"], summary(folder)["mean_test"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(
        tmp_path_factory.mktemp("search") / "search",
        {"digits-digit": FIRST, "digits-odd": SECOND},
    )


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "whole"
    retrain(run, "--scale", "tiny", "--out", out)
    return out


def test_every_task_of_a_run_is_trained_with_its_own_genotype(run, whole):
    assert {path.name for path in whole.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "summary.json",
        "weights",
        "report.html",
    }
    told = summary(whole)
    assert told["status"] == "completed"
    assert told["task_source"] == "digits"
    assert {"jax", "python", "flax"} <= told["versions"].keys()
    assert [task["name"] for task in told["tasks"]] == ["digits-digit", "digits-odd"]
    assert [task["code"] for task in told["tasks"]] == [FIRST, SECOND]
    assert [task["genotype"] for task in told["tasks"]] == [
        f"{run}, task digits-digit",
        f"{run}, task digits-odd",
    ]
    lines = metrics(whole)
    assert [(x["task"], x["epoch"]) for x in lines] == [
        (name, epoch) for name in ("digits-digit", "digits-odd") for epoch in (1, 2, 3)
    ]
    for task in told["tasks"]:
        own = [x for x in lines if x["task"] == task["name"]]
        tests = [x["test_accuracy"] for x in own]
        assert task["test"] == tests[-1]
        assert task["best_test"] == max(tests)
        assert task["best_epoch"] == 1 + tests.index(max(tests))
        assert all(0 <= x["train_accuracy"] <= 1 and x["loss"] > 0 for x in own)
    assert told["mean_test"] == pytest.approx(
        np.mean([task["test"] for task in told["tasks"]])
    )


def test_sizes_are_those_of_the_network_and_weights_give_its_accuracy(whole):
    tasks = {t.name: t for t in load_tasks("digits", max_tasks=2, max_classes=3)}
    for told in summary(whole)["tasks"]:
        task = tasks[told["name"]]
        network = CellNetwork(tuple(told["code"]), 2, 1, task.classes, 0.1)
        assert complexity(network, task.input_shape) == (
            told["parameters"],
            told["multiply_adds"],
        )
        variables = read_weights(whole / told["weights"])
        leaves = jax.tree.leaves(variables["params"])
        assert sum(leaf.size for leaf in leaves) == told["parameters"]
        images = task.test.images / np.float32(255)
        images = (images - told["image_mean"]) / told["image_std"]
        logits, _ = jax.jit(network.apply)(variables, images.astype(np.float32))
        chosen = np.asarray(logits).argmax(-1)
        # another batch size: a tie or two may fall otherwise
        right = (chosen == task.test.labels).mean()
        assert right == pytest.approx(told["test"], abs=0.01)
        counts = np.bincount(task.test.labels, minlength=task.classes)
        np.testing.assert_array_equal(np.sum(told["confusion"], 1), counts)
        share = np.trace(told["confusion"]) / len(task.test)
        assert share == pytest.approx(told["test"])


def test_report_is_one_file_with_curves_sizes_and_confusion(whole, capsys):
    before = (whole / "report.html").read_text()
    assert main(["report", str(whole)]) == 0
    assert capsys.readouterr().out.strip() == str(whole / "report.html")
    text = (whole / "report.html").read_text()
    assert text == before
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    for task in summary(whole)["tasks"]:
        assert task["name"] in text
        assert f"{task['parameters']:,}" in text
        assert f"{task['multiply_adds']:,}" in text
    for label in ("accuracy", "confusion-0", "confusion-1"):
        assert f'aria-label="{label}"' in text
    assert "nan" not in text


@pytest.mark.parametrize("looks", [1, 4, 9, 40])
def test_interrupted_resumes_to_the_same_bits(
    run, whole, tmp_path, monkeypatch, capsys, looks
):
    out = tmp_path / "cut"
    # a step at a time: stops within epochs, between them, and in the second task
    monkeypatch.setattr(Pacer, "stop", lambda self, tick, ticks: min(ticks, tick + 2))
    with monkeypatch.context() as patch:
        patch.setattr(launch, "Interrupt", StopAfter)
        patch.setattr(StopAfter, "limit", looks)
        retrain(run, "--scale", "tiny", "--out", out, status=143)
    assert summary(out)["status"] == "interrupted"
    assert f"evojax-mtl retrain --resume {out}" in capsys.readouterr().out
    retrain("--resume", out)
    assert without_times(out) == without_times(whole)
    assert summary(out)["status"] == "completed"
    assert summary(out)["sessions"] == (1 if looks == 0 else 2)


def test_a_finished_or_damaged_one_resumes_to_itself(run, whole, tmp_path, capsys):
    out = tmp_path / "again"
    retrain(run, "--scale", "tiny", "--out", out)
    assert without_times(out) == without_times(whole)
    newest = max((out / "checkpoints").iterdir())
    (newest / "manifest.json").unlink()
    assert main(["resume", str(out)]) == 0
    assert "is damaged" in capsys.readouterr().err
    assert without_times(out) == without_times(whole)


def test_the_first_weights_differ_by_seed_and_not_by_the_other_tasks(
    run, whole, tmp_path
):
    out, other = tmp_path / "alone", tmp_path / "other"
    words = ("--scale", "tiny", "--task", "digits-odd")
    retrain(run, *words, "--out", out)
    retrain(run, *words, "--seed", "1", "--out", other)
    assert summary(out)["tasks"] == summary(whole)["tasks"][1:]
    assert metrics(other)[0]["loss"] != metrics(out)[0]["loss"]


def test_transfer_to_another_source(run, tmp_path):
    out = tmp_path / "transfer"
    words = ("--tasks", "glyphs:1", "--image-size", "8", "--from", "digits-odd")
    recipe = ("--flip", "--crop", "1", "--cutout", "2", "--train-on", "train")
    shape = ("--scale", "tiny", "--epochs", "2", "--test-every", "2")
    retrain(run, *words, *recipe, *shape, "--out", out)
    (told,) = summary(out)["tasks"]
    (task,) = load_tasks("glyphs:1", image_size=8, max_classes=3)
    assert (told["name"], told["code"]) == (task.name, SECOND)
    assert told["genotype"] == f"{run}, task digits-odd"
    assert told["training_examples"] == len(task.train)
    assert [x["test_accuracy"] is None for x in metrics(out)] == [True, False]
    config = json.loads((out / "config.json").read_text())
    assert (config["tasks"], config["config"]["flip"]) == ("glyphs:1", True)


def test_darts_network_of_a_bare_list(tmp_path):
    (tmp_path / "cells.json").write_text(json.dumps(FIRST))
    out = tmp_path / "darts"
    shape = ("--scale", "tiny", "--epochs", "1", "--network", "darts")
    retrain(tmp_path / "cells.json", *shape, "--out", out)
    (told,) = summary(out)["tasks"]
    network = DartsNetwork(tuple(FIRST), 2, 1, 3, auxiliary=False)
    size = complexity(network, tuple(told["input_shape"]))
    assert (told["parameters"], told["multiply_adds"]) == size


def test_channel_moments_are_numpys():
    (task,) = load_tasks("digits:digit")
    images = task.train.images / 255
    mean, std = channel_moments(task.train)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, images.std((0, 1, 2)), rtol=1e-6)


BAD = [
    ("", "no genotype given"),
    ("--seed 1", "no genotype given"),
    ("emt-c11", "must be one of emt-c10"),
    ("nowhere/run", "no such file or folder"),
    ("cells.json", "no such file or folder"),
    ("{tmp}/short.json", "found 3 values"),
    ("{tmp}/operation.json", "found operation 9"),
    ("{tmp}/text.json", "no JSON"),
    ("{tmp}/empty", "has no config.json"),
    ("{tmp}/unfinished", "has no best.json"),
    ("{tmp}/routed", "no genotype of cells"),
    ("{tmp}/sweep", "--search: found nothing, must be one of the searches"),
    ("{tmp}/sweep --search 2", "0 to 1"),
    ("{tmp}/run --search 0", "holds one search"),
    ("{tmp}/run --task nosuch", "--task: unknown 'nosuch'"),
    ("{tmp}/run --from nosuch", "--from: unknown 'nosuch'"),
    ("{tmp}/run --tasks glyphs:1", "--from: not given"),
    ("emt-c10 --from digits-odd", "is a single genotype"),
    ("emt-c10 --tasks nosuch", "unknown source"),
    ("emt-c10 --network resnet", "allowed: emt-nas, darts"),
    ("emt-c10 --scale huge", "allowed: smoke"),
    ("emt-c10 --seed -1", "--seed: found -1"),
    ("emt-c10 --epochs 0", "--epochs: found 0, must be at least 1"),
    ("emt-c10 --channels 0", "--channels: found 0"),
    ("emt-c10 --drop-path 1", "below 1"),
    ("emt-c10 --epohcs 3", "did you mean --epochs"),
    ("emt-c10 --image-size 3", "must be 4 or more a side"),
    ("emt-c10 --network darts --auxiliary", "leave the head out"),
    ("emt-c10 --network darts --dropout 0.1", "unknown option --dropout"),
    ("emt-c10 --data-dir {tmp}/nowhere", "nowhere"),
    ("emt-c10 --out {tmp}/run", "already holds a run"),
    ("--resume {tmp}/nowhere", "no such folder"),
    ("--resume {tmp}/run", "is no retraining"),
    ("--resume {tmp}/run --seed 1", "takes no other option"),
    ("emt-c10 --resume {tmp}/run", "takes no other option"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("bad")
    make_run(tmp / "run", {"digits-digit": FIRST, "digits-odd": SECOND})
    (make_run(tmp / "unfinished", {}) / "best.json").unlink()
    routed = {"networks": [{"name": "a", "nodes": [], "edges": []}]}
    (make_run(tmp / "routed", {}) / "best.json").write_text(json.dumps(routed))
    one = {"networks": [{"name": "a", "code": FIRST}]}
    sweep = make_run(tmp / "sweep", {}) / "best.json"
    sweep.write_text(json.dumps({"searches": [one, one]}))
    (tmp / "empty").mkdir()
    (tmp / "short.json").write_text("[1, 2, 3]")
    (tmp / "operation.json").write_text(json.dumps([0, 1, 9, 0] * 10))
    (tmp / "text.json").write_text("[1, 2")
    return tmp


@pytest.mark.parametrize(("line", "told"), BAD, ids=[line for line, _ in BAD])
def test_wrong_input_ends_with_one_line(
    line, told, folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["retrain", *line.format(tmp=folder).split()]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("evojax-mtl: error: ")
    assert output.err.count("\n") == 1
    assert told in output.err
    assert output.out == ""
    assert not list(tmp_path.iterdir())
