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


def two(*arguments, devices=2):
    """Two processes of the command; the first writes."""
    flags = os.environ["XLA_FLAGS"]
    flags += f" --xla_force_host_platform_device_count={devices}"
    address = free_address()
    return [
        command(
            *arguments,
            *("--distributed", f"{address},2,{index}"),
            environment=os.environ | {"XLA_FLAGS": flags},
        )
        for index in range(2)
    ]


def ended(processes):
    """What each printed, on stdout and on stderr without Gloo's own lines."""
    told = [process.communicate(timeout=300) for process in processes]
    return [
        tuple(
            "\n".join(x for x in text.splitlines() if not x.startswith("[Gloo]"))
            for text in texts
        )
        for texts in told
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, fake_method):
    """The sweep in one process."""
    return run(tmp_path_factory.mktemp("whole") / "whole", *SWEEP, "--grows")


def test_two_processes_find_what_one_does(whole, tmp_path):
    out = tmp_path / "two"
    processes = two("run", "fake", "--scale", "tiny", "--out", out, *SWEEP, "--grows")
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


def test_signal_to_one_stops_all_and_one_process_goes_on(whole, tmp_path):
    out = tmp_path / "stopped"
    words = ("--out", out, *SWEEP, "--grows", "--work", "2000")
    processes = two("run", "fake", "--scale", "tiny", *words)
    file = out / "metrics.jsonl"
    wait_for(
        lambda: (file.exists() and len(metrics(out)) > 1) or processes[0].poll(), 120
    )
    processes[1].send_signal(signal.SIGTERM)
    (first, errors), _ = ended(processes)
    assert [process.returncode for process in processes] == [143, 143], errors
    assert f"go on with: evojax-mtl resume {out}" in first
    assert summary(out)["status"] == "interrupted"
    process = command("resume", out)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert summary(out)["sessions"] == 2
    assert_same_result(out, whole)


def test_state_that_is_each_device_s_own(tmp_path):
    """It is saved, restored and described whole."""
    out, rest = tmp_path / "half", tmp_path / "rest"
    words = ("--iterations", "6", "--mesh", "population=2", "--out", out)
    processes = two("run", "fake", "--scale", "tiny", *words, devices=1)
    (_, errors), _ = ended(processes)
    assert [process.returncode for process in processes] == [0, 0], errors
    done = summary(out)["generations"]
    assert json.loads((out / "best.json").read_text())["own"] == own(6 * done)
    words = ("--set", f"generations={2 * done}", "--out", rest)
    (_, errors), _ = ended(processes := two("resume", out, *words, devices=1))
    assert [process.returncode for process in processes] == [0, 0], errors
    assert json.loads((rest / "best.json").read_text())["own"] == own(12 * done)


def own(ticks):
    return [[0.0, 0.0], [float(ticks)] * 2]


def test_work_that_the_processes_cannot_share(tmp_path):
    words = ("--seeds", "3", "--out", tmp_path / "three")
    processes = two("run", "fake", "--scale", "tiny", *words)
    told = ended(processes)
    assert [process.returncode for process in processes] == [2, 2]
    for _, errors in told:
        assert errors.splitlines()[0] == (
            "evojax-mtl: error: --distributed: found 2 processes, must divide the "
            "searches of the sweep (--seeds times --sweep values), 3"
        )
    assert not (tmp_path / "three").exists()


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
    process = command(*words, "--distributed", "auto")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.startswith(
        "evojax-mtl: error: --distributed: found auto, must be HOST:PORT,PROCESSES,"
    )
