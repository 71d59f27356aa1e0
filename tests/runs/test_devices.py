"""Which devices a run takes."""

import dataclasses

import jax
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.methods import find_method
from evojax_mtl.runs.devices import choose_mesh, make_mesh
from evojax_mtl.runs.settings import Settings

SETTINGS = Settings(
    method="ctr",
    tasks="glyphs",
    scale="tiny",
    seed=0,
    seeds=1,
    sweep={},
    mesh={},
    data_dir=None,
    profile=False,
    config=find_method("ctr").configure("tiny"),
)


@pytest.fixture
def devices(monkeypatch):
    def have(count):
        monkeypatch.setattr(jax, "device_count", lambda: count)

    return have


@pytest.mark.parametrize(
    ("count", "tasks", "seeds", "expected"),
    [
        (1, 4, 1, {}),
        (2, 4, 1, {"tasks": 2}),
        (2, 5, 1, {}),
        (4, 6, 1, {"tasks": 3}),
        (64, 20, 1, {"tasks": 5}),
        (2, 5, 4, {"population": 2}),
        (4, 4, 3, {"population": 3}),
    ],
)
def test_cores_are_shared_out_evenly(devices, count, tasks, seeds, expected):
    devices(count)
    settings = dataclasses.replace(SETTINGS, seeds=seeds)
    assert choose_mesh(settings, tasks) == expected


def test_what_is_asked_for_is_kept(devices):
    devices(8)
    asked = dataclasses.replace(SETTINGS, mesh={"tasks": 1})
    assert choose_mesh(asked, 4) == {"tasks": 1}


@pytest.mark.parametrize(
    ("mesh", "seeds", "message"),
    [
        ({"tasks": 3}, 1, "must divide the number of tasks, 4"),
        ({"population": 2}, 3, "must divide the searches of the sweep"),
        ({"tasks": 16}, 1, "at most the number of devices, 8"),
        ({"tasks": 2}, 2, "must be population"),
        ({"tasks": 4, "population": 1}, 8, "must be population"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(devices, mesh, seeds, message):
    devices(8)
    settings = dataclasses.replace(SETTINGS, mesh=mesh, seeds=seeds)
    with pytest.raises(UserError, match=message):
        choose_mesh(settings, 4)


def test_one_device_needs_no_mesh():
    assert make_mesh({"tasks": 1, "population": 1}) is None


def test_batches_are_shared_out_where_tasks_cannot_be(devices):
    devices(2)
    config = find_method("emt-nas").configure("paper")
    settings = dataclasses.replace(SETTINGS, method="emt-nas", config=config)
    assert choose_mesh(settings, 3) == {"data": 2}
    odd = dataclasses.replace(config, evaluation_batch=33)
    assert choose_mesh(dataclasses.replace(settings, config=odd), 3) == {}
    asked = dataclasses.replace(settings, config=odd, mesh={"data": 2})
    with pytest.raises(UserError, match="divide both batch sizes"):
        choose_mesh(asked, 3)
