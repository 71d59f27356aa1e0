import signal

import pytest

from evojax_mtl.cli import main
from evojax_mtl.runs import launch, runner
from tests.runs.helpers import (
    StopAfter,
    assert_same_result,
    command,
    metrics,
    run,
    summary,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("without_reports")

# Ticks long enough that a process can be caught between two generations.
SETTING = ("--generations", "6", "--iterations", "6")
SLOW = (*SETTING, "--work", "8000")


def checkpoints(folder):
    path = folder / "checkpoints"
    names = path.iterdir() if path.exists() else ()
    return sorted(p.name for p in names if not p.name.startswith("."))


def damage(folder, name):
    """Cuts the largest file of a checkpoint in half."""
    files = [p for p in (folder / "checkpoints" / name).rglob("*") if p.is_file()]
    largest = max(files, key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


@pytest.fixture
def one_tick_blocks(monkeypatch):
    monkeypatch.setattr(runner.Pacer, "stop", lambda self, tick, ticks: tick + 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, fake_method):
    return run(tmp_path_factory.mktemp("whole") / "whole", *SETTING)


def test_run_folder_holds_what_it_should(whole):
    names = {path.name for path in whole.iterdir()}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "best.json",
        "summary.json",
        "report.html",
    }
    assert [line["generation"] for line in metrics(whole)] == list(range(7))
    told = summary(whole)
    assert told["status"] == "completed"
    assert told["compilations_after_first_generation"] == 0
    assert told["generations"] == 6
    assert told["evaluations"] == 12
    assert told["parameters"] == 8
    assert told["seed"] == 0
    assert told["peak_memory_bytes"] > 2**24
    assert {"jax", "python", "flax"} <= told["versions"].keys()
    assert [task["name"] for task in told["tasks"]] == ["task0", "task1"]
    assert all({"metric", "validation", "test"} <= t.keys() for t in told["tasks"])
    assert len(checkpoints(whole)) <= 3
    assert checkpoints(whole)[-1] == "00000006-00000000"


def test_killed_run_resumes_to_the_same_bits(whole, tmp_path):
    out = tmp_path / "killed"
    process = command("run", "fake", "--scale", "tiny", "--out", out, *SLOW)
    wait_for(lambda: len(checkpoints(out)) >= 2 or process.poll() is not None)
    process.kill()
    process.communicate()
    assert summary(out)["status"] == "running"
    assert main(["resume", str(out)]) == 0
    assert_same_result(whole, out)
    assert summary(out)["sessions"] == 2


def test_interrupted_run_says_how_to_resume(whole, tmp_path):
    out = tmp_path / "interrupted"
    process = command("run", "fake", "--scale", "tiny", "--out", out, *SLOW)
    wait_for(lambda: (out / "metrics.jsonl").exists() and len(metrics(out)) >= 2)
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"evojax-mtl resume {out}" in told
    assert "Traceback" not in errors
    assert summary(out)["status"] == "interrupted"
    assert main(["resume", str(out)]) == 0
    assert_same_result(whole, out)


@pytest.mark.parametrize("looks", [5, 10])
def test_resumes_in_the_middle_of_a_generation(
    whole, tmp_path, monkeypatch, one_tick_blocks, looks
):
    out = tmp_path / "middle"
    with monkeypatch.context() as patch:
        patch.setattr(launch, "Interrupt", StopAfter)
        patch.setattr(StopAfter, "limit", looks)
        words = ["run", "fake", "--scale", "tiny", "--out", str(out), *SETTING]
        assert main(words) == 130
    assert not checkpoints(out)[-1].endswith("-00000000")
    assert main(["resume", str(out)]) == 0
    assert_same_result(whole, out)
    assert summary(out)["compilations_after_first_generation"] == 0


def test_damaged_checkpoint_falls_back(whole, tmp_path, capsys):
    out = run(tmp_path / "damaged", *SETTING)
    best = (out / "best.json").read_bytes()
    damage(out, checkpoints(out)[-1])
    (out / "best.json").unlink()
    assert main(["resume", str(out)]) == 0
    lines = [x for x in capsys.readouterr().err.splitlines() if "damaged" in x]
    assert len(lines) == 1
    assert (out / "best.json").read_bytes() == best
    assert_same_result(whole, out)


def test_without_a_whole_checkpoint_starts_again(whole, tmp_path, capsys):
    out = run(tmp_path / "lost", *SETTING)
    for name in checkpoints(out):
        damage(out, name)
    assert main(["resume", str(out)]) == 0
    assert "starting from the beginning" in capsys.readouterr().err
    assert_same_result(whole, out)


def test_grown_state_resumes(tmp_path, fake_method, monkeypatch, one_tick_blocks):
    grown = run(tmp_path / "grown", *SETTING, "--grows")
    assert summary(grown)["capacity_growths"] == 1
    out = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(launch, "Interrupt", StopAfter)
        patch.setattr(StopAfter, "limit", 17)
        words = [
            "run",
            "fake",
            "--scale",
            "tiny",
            "--out",
            str(out),
            *SETTING,
            "--grows",
        ]
        assert main(words) == 130
    assert main(["resume", str(out)]) == 0
    assert_same_result(grown, out)


def test_branch_leaves_the_source_alone(whole, tmp_path):
    short = run(tmp_path / "short", *SETTING, "--generations", "3")
    before = (short / "best.json").read_bytes(), (short / "config.json").read_bytes()
    out = tmp_path / "branch"
    words = ["resume", str(short), "--set", "generations=6", "--out", str(out)]
    assert main(words) == 0
    assert_same_result(whole, out)
    # The programs are those of the first run, which the cache holds.
    assert summary(out)["compilations"] == 0
    after = (short / "best.json").read_bytes(), (short / "config.json").read_bytes()
    assert before == after
    other = tmp_path / "other"
    words[3:] = ["generations=6", "learning-rate=0.5", "--out", str(other)]
    assert main(words) == 0
    assert metrics(other)[:4] == metrics(short)
    assert summary(other)["mean_test"] != summary(out)["mean_test"]


def test_second_signal_stops_at_once(tmp_path):
    out = tmp_path / "long"
    endless = ("--iterations", "2", "--work", "10000000")
    process = command("run", "fake", "--scale", "tiny", "--out", out, *endless)
    wait_for(lambda: checkpoints(out))
    process.send_signal(signal.SIGTERM)
    assert "second signal" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143
    process.communicate()


def test_finished_run_resumes_to_itself(whole, tmp_path):
    out = tmp_path / "again"
    assert main(["resume", str(whole), "--out", str(out)]) == 0
    assert_same_result(whole, out)
    assert summary(out)["compilations_after_first_generation"] == 0


def test_a_window_of_the_data_resumes(tmp_path, fake_method):
    words = (*SETTING, "--resident", "3")
    windowed = run(tmp_path / "windowed", *words)
    assert summary(windowed)["compilations_after_first_generation"] == 0
    half = run(tmp_path / "half", *words, "--generations", "3")
    out = tmp_path / "rest"
    arguments = ["resume", str(half), "--set", "generations=6", "--out", str(out)]
    assert main(arguments) == 0
    assert_same_result(windowed, out)
