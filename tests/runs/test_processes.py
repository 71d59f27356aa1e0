"""Runs of two real processes that find each other at 127.0.0.1."""

import json
import os
import signal
import socket

import pytest

from tests.runs.helpers import (
    assert_same_result,
    command,
    metrics,
    run,
    summary,
    wait_for,
)

SWEEP = ("--seeds", "4", "--generations", "6", "--iterations", "6")


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def with_devices(count):
    flags = os.environ["XLA_FLAGS"]
    flags += f" --xla_force_host_platform_device_count={count}"
    return os.environ | {"XLA_FLAGS": flags}


@pytest.fixture
def several():
    """Starts processes of one run, the first of which writes; none outlives a test."""
    started = []

    def start(*arguments, devices=(2, 2)):
        address = free_address()
        for index, count in enumerate(devices):
            place = f"{address},{len(devices)},{index}"
            words = (*arguments, "--distributed", place)
            started.append(command(*words, environment=with_devices(count)))
        return started[-len(devices) :]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(processes):
    """What each printed, on stdout without Gloo's lines, and on stderr."""
    told = [process.communicate(timeout=300) for process in processes]
    return [
        ("\n".join(x for x in out.splitlines() if not x.startswith("[Gloo]")), errors)
        for out, errors in told
    ]


def complaint(errors):
    """The line that a command ends with on stderr."""
    return next(x for x in errors.splitlines() if x.startswith("evojax-mtl: error: "))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, fake_method):
    """The sweep in one process."""
    return run(tmp_path_factory.mktemp("whole") / "whole", *SWEEP, "--grows")


def test_two_processes_find_what_one_does(whole, tmp_path, several):
    out = tmp_path / "two"
    words = ("--out", out, *SWEEP, "--grows")
    processes = several("run", "fake", "--scale", "tiny", *words)
    (first, errors), (second, _) = ended(processes)
    assert [process.returncode for process in processes] == [0, 0], errors
    told = summary(out)
    assert told["processes"] == 2
    assert len(told["devices"]) == 4
    assert told["capacity_growths"] == summary(whole)["capacity_growths"] == 1
    assert_same_result(out, whole)
    assert [line["generation"] for line in metrics(out)] == list(range(7))
    assert (out / "report.html").exists()
    assert "completed: " in first
    assert second == ""


def test_signal_to_one_stops_all_and_one_process_goes_on(whole, tmp_path, several):
    """The one process has fewer devices."""
    out = tmp_path / "stopped"
    words = ("--out", out, *SWEEP, "--grows", "--work", "2000")
    processes = several("run", "fake", "--scale", "tiny", *words)
    file = out / "metrics.jsonl"
    wait_for(
        lambda: (file.exists() and len(metrics(out)) > 1) or processes[0].poll(), 120
    )
    processes[1].send_signal(signal.SIGTERM)
    (first, errors), _ = ended(processes)
    assert [process.returncode for process in processes] == [143, 143], errors
    assert f"go on with: evojax-mtl resume {out}" in first
    assert summary(out)["status"] == "interrupted"
    process = command("resume", out, environment=with_devices(1))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert summary(out)["sessions"] == 2
    assert_same_result(out, whole)


def test_state_that_is_each_device_s_own(tmp_path, several):
    """It is saved, restored and described whole."""
    out, rest = tmp_path / "half", tmp_path / "rest"
    words = ("--iterations", "6", "--mesh", "population=2", "--out", out)
    processes = several("run", "fake", "--scale", "tiny", *words, devices=(1, 1))
    (_, errors), _ = ended(processes)
    assert [process.returncode for process in processes] == [0, 0], errors
    done = summary(out)["generations"]
    assert summary(out)["compilations_after_first_generation"] == 0
    assert json.loads((out / "best.json").read_text())["own"] == own(6 * done)
    words = ("--set", f"generations={2 * done}", "--out", rest)
    processes = several("resume", out, *words, devices=(1, 1))
    (_, errors), _ = ended(processes)
    assert [process.returncode for process in processes] == [0, 0], errors
    assert json.loads((rest / "best.json").read_text())["own"] == own(12 * done)


def own(ticks):
    return [[0.0, 0.0], [float(ticks)] * 2]


def test_state_of_another_number_of_devices(tmp_path, fake_method, several):
    """A network for each of two processes does not come of one."""
    out = run(tmp_path / "one", "--iterations", "6", "--mesh", "population=1")
    processes = several("resume", out, "--set", "generations=9", "--out", out / "more")
    for process, (_, errors) in zip(processes, ended(processes), strict=True):
        assert process.returncode == 2
        assert "must divide the number of devices that the run was begun on, 1" in (
            complaint(errors)
        )
    assert not (out / "more").exists()


def test_work_that_the_processes_cannot_share(tmp_path, several):
    words = ("--seeds", "3", "--out", tmp_path / "three")
    processes = several("run", "fake", "--scale", "tiny", *words)
    for process, (_, errors) in zip(processes, ended(processes), strict=True):
        assert process.returncode == 2
        assert complaint(errors) == (
            "evojax-mtl: error: --distributed: found 2 processes, must divide the "
            "searches of the sweep (--seeds times --sweep values), 3"
        )
    assert not (tmp_path / "three").exists()


def test_unequally_many_devices(tmp_path, several):
    words = ("--seeds", "6", "--out", tmp_path / "six")
    processes = several("run", "fake", "--scale", "tiny", *words, devices=(2, 1))
    for process, (_, errors) in zip(processes, ended(processes), strict=True):
        assert process.returncode == 2
        assert "devices here of 3 in 2 processes, must be as many in each" in (
            complaint(errors)
        )


def test_folder_that_the_first_cannot_make(tmp_path, several):
    """The others end too, and do not wait."""
    (tmp_path / "file").write_text("")
    words = ("--seeds", "2", "--out", tmp_path / "file" / "inside")
    processes = several("run", "fake", "--scale", "tiny", *words, devices=(1, 1))
    (_, first), (_, second) = ended(processes)
    assert [process.returncode for process in processes] == [2, 2]
    assert "Not a directory" in complaint(first)
    assert "the first process could not make" in complaint(second)


def test_form_of_the_option(tmp_path, capfd, fake_method):
    from evojax_mtl.cli import main

    words = ["run", "fake", "--scale", "tiny", "--out", str(tmp_path / "none")]
    for found in ("somewhere", "host:1234,2", "host,2,0"):
        assert main([*words, "--distributed", found]) == 2
        assert capfd.readouterr().err == (
            f"evojax-mtl: error: --distributed: found {found!r}, must be auto, or "
            "HOST:PORT,PROCESSES,INDEX\n"
        )
    assert main([*words, "--distributed", "host:1,2,2"]) == 2
    assert "found process 2, must be below their number, 2" in capfd.readouterr().err
    launched = ("SLURM_", "OMPI_", "KUBERNETES_", "TPU_", "JAX_COORDINATOR")
    alone = {k: v for k, v in os.environ.items() if not k.startswith(launched)}
    process = command(*words, "--distributed", "auto", environment=alone)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert complaint(errors).startswith(
        "evojax-mtl: error: --distributed: found auto, must be HOST:PORT,PROCESSES,"
    )
