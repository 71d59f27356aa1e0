import os

import numpy as np
import pytest

from tests.runs.helpers import command, run, summary

pytestmark = pytest.mark.usefixtures("without_reports")

SETTING = ("--iterations", "5", "--max-tasks", "3")


def scores_of(entries):
    return np.array([[task["test"] for task in entry["tasks"]] for entry in entries])


@pytest.fixture
def singles(tmp_path, fake_method):
    """Test metric of single runs by (seed, learning rate)."""
    found = {}
    for seed in (4, 5):
        for rate in (0.01, 0.1):
            out = tmp_path / f"{seed}-{rate}"
            words = ("--seed", str(seed), "--learning-rate", str(rate))
            run(out, *SETTING, *words)
            found[seed, rate] = scores_of([summary(out)])[0]
    return found


def test_sweep_equals_single_runs(tmp_path, singles, fake_method):
    out = tmp_path / "sweep"
    words = ("--seed", "4", "--seeds", "2", "--sweep", "learning-rate=0.01,0.1")
    told = summary(run(out, *SETTING, *words))
    keys = [(entry["seed"], entry["learning_rate"]) for entry in told["seeds"]]
    assert keys == [(4, 0.01), (5, 0.01), (4, 0.1), (5, 0.1)]
    expected = np.array([singles[key] for key in keys])
    np.testing.assert_allclose(scores_of(told["seeds"]), expected, rtol=1e-6)
    assert told["mean_test"] == pytest.approx(expected.mean())
    error = expected.mean(1).std(ddof=1) / 2
    assert told["mean_test_standard_error"] == pytest.approx(error)
    assert [entry["learning_rate"] for entry in told["sweep"]] == [0.01, 0.1]
    by_rate = expected.mean(1).reshape(2, 2)
    assert [e["mean_test"] for e in told["sweep"]] == pytest.approx(by_rate.mean(1))
    assert told["searches"] == 4
    assert told["compilations_after_first_generation"] == 0


def test_sweep_over_devices_equals_one_device(tmp_path, fake_method):
    words = ("--seeds", "4", "--sweep", "learning_rate=0.01,0.1", *SETTING)
    one = summary(run(tmp_path / "one", *words))
    out = tmp_path / "many"
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=4"
    process = command(
        *("run", "fake", "--scale", "tiny", "--out", out, *words),
        *("--mesh", "population=4,data=1"),
        environment=os.environ | {"XLA_FLAGS": flags},
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    many = summary(out)
    assert len(many["devices"]) == 4
    assert many["compilations_after_first_generation"] == 0
    np.testing.assert_allclose(
        scores_of(many["seeds"]), scores_of(one["seeds"]), rtol=1e-6
    )


def test_sweep_that_grows_and_resumes(tmp_path, fake_method):
    from evojax_mtl.cli import main

    words = ("--seeds", "2", "--grows", *SETTING)
    whole = run(tmp_path / "whole", *words, "--generations", "4")
    half = run(tmp_path / "half", *words, "--generations", "2")
    out = tmp_path / "rest"
    command_ = ["resume", str(half), "--set", "generations=4", "--out", str(out)]
    assert main(command_) == 0
    assert (out / "best.json").read_bytes() == (whole / "best.json").read_bytes()
