"""What several tests of runs do."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from evojax_mtl.cli import main
from evojax_mtl.runs.signals import Interrupt

ROOT = Path(__file__).parents[2]


def run(out, *extra, scale="tiny"):
    """One run of the fake search in this process; asserts that it ends well."""
    assert main(["run", "fake", "--scale", scale, "--out", str(out), *extra]) == 0
    return out


def command(*arguments, environment=None):
    """The command with the fake search, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.runs.command", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


class StopAfter(Interrupt):
    """Stands in for ``Interrupt``: a signal after so many looks at it."""

    number = signal.SIGINT
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
        return self.number if self.looks > self.limit else 0


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def assert_same_result(a, b):
    """Two folders hold the same result, to the bit."""
    assert (a / "best.json").read_bytes() == (b / "best.json").read_bytes()
    keys = ("tasks", "mean_validation", "mean_test", "evaluations", "generations")
    x, y = summary(a), summary(b)
    assert {k: x[k] for k in keys} == {k: y[k] for k in keys}
    strip = ("seconds", "wall_seconds", "compilations")
    lines = [
        [{k: v for k, v in line.items() if k not in strip} for line in metrics(folder)]
        for folder in (a, b)
    ]
    assert lines[0] == lines[1]
