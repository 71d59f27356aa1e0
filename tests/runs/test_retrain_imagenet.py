"""Retraining by the recipe for ImageNet, and of more examples than the device holds."""

import json
import shutil

import jax
import numpy as np
import pytest

from evojax_mtl.cli import main
from evojax_mtl.evaluation.complexity import complexity
from evojax_mtl.networks.cell_network import CellNetwork
from evojax_mtl.runs.retrain import launch
from evojax_mtl.runs.retrain.settings import preset
from evojax_mtl.runs.retrain.weights import read_weights
from evojax_mtl.runs.runner import Pacer
from evojax_mtl.tasks.sources import load_tasks
from tests.runs.helpers import metrics, summary
from tests.runs.test_retrain import (
    FIRST,
    Terminate,
    linear_networks,
    retrain,
    without_times,
)
from tests.tasks.jpegs import write_imagenet

PARTS = ("--resident", "12", "--batch", "4", "--epochs", "2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with pictures, and a genotype."""
    path = tmp_path_factory.mktemp("data")
    write_imagenet(path / "imagenet", val=5)
    (path / "cells.json").write_text(json.dumps(FIRST))
    return path


def words(data, *more):
    recipe = ("--recipe", "imagenet", "--scale", "tiny", "--data-dir", data)
    return (data / "cells.json", "--tasks", "imagenet", *recipe, *more)


def test_the_recipe_is_darts():
    parts = preset("emt-nas", "paper", {}, "imagenet")
    network, training, images = parts.values()
    assert (network.channels, network.stack, network.stem) == (48, 2, "imagenet")
    assert (training.epochs, training.batch, training.learning_rate) == (250, 128, 0.1)
    assert (training.momentum, training.nesterov) == (0.9, False)
    assert (training.weight_decay, training.decay, training.clip) == (3e-5, 0.97, 5)
    assert (training.label_smoothing, training.drop_path) == (0.1, 0)
    assert (images.image_size, images.resized_crop) == (256, 224)
    assert (images.flip, images.jitter, images.hue) == (True, 0.4, 0.2)
    assert (images.crop, images.cutout, images.train_on) == (0, 0, "train+validation")
    small = preset("emt-nas", "smoke", {}, "imagenet")
    assert small["training"].epochs == 5
    assert small["training"].decay == 0.97


def test_a_network_is_trained_on_pictures_in_parts(data, tmp_path):
    out = tmp_path / "out"
    retrain(*words(data, *PARTS), "--out", out)
    told = summary(out)
    assert (told["status"], told["recipe"]) == ("completed", "imagenet")
    (done,) = told["tasks"]
    network = CellNetwork(tuple(FIRST), 2, 1, 3, shared=False, stem="imagenet")
    size = complexity(network, (32, 32, 3))
    assert (done["parameters"], done["multiply_adds"]) == size
    assert (done["input_shape"], done["test_top5"]) == ([32, 32, 3], None)
    assert (done["training_examples"], done["test_examples"]) == (30, 15)
    assert all(x["loss"] > 0 and x["skipped_steps"] == 0 for x in metrics(out))
    (task,) = load_tasks("imagenet", data_dir=data, image_size=36)
    pixels = np.concatenate([task.train.images, task.validation.images])
    pixels = pixels[np.arange(12) * 30 // 12] / 255
    np.testing.assert_allclose(done["image_mean"], pixels.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(done["image_std"], pixels.std((0, 1, 2)), rtol=1e-5)
    images = task.test.images[:, 2:34, 2:34] / np.float32(255)
    images = (images - done["image_mean"]) / done["image_std"]
    variables = read_weights(out / done["weights"])
    logits, _ = jax.jit(network.apply)(variables, images.astype(np.float32))
    right = np.asarray(logits).argmax(-1) == task.test.labels
    assert right.mean() == pytest.approx(done["test"], abs=0.07)
    counts = np.bincount(task.test.labels, minlength=3)
    np.testing.assert_array_equal(np.sum(done["confusion"], 1), counts)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Of a linear layer on pictures, and on ten digits."""
    folder = tmp_path_factory.mktemp("whole")
    with linear_networks():
        retrain(*words(data, *PARTS), "--out", folder / "imagenet")
        retrain(*digits(data), "--out", folder / "digits")
    return folder


def digits(data):
    shape = ("--max-classes", "10", "--resident", "300", "--epochs", "2")
    return (data / "cells.json", "--scale", "tiny", *shape)


@pytest.mark.parametrize(
    ("name", "looks"), [("imagenet", 3), ("imagenet", 5), ("digits", 9), ("digits", 25)]
)
def test_parts_resume_to_the_same_bits(
    data, whole, tmp_path, monkeypatch, capsys, name, looks
):
    out = tmp_path / "cut"
    line = digits(data) if name == "digits" else words(data, *PARTS)
    monkeypatch.setattr(Pacer, "stop", lambda self, tick, ticks: min(ticks, tick + 2))
    with linear_networks():
        with monkeypatch.context() as patch:
            patch.setattr(launch, "Interrupt", Terminate)
            patch.setattr(Terminate, "limit", looks)
            retrain(*line, "--out", out, status=143)
        retrain("--resume", out)
    assert f"retrain --resume {out}" in capsys.readouterr().out
    assert without_times(out) == without_times(whole / name)
    assert summary(out)["sessions"] == 2


def test_with_more_than_five_classes_top_five_is_told(whole):
    (task,) = summary(whole / "digits")["tasks"]
    lines = metrics(whole / "digits")
    assert task["test"] < task["test_top5"] <= 1
    assert lines[-1]["test_top5"] == task["test_top5"]
    assert np.sum(task["confusion"]) == task["test_examples"]
    assert task["test"] == np.trace(task["confusion"]) / task["test_examples"]


def break_picture(root):
    path = root / "val/n00000001/val_3.JPEG"
    path.write_bytes(path.read_bytes()[:200])


BAD = {
    "missing folder": (shutil.rmtree, "imagenet not found in"),
    "no val": (lambda root: shutil.rmtree(root / "val"), "has no folder 'val'"),
    "class missing in val": (
        lambda root: shutil.rmtree(root / "val/n00000001"),
        "val: class 'n00000001' has no folder here",
    ),
    "damaged picture": (break_picture, "val_3.JPEG: not a readable image"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_pictures_end_with_one_line(data, tmp_path, capsys, monkeypatch, name):
    spoil, told = BAD[name]
    copy, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data / "imagenet", copy / "imagenet")
    shutil.copy(data / "cells.json", copy)
    spoil(copy / "imagenet")
    assert main(["retrain", *map(str, words(copy)), "--out", str(out)]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("evojax-mtl: error: ")
    assert output.err.count("\n") == 1
    assert told in output.err
    assert output.out == ""
    assert not out.exists()
