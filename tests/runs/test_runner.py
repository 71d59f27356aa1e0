import errno
import io
from pathlib import Path

import numpy as np
import pytest

from evojax_mtl.runs import provenance
from evojax_mtl.runs.folder import RunFolder, fresh_folder, jsonable
from evojax_mtl.runs.progress import Progress, duration
from evojax_mtl.runs.runner import Pacer
from tests.runs.fake import Fake
from tests.runs.helpers import metrics, run, summary

pytestmark = pytest.mark.usefixtures("without_reports")


def test_blocks_grow_to_the_target_and_keep_below_it():
    pacer, tick, blocks = Pacer(2.5), 0, []
    while tick < 400:
        stop = pacer.stop(tick, 400)
        blocks.append(stop - tick)
        pacer.measured(stop - tick, 0.1 * (stop - tick))
        tick = stop
    assert blocks[:3] == [1, 4, 16]
    assert set(blocks[3:-1]) == {25}
    assert sum(blocks) == 400


def test_a_slow_tick_shortens_the_blocks_that_follow():
    pacer = Pacer(2.5)
    pacer.measured(100, 1.0)
    pacer.measured(1, 5.0)
    assert pacer.stop(0, 100) == 1
    pacer.measured(1, 0.01)
    assert pacer.stop(0, 100) == 1


def test_numbers_that_json_lacks_become_null():
    value = {"a": np.array([1.0, np.nan]), "b": (np.int32(3), float("inf")), 4: None}
    assert jsonable(value) == {"a": [1.0, None], "b": [3, None], "4": None}


def test_line_cut_off_by_a_kill_is_left_out(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append_metrics({"generation": 0})
    folder.append_metrics({"generation": 1, "x": np.float32(0.5)})
    with folder.metrics.open("a") as file:
        file.write('{"generation": 2, "x"')
    assert [line["generation"] for line in folder.read_metrics()] == [0, 1]
    folder.trim_metrics(0)
    assert folder.metrics.read_text() == '{"generation": 0}\n'


def test_full_disk_costs_a_line_of_metrics(tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    RunFolder(tmp_path).append_metrics({"generation": 0})
    assert "No space left" in capsys.readouterr().err


def test_fresh_folders_differ(tmp_path):
    first = fresh_folder("run", tmp_path)
    first.mkdir()
    assert fresh_folder("run", tmp_path) == tmp_path / "run-2"


def test_progress_on_a_terminal(monkeypatch):
    from rich import progress as rich_progress

    file = io.StringIO()
    console = rich_progress.get_console().__class__(file=file, force_terminal=True)
    monkeypatch.setattr(rich_progress, "get_console", lambda: console)
    with Progress(3, 10, live=True) as progress:
        progress.block(0, 10, 10, 2.0)
        assert progress.rate == 5
        assert progress.left(1, 0) == 4
        progress.generation(1, 0.25, 0.5, 61.0)
    told = file.getvalue()
    assert "mean fitness 0.2500  best 0.5000  5.0 it/s  1:01 run  0:04 left" in told


def test_durations():
    assert [duration(s) for s in (0.4, 61.0, 3723.0)] == ["0:00", "1:01", "1:02:03"]


def test_warns_where_a_gpu_may_differ(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert not provenance.may_differ(["cpu:cpu"])
    assert provenance.may_differ(["gpu:NVIDIA H100"])
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    assert not provenance.may_differ(["gpu:NVIDIA H100"])


def test_start_is_told_in_one_line(tmp_path, fake_method, capsys):
    run(tmp_path / "run", "--seed", "7")
    line = capsys.readouterr().out.splitlines()[0]
    for words in (" x cpu", "processes: 1", "seed: 7", "jax ", "revision: "):
        assert words in line


@pytest.mark.parametrize("field", ["image_size", "max_tasks"])
def test_config_reaches_the_loader(field, tmp_path, fake_method, monkeypatch):
    from evojax_mtl.tasks import sources

    seen, load = {}, sources.load_tasks

    def spy(spec, **options):
        seen.update(options)
        return load(spec, **options)

    monkeypatch.setattr(sources, "load_tasks", spy)
    run(tmp_path / "run", f"--{field.replace('_', '-')}", "5")
    assert seen[field] == 5


@pytest.mark.usefixtures("fake_method")
def test_a_profile_times_every_phase(tmp_path):
    plain = run(tmp_path / "plain")
    timed = run(tmp_path / "timed", "--profile", "--work", "20")
    for line in metrics(timed)[1:]:
        parts = line["thinking_seconds"], line["dreaming_seconds"]
        assert min(parts) > 0
        assert sum(parts) <= line["seconds"]
    assert "thinking_seconds" not in metrics(plain)[1]


def test_a_search_may_measure_tasks_by_another_metric(
    tmp_path, fake_method, monkeypatch
):
    names = "recall", "accuracy"
    monkeypatch.setattr(Fake, "metrics", names, raising=False)
    told = summary(run(tmp_path / "run"))
    assert [task["metric"] for task in told["tasks"]] == list(names)
