"""The loop of a run: blocks, metrics, checkpoints, signals, and the result."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evojax_mtl.runs import processes, provenance, summary
from evojax_mtl.runs.checkpoints import Checkpoints, Position
from evojax_mtl.runs.compilation import CompilationCounter
from evojax_mtl.runs.folder import RunFolder, warn
from evojax_mtl.runs.program import Program
from evojax_mtl.runs.progress import Progress
from evojax_mtl.runs.settings import Settings
from evojax_mtl.runs.signals import Interrupt, exit_status
from evojax_mtl.tasks.dataset import TEST, VALIDATION
from evojax_mtl.tasks.tabular import TableTask
from evojax_mtl.tasks.task import Task

# A block may pass before it is noticed: a checkpoint comes at least every 60 s.
CHECKPOINT_SECONDS = 50.0


class Pacer:
    """Picks blocks of about ``target`` seconds from what ticks have cost so far."""

    def __init__(self, target: float = 2.5) -> None:
        """Blocks of ``target`` seconds, well below the 10 s that one may take."""
        self._target = target
        self._last = 0
        self._seconds_per_tick = 0.0

    def stop(self, tick: int, ticks: int) -> int:
        """Where the block that begins at ``tick`` of ``ticks`` shall stop."""
        length = max(1, 4 * self._last)
        if self._seconds_per_tick:
            length = min(length, int(self._target / self._seconds_per_tick))
        return min(ticks, tick + max(1, length))

    def measured(self, ticks: int, seconds: float) -> None:
        """A block has run, none of its time spent compiling."""
        self._last = max(ticks, self._last)
        # Training and validation ticks differ: forget a slow one only slowly.
        self._seconds_per_tick = max(seconds / ticks, 0.9 * self._seconds_per_tick)


class Runner:
    """Runs a program from a position to its end, or to a signal."""

    def __init__(
        self,
        program: Program,
        settings: Settings,
        folder: RunFolder,
        tasks: Sequence[Task] | Sequence[TableTask],
        counter: CompilationCounter,
        interrupt: Interrupt,
        facts: dict[str, Any],
        began: float,
    ) -> None:
        """A runner that has not begun.

        Args:
          program: the compiled programs.
          settings: what was asked.
          folder: where it is written.
          tasks: for names and metrics.
          counter: counts compilations, entered already.
          interrupt: notes signals, entered already.
          facts: ``provenance()``.
          began: ``time.monotonic()`` when the run's wall time began.
        """
        self.program = program
        self.settings = settings
        self.folder = folder
        self.tasks = tasks
        self.counter = counter
        self.interrupt = interrupt
        self.facts = facts
        self.checkpoints = Checkpoints(folder.checkpoints)
        self._begin = began
        self._saved = began
        self._before = 0.0
        self._first_generation: int | None = None
        self._growths = 0
        self._parameters: int | None = None
        self._best = -np.inf
        self._pacer = Pacer()
        self._signal = 0

    def start(self) -> int:
        """A new run; returns the exit status."""
        self.program.prepare()
        state = self.program.init()
        validation = self.program.score(state, VALIDATION)
        self._record(0, {"validation": validation, "evaluations": 0}, 0.0)
        self._save(state, Position())
        return self.run(state, Position())

    def run(self, state: Any, position: Position) -> int:
        """From ``position`` on; returns the exit status.

        ``state`` is used up.
        """
        self._before = position.wall_seconds
        self.program.prepare(state)
        past = self.folder.read_metrics()
        self._best = max(map(_mean_fitness, past), default=-np.inf)
        self._summarise("running", position)
        generations, ticks = self.settings.config.generations, self.program.ticks
        with Progress(generations, ticks) as progress:
            while not (over := self._over(state, position)):
                if self._stopped():
                    break
                state, position = self._generation(state, position, progress)
        if not over:
            self._save(state, position)
            self._summarise("interrupted", position)
            print(
                f"interrupted in generation {position.generation + 1} of "
                f"{generations} after {position.tick} of {ticks} ticks; "
                f"go on with: evojax-mtl resume {self.folder.path}",
                flush=True,
            )
            return exit_status(self._signal)
        if position.generation < generations:
            print(
                f"ended after generation {position.generation} of {generations}: "
                "no more progress",
                flush=True,
            )
            self._save(state, position)
        self._finish(state, position)
        return 0

    def _stopped(self) -> bool:
        """Whether this or another process got a signal."""
        self._signal = processes.most(self.interrupt.signal)
        return self._signal > 0

    def _over(self, state: Any, position: Position) -> bool:
        """Whether no generation is left, or the search ended before its last one."""
        if position.generation >= self.settings.config.generations:
            return True
        return position.tick == 0 and self.program.finished(state)

    def _generation(
        self, state: Any, position: Position, progress: Progress
    ) -> tuple[Any, Position]:
        """The rest of one generation, or of it until a signal."""
        self.program.load(position.generation)
        if position.tick == 0:
            grown = self.program.grow(state)
            self._growths += grown is not state
            state = grown
        generation, tick, ticks = position.generation, position.tick, self.program.ticks
        metrics, begin = {}, time.monotonic()
        profile = dict.fromkeys((name for name, _ in self.program.phases), 0.0)
        while tick < ticks:
            phase, end = self._phase(tick)
            stop, compiled = self._pacer.stop(tick, end), self.counter.requests
            stop = processes.most(stop)
            block = time.monotonic()
            state, metrics = self.program.advance(state, tick, stop)
            seconds, length = time.monotonic() - block, stop - tick
            profile[phase] += seconds
            tick = stop
            if compiled == self.counter.requests:
                self._pacer.measured(length, seconds)
                progress.block(generation, tick, length, seconds)
            if tick == ticks:
                break
            position = replace(position, tick=tick)
            if self._stopped():
                return state, position
            if processes.most(time.monotonic() - self._saved > CHECKPOINT_SECONDS):
                self._save(state, position)
        position = replace(position, generation=generation + 1, tick=0)
        metrics = processes.fetched(metrics)
        if self.settings.profile:
            metrics |= {f"{name}_seconds": spent for name, spent in profile.items()}
        line = self._record(generation + 1, metrics, time.monotonic() - begin)
        if self._checkpoint_due(position):
            self._save(state, position)
        mean = _mean_fitness(line)
        self._best = max(self._best, mean)
        progress.generation(generation + 1, mean, self._best, self._wall())
        if self._first_generation is None:
            self._first_generation = self.counter.compilations
        return state, position

    def _phase(self, tick: int) -> tuple[str, int]:
        """Phase of ``tick`` and its end; a generation is one phase if not timed."""
        if not self.settings.profile:
            return self.program.phases[0][0], self.program.ticks
        return next((name, end) for name, end in self.program.phases if tick < end)

    def _checkpoint_due(self, position: Position) -> bool:
        """After a generation: at the end, in time, or where it costs under 10 %."""
        since = time.monotonic() - self._saved
        last = position.generation == self.settings.config.generations
        due = last or since > min(CHECKPOINT_SECONDS, 10 * self.checkpoints.cost)
        return bool(processes.most(due))

    def _save(self, state: Any, position: Position) -> None:
        position = replace(position, wall_seconds=self._wall())
        self.checkpoints.save(state, position, self.program.static(state))
        self._saved = time.monotonic()

    def _wall(self) -> float:
        return self._before + time.monotonic() - self._begin

    def _record(
        self, generation: int, metrics: dict[str, Any], seconds: float
    ) -> dict[str, Any]:
        """Writes a generation's line of metrics."""
        line = {"generation": generation} | metrics
        if "mean_validation" not in line:
            line["mean_validation"] = np.mean(line["validation"], axis=-1)
        line["seconds"] = seconds
        line["wall_seconds"] = self._wall()
        line["compilations"] = self.counter.compilations
        self.folder.append_metrics(line)
        return line

    def _finish(self, state: Any, position: Position) -> None:
        """Tests the result and writes everything that is read afterwards."""
        measured = self.program.measure(state, TEST)
        test = measured.pop("score")
        described = [
            self.program.search.describe(s) for s in self.program.members(state)
        ]
        self._parameters = described[0].get("parameters")
        self.folder.write("best.json", summary.best(self.settings, described))
        result = self._summarise("completed", position, test, measured)
        if not processes.is_first():
            return
        from evojax_mtl.runs.report import write_report

        try:
            write_report([self.folder.path], None)
        except OSError as error:
            warn(f"report.html: {error.strerror}")
        print(
            f"completed: mean validation {result['mean_validation']:.4f}, "
            f"mean test {result['mean_test']:.4f}, {result['compilations']} "
            f"compilations ({result['compilations_after_first_generation']} after the "
            f"first generation), {result['wall_seconds']:.1f} s; "
            f"see {self.folder.path}",
            flush=True,
        )

    def _summarise(
        self,
        status: str,
        position: Position,
        test: np.ndarray | None = None,
        measured: dict[str, np.ndarray] | None = None,
    ) -> dict[str, Any]:
        """Writes ``summary.json``."""
        lines = self.folder.read_metrics()
        shape = (self.program.population, len(self.tasks))
        last = lines[-1] if lines else {"validation": np.full(shape, np.nan)}
        validation = last.get("kept", last["validation"])
        compiled = self.counter.compilations
        first = compiled if self._first_generation is None else self._first_generation
        result = {
            "method": self.settings.method,
            "status": status,
            **summary.outcome(
                self.settings,
                [task.name for task in self.tasks],
                getattr(self.program.search, "metrics", None)
                or [task.metric for task in self.tasks],
                np.array(validation, float).reshape(shape),
                None if test is None else test.reshape(shape),
                measured or {},
            ),
            "task_source": self.settings.tasks,
            "scale": self.settings.scale,
            "seed": self.settings.seed,
            "searches": self.program.population,
            "generations": position.generation,
            "ticks_per_generation": self.program.ticks,
            "evaluations": summary.evaluations(lines),
            "parameters": self._parameters,
            "compilations": compiled,
            "compilations_after_first_generation": compiled - first,
            "cache_hits": self.counter.cache_hits,
            "capacity_growths": self._growths,
            "compile_seconds": self.counter.seconds,
            "wall_seconds": self._wall(),
            "sessions": position.sessions,
            "peak_memory_bytes": provenance.peak_memory_bytes(),
            "peak_device_memory_bytes": provenance.peak_device_memory_bytes(),
            **self.facts,
        }
        self.folder.write("summary.json", result)
        return result


def _mean_fitness(line: dict[str, Any]) -> float:
    """Mean over the searches, of a line just measured or read from its file."""
    value = line["mean_validation"]
    return float(np.mean(np.array(np.nan if value is None else value, float)))
