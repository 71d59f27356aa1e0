"""``retrain`` of networks that searches have found: commands, folders, resuming."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import Layers, Network
from evojax_mtl.architectures.table import Architecture
from evojax_mtl.cli import main
from evojax_mtl.codeepneat_configs import CMConfig
from evojax_mtl.errors import UserError
from evojax_mtl.evolution.front import no_front
from evojax_mtl.leaf_configs import LEAFImageConfig
from evojax_mtl.methods import find_method
from evojax_mtl.pytrees import Pytree
from evojax_mtl.runs import launch, report
from evojax_mtl.runs.checkpoints import Checkpoints, Position
from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.retrain.found import network_of, read_arrays, read_found
from evojax_mtl.runs.runner import Pacer
from evojax_mtl.runs.settings import Settings
from tests.runs.helpers import StopAfter, assert_same_result, metrics, summary


class Best(Pytree):
    """What is read of a search's best."""

    network: Any
    fitness: Any


class State(Pytree):
    """What is read of a search's state."""

    best: Best
    front: Any = None


class Terminate(StopAfter):
    limit = 9


def settings(method, tasks, **changes):
    entry = find_method(method)
    form = next(f for f in entry.forms if f.search == changes.get("search", f.search))
    own = {name: changes.pop(name) for name in ("seeds",) if name in changes}
    return Settings(
        method=method,
        tasks=tasks,
        scale="tiny",
        seed=0,
        seeds=own.get("seeds", 1),
        sweep={},
        mesh={},
        data_dir=None,
        profile=False,
        config=dataclasses.replace(form.configure("tiny"), **changes),
    )


def _array(x):
    """As searches have them, integers of 32 bits."""
    return np.asarray(x, np.int32 if np.asarray(x).dtype == int else None)


def make_run(path, asked, network=None, fitness=(0.5, 0.75), front=None):
    """A folder as a search leaves it."""
    folder = RunFolder.create(path, asked.to_json())
    if network is not None:
        state = State(Best(network, np.array(fitness, np.float32)), front)
        state = jax.tree.map(_array, state)
        Checkpoints(folder.checkpoints).save(state, Position(3), {})
    return path


SMALL = {"rows": 1, "depth": 1, "layers": 1, "largest_kernel": 1}
"""A search whose networks are quick to compile."""


@pytest.fixture(scope="module")
def found():
    """A network of two layers: input 0, layer 2, final layer 3, output 1."""
    none = [-1, -1]
    return Network(
        architecture=Architecture(
            operation=np.array([0, 0, 2, 1]),
            slot=np.arange(4),
            resolution=np.array([0, 1, 0, 0]),
            active=np.ones(4, bool),
            # the link first, then room for five edges of the module
            source=np.array([3, 0, 2, 0, 0, 0]),
            target=np.array([1, 2, 3, 0, 0, 0]),
            edge=np.array([True, True, True, False, False, False]),
        ),
        layers=Layers(
            kernel=np.zeros(4, int),
            inputs=np.array([0, 4, 1, 3]),
            filters=np.array([1, 0, 3, 4]),
            activation=np.array([1, 1, 0, 1]),
            dropout=np.array([0, 0, 0.05, 0], np.float32),
            decay=np.array([0, 0, 1e-6, 0], np.float32),
        ),
        learning_rate=np.float32(2),
        initializer=np.int32(1),
        optimizer=np.int32(0),
        module=np.array([*none, 0, 0]),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, found):
    return make_run(
        tmp_path_factory.mktemp("search") / "search",
        settings("cm", "digits", **SMALL),
        found,
    )


def retrain(*words, status=0):
    assert main(["retrain", *map(str, words)]) == status


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "whole"
    retrain(run, "--out", out, "--decay-epochs", "1")
    return out


def test_the_network_is_trained_on_the_tasks_of_the_run(run, whole, found):
    assert {path.name for path in whole.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "summary.json",
        "best.json",
        "report.html",
        "network.npz",
    }
    told, lines = summary(whole), metrics(whole)
    assert told["status"] == "completed"
    assert told["method"] == "retrain-cm"
    assert [task["name"] for task in told["tasks"]] == ["digits-digit", "digits-odd"]
    assert [line["generation"] for line in lines] == [0, 1, 2, 3]
    best = max(line["mean_validation"] for line in lines[1:])
    assert told["mean_validation"] == pytest.approx(best)
    assert told["compilations_after_first_generation"] == 0
    assert told["evaluations"] == 3
    parameters = json.loads((whole / "best.json").read_text())["parameters"]
    # 1 -> 3 -> 4 filters; 3 x 3 pixels of 4 filters, for 3 classes and for 2
    assert told["parameters"] == parameters == 6 + 16 + 37 * 5
    arrays = read_arrays(whole / "network.npz")
    np.testing.assert_array_equal(arrays[".layers.filters"], found.layers.filters)
    config = json.loads((whole / "config.json").read_text())
    assert config["config"]["schedule"] == "decay"
    assert config["run"] == str(run)


def test_it_goes_on_to_the_same_bits_without_the_run(
    run, whole, tmp_path, monkeypatch, capsys
):
    copy, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(run, copy)
    monkeypatch.setattr(report, "write_report", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(launch, "Interrupt", Terminate)
        patch.setattr(Pacer, "stop", lambda self, tick, ticks: min(ticks, tick + 8))
        retrain(copy, "--out", out, "--decay-epochs", "1", status=130)
    assert summary(out)["status"] == "interrupted"
    stopped = capsys.readouterr().out
    assert f"go on with: evojax-mtl resume {out}" in stopped
    shutil.rmtree(copy)
    retrain("--resume", out)
    assert "resuming after generation 0" in capsys.readouterr().out
    assert_same_result(out, whole)


def test_a_report_sets_it_beside_the_run(run, whole, tmp_path):
    out = tmp_path / "both.html"
    # the run has told nothing yet
    assert main(["report", str(run), str(whole), "--out", str(out)]) == 0
    assert "retrain-cm" in out.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--widen", "0.5"], "--widen: found 0.5, must be at least 1.0"),
        (["--tasks", "remarks"], "--tasks: found remarks, which are texts, must be"),
        (["--augment", "some"], "--augment: unknown 'some'"),
        (["--rotation", "200"], "--rotation: found 200.0, must be at least 0.0 and"),
        (["--test-copies", "4"], "--test-copies: found 4 without augmentation"),
        (["--patience", "3"], "--patience: found 3 with --schedule decay"),
        (["--schedule", "fixed", "--decay-epochs", "3"], "must be left out, or with"),
        (["--scale", "huge"], "--scale: unknown 'huge'"),
        (["--search", "0"], "--search: found 0, but"),
        (["--filters", "9"], "unknown option --filters"),
        (["--seed", "-1"], "--seed: found -1, must be"),
    ],
)
def test_what_cannot_be_is_one_clear_line(run, refused, words, told):
    assert told in refused(["retrain", str(run), *words])


def test_runs_without_a_network_are_one_clear_line(tmp_path, found, refused):
    unmeasured = make_run(tmp_path / "new", settings("cm", "digits"))
    assert "has measured no network yet" in refused(["retrain", str(unmeasured)])
    failed = make_run(
        tmp_path / "failed", settings("cm", "digits"), found, fitness=(-1, -1)
    )
    assert "has measured no network yet" in refused(["retrain", str(failed)])
    fixed = make_run(
        tmp_path / "fixed", settings("leaf", "remarks", search="hyperparameters")
    )
    assert "must be one of --search architecture" in refused(["retrain", str(fixed)])
    texts = make_run(
        tmp_path / "texts", settings("leaf", "remarks", search="architecture")
    )
    line = refused(["retrain", str(texts), "--augment", "on"])
    assert "--augment: found on, must be left out: texts are not augmented" in line
    assert "unknown option --flip" in refused(["retrain", str(texts), "--flip"])
    several = make_run(tmp_path / "several", settings("cm", "digits", seeds=3), found)
    line = refused(["retrain", str(several)])
    assert "--search: found nothing, must be one of the searches" in line
    routed = make_run(tmp_path / "routed", settings("ctr", "digits"))
    assert "must be the folder of a search" in refused(["retrain", str(routed)])


def test_what_leaf_found_has_a_preprocessing_and_what_others_found_none(found):
    own = found.replace(preprocessing=np.int32(2))
    leaves = jax.tree_util.tree_leaves_with_path(own)
    arrays = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    run, leaf = Path("run"), LEAFImageConfig()
    assert network_of(arrays, leaf, run).preprocessing == 2
    assert network_of(arrays, CMConfig(), run).preprocessing is None
    del arrays[".preprocessing"]
    with pytest.raises(UserError, match=r"run: has no array \.preprocessing"):
        network_of(arrays, leaf, run)


def test_a_retraining_is_no_search_and_goes_on_as_it_was_begun(whole, refused):
    assert "is a retraining" in refused(["retrain", str(whole)])
    words = ["resume", str(whole), "--set", "generations=9", "--out", "elsewhere"]
    assert "goes on as it was begun" in refused(words)
    run = json.loads((whole / "config.json").read_text())["run"]
    assert "already holds a run" in refused(["retrain", run, "--out", str(whole)])


def test_any_network_of_a_front_is_given_the_cheapest_first(tmp_path, found, refused):
    front = no_front(found, 4)
    # the third is dominated; the sizes are not in the order of arrival
    for rate, fitness, size in ((1, 0.9, 50), (2, 0.5, 5), (3, 0.6, 70), (4, 0.7, 20)):
        item = found.replace(learning_rate=np.float32(rate))
        front = front.entered(item, jnp.float32(fitness), jnp.float32(-size))
    path = make_run(
        tmp_path / "front",
        settings("leaf", "remarks", search="architecture"),
        found.replace(learning_rate=np.float32(1)),
        front=front,
    )
    folder = RunFolder(path)
    given = [
        read_found(folder, 1, None, number)[".learning_rate"] for number in range(3)
    ]
    assert given == [2, 4, 1]
    assert read_found(folder, 1, None).keys() == read_found(folder, 1, None, 0).keys()
    told = "--front: found 3, must be one of the 3 networks of the front of"
    assert told in refused(["retrain", str(path), "--front", "3"])
    alone = make_run(tmp_path / "cm", settings("cm", "digits"), found)
    line = refused(["retrain", str(alone), "--front", "0"])
    assert "--front: found 0, but" in line
    assert "has no front" in line


def test_a_sweep_gives_the_network_of_the_search_that_is_asked_for(tmp_path, found):
    other = found.replace(learning_rate=np.float32(0.25))
    both = jax.tree.map(lambda *x: np.stack(x), found, other)
    path = make_run(
        tmp_path / "sweep",
        settings("cm", "digits", seeds=2, **SMALL),
        both,
        fitness=((0.5, 0.5), (0.6, 0.6)),
    )
    arrays = read_found(RunFolder(path), 2, 1)
    network = network_of(arrays, CMConfig(), path)
    assert network.learning_rate == np.float32(0.25)
    np.testing.assert_array_equal(network.module, found.module)
