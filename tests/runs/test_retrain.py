import contextlib
import json
import re
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.cli import main
from evojax_mtl.evaluation.complexity import complexity
from evojax_mtl.evaluation.retrain_data import Pool
from evojax_mtl.networks.cell_network import CellNetwork
from evojax_mtl.networks.darts_network import DartsNetwork
from evojax_mtl.runs.retrain import launch, plan, report
from evojax_mtl.runs.retrain.plan import channel_moments
from evojax_mtl.runs.retrain.settings import preset
from evojax_mtl.runs.retrain.weights import read_weights
from evojax_mtl.runs.runner import Pacer
from evojax_mtl.tasks.sources import load_tasks
from tests.runs.helpers import StopAfter, metrics, summary

# Few convolutions, so that they compile quickly.
FIRST = [0, 1, 6, 6] * 10
SECOND = [0, 1, 6, 7] * 10


class Terminate(StopAfter):
    number = signal.SIGTERM


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


class Linear(nn.Module):
    """A linear layer with what else a plain network has, quick to compile."""

    classes: int

    @nn.compact
    def __call__(self, images, drop_path=0.0, *, train=False):
        mean = self.variable("batch_stats", "mean", jnp.zeros, ())
        if train:
            mean.value = 0.9 * mean.value + 0.1 * images.mean()
            images = nn.Dropout(0.5, deterministic=False)(images)
        return nn.Dense(self.classes)(images.reshape(len(images), -1)), None


@contextlib.contextmanager
def linear_networks():
    """Trains linear layers, whatever the genotype, and spares the reports' second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "build_network", lambda _, code, classes: Linear(classes))
        patch.setattr(report, "write_report", lambda *_: None)
        yield


@pytest.fixture
def linear():
    with linear_networks():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(
        tmp_path_factory.mktemp("search") / "search",
        {"digits-digit": FIRST, "digits-odd": SECOND},
    )


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """Linear layers."""
    out = tmp_path_factory.mktemp("whole") / "whole"
    with linear_networks():
        retrain(run, "--scale", "tiny", "--out", out)
    return out


@pytest.fixture(scope="module")
def cells(run, tmp_path_factory):
    """A network of cells."""
    out = tmp_path_factory.mktemp("cells") / "cells"
    words = ("--scale", "tiny", "--epochs", "2", "--task", "digits-odd")
    retrain(run, *words, "--out", out)
    return out


def test_every_task_of_a_run_is_trained_with_its_own_genotype(run, whole):
    assert {path.name for path in whole.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "summary.json",
        "weights",
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
        # three classes: everything is among the five likeliest
        assert task["test_top5"] is None
        assert {x["test_top5"] for x in own} == {None}
        assert all(0 <= x["train_accuracy"] <= 1 and x["loss"] > 0 for x in own)
    assert told["mean_test"] == pytest.approx(
        np.mean([task["test"] for task in told["tasks"]])
    )


def test_sizes_are_those_of_the_network_and_weights_give_its_accuracy(cells):
    (told,) = summary(cells)["tasks"]
    (task,) = load_tasks("digits:odd", max_classes=3)
    assert told["code"] == SECOND
    network = CellNetwork(tuple(SECOND), 2, 1, task.classes)
    size = complexity(network, task.input_shape)
    assert (told["parameters"], told["multiply_adds"]) == size
    variables = read_weights(cells / told["weights"])
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == told["parameters"]
    images = task.test.images / np.float32(255)
    images = (images - told["image_mean"]) / told["image_std"]
    logits, _ = jax.jit(network.apply)(variables, images.astype(np.float32))
    chosen = np.asarray(logits).argmax(-1)
    # of other batches: a tie or two may fall otherwise
    right = (chosen == task.test.labels).mean()
    assert right == pytest.approx(told["test"], abs=0.01)
    counts = np.bincount(task.test.labels, minlength=task.classes)
    np.testing.assert_array_equal(np.sum(told["confusion"], 1), counts)
    share = np.trace(told["confusion"]) / len(task.test)
    assert share == pytest.approx(told["test"])


def test_report_is_one_file_with_curves_sizes_and_confusion(cells, capsys):
    before = (cells / "report.html").read_text()
    assert main(["report", str(cells)]) == 0
    assert capsys.readouterr().out.strip() == str(cells / "report.html")
    text = (cells / "report.html").read_text()
    assert text == before
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    (task,) = summary(cells)["tasks"]
    for told in (task["name"], task["genotype"], f"{task['multiply_adds']:,}"):
        assert told in text
    for label in ("accuracy", "confusion-0"):
        assert f'aria-label="{label}"' in text


@pytest.mark.usefixtures("linear")
@pytest.mark.parametrize("looks", [0, 4, 9, 40])
def test_interrupted_resumes_to_the_same_bits(
    run, whole, tmp_path, monkeypatch, capsys, looks
):
    out = tmp_path / "cut"
    # two steps at a time: stops within epochs, between them, and in the second task
    monkeypatch.setattr(Pacer, "stop", lambda self, tick, ticks: min(ticks, tick + 2))
    with monkeypatch.context() as patch:
        patch.setattr(launch, "Interrupt", Terminate)
        patch.setattr(Terminate, "limit", looks)
        retrain(run, "--scale", "tiny", "--out", out, status=143)
    assert summary(out)["status"] == "interrupted"
    assert f"evojax-mtl retrain --resume {out}" in capsys.readouterr().out
    retrain("--resume", out)
    assert without_times(out) == without_times(whole)
    assert summary(out)["status"] == "completed"
    assert summary(out)["sessions"] == (2 if looks else 1)


@pytest.mark.usefixtures("linear")
def test_a_damaged_one_resumes_to_itself(run, whole, tmp_path, capsys):
    out = tmp_path / "again"
    retrain(run, "--scale", "tiny", "--out", out)
    assert without_times(out) == without_times(whole)
    newest = max((out / "checkpoints").iterdir())
    (newest / "manifest.json").unlink()
    assert main(["resume", str(out)]) == 0
    assert "is damaged" in capsys.readouterr().err
    assert without_times(out) == without_times(whole)


@pytest.mark.usefixtures("linear")
def test_a_network_depends_on_the_seed_and_not_on_other_tasks(run, whole, tmp_path):
    out, other = tmp_path / "alone", tmp_path / "other"
    words = ("--scale", "tiny", "--task", "digits-odd")
    retrain(run, *words, "--out", out)
    retrain(run, *words, "--seed", "1", "--out", other)
    assert summary(out)["tasks"] == summary(whole)["tasks"][1:]
    assert metrics(other)[0]["loss"] != metrics(out)[0]["loss"]


@pytest.mark.usefixtures("linear")
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


def test_settings_build_the_network_they_name():
    for network, kind in (("emt-nas", CellNetwork), ("darts", DartsNetwork)):
        config = preset(network, "paper", {})["architecture"]
        built = plan.build_network(config, tuple(FIRST), 7)
        assert isinstance(built, kind)
        assert (built.code, built.classes) == (tuple(FIRST), 7)
        fields = {name: getattr(built, name) for name in vars(config)}
        assert fields == vars(config)


def test_channel_moments_are_numpys():
    (task,) = load_tasks("digits:digit")
    images = task.train.images / 255
    pool = Pool([task.train])
    mean, std = channel_moments(pool)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, images.std((0, 1, 2)), rtol=1e-6)
    some = images[[0, len(images) // 3, len(images) * 2 // 3]]
    mean, std = channel_moments(pool, 3)
    np.testing.assert_allclose(mean, some.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, some.std((0, 1, 2)), rtol=1e-6)


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
    ("emt-c10 --recipe cifra", "did you mean 'cifar'"),
    ("emt-c10 --recipe imagenet --network darts", "--network emt-nas"),
    ("emt-c10 --recipe imagenet", "found 0.4, must be 0 for the 1-channel images"),
    ("emt-c10 --resized-crop 9", "must be at most the 8 pixels"),
    ("emt-c10 --stem imagenet", "must be 25 or more a side"),
    ("emt-c10 --resident 63", "--resident: found 63, must be at least 64, twice"),
    ("emt-c10 --decay 0", "--decay: found 0.0, must be above 0"),
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
