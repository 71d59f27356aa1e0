"""The loop of a retraining: task after task, in parts, with checkpoints between."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from evojax_mtl.evaluation.retrain_data import TrainParts
from evojax_mtl.evaluation.retrain_records import EpochMetrics
from evojax_mtl.runs import provenance
from evojax_mtl.runs.checkpoints import Checkpoints, Position
from evojax_mtl.runs.compilation import CompilationCounter
from evojax_mtl.runs.folder import RunFolder, warn
from evojax_mtl.runs.progress import Progress, duration
from evojax_mtl.runs.retrain.plan import Plan
from evojax_mtl.runs.retrain.result import result
from evojax_mtl.runs.retrain.settings import RetrainSettings
from evojax_mtl.runs.runner import CHECKPOINT_SECONDS, Pacer
from evojax_mtl.runs.signals import Interrupt, exit_status


@dataclass
class Standing:
    """How far a retraining is; all of it but ``state`` is JSON-able.

    Attributes:
      number: of the job at work.
      epoch: epochs done of it.
      step: steps done of the next one.
      best: its best test so far, ``[epoch, accuracy]``; empty before the first.
      finished: results of the jobs before it.
      sessions: processes that have worked on it.
      state: ``Training`` of the job at work; None before its first step.
    """

    number: int = 0
    epoch: int = 0
    step: int = 0
    best: list[Any] = field(default_factory=list)
    finished: list[dict[str, Any]] = field(default_factory=list)
    sessions: int = 1
    state: Any = None

    def static(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the state."""
        names = ("number", "epoch", "step", "best", "finished")
        return {name: getattr(self, name) for name in names}


class RetrainRunner:
    """Trains the networks of some plans, from the start or a checkpoint."""

    def __init__(
        self,
        settings: RetrainSettings,
        plans: Sequence[Plan],
        folder: RunFolder,
        counter: CompilationCounter,
        interrupt: Interrupt,
        facts: dict[str, Any],
        began: float,
    ) -> None:
        """A runner that has not begun.

        Args:
          settings: what was asked.
          plans: one a job, in order.
          folder: where it is written.
          counter: counts compilations, entered already.
          interrupt: notes signals, entered already.
          facts: ``provenance()``.
          began: ``time.monotonic()`` when the wall time began.
        """
        self.settings = settings
        self.plans = plans
        self.folder = folder
        self.counter = counter
        self.interrupt = interrupt
        self.facts = facts
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.at = Standing()
        self._began = began
        self._before = 0.0
        self._saved = began
        self._pacer = Pacer()
        self._epochs = settings.training.epochs

    def start(self) -> int:
        """A new retraining; returns the exit status."""
        self._summarise("running")
        total = sum(self._epochs * plan.steps for plan in self.plans)
        with Progress(1, total) as progress:
            while self.at.number < len(self.plans):
                if self.interrupt.signal or not self._job(progress):
                    return self._interrupted()
        told = self._summarise("completed")
        self._report()
        print(
            f"completed: mean test {told['mean_test']:.4f}, "
            f"{told['compilations']} compilations, "
            f"{told['wall_seconds']:.1f} s; see {self.folder.path}",
            flush=True,
        )
        return 0

    def resume(self) -> int:
        """Goes on from the last complete checkpoint; returns the exit status."""
        statics: list[dict[str, Any]] = []

        def template(static: dict[str, Any]) -> Any:
            statics.append(static)
            return self.plans[static["number"]].abstract()

        restored = self.checkpoints.restore(template)
        if restored is None:
            warn("no complete checkpoint: starting from the beginning")
            self.folder.keep_lines([])
            return self.start()
        state, position = restored
        sessions = position.sessions + 1
        self.at = Standing(**statics[-1], sessions=sessions, state=state)
        self._before = position.wall_seconds
        done = {plan.task.name for plan in self.plans[: self.at.number]}
        name = self.plans[self.at.number].task.name
        self.folder.keep_lines(
            [
                line
                for line in self.folder.read_lines()
                if line["task"] in done
                or (line["task"] == name and line["epoch"] <= self.at.epoch)
            ]
        )
        print(
            f"resuming {name} after epoch {self.at.epoch}, step {self.at.step}",
            flush=True,
        )
        return self.start()

    def _job(self, progress: Progress) -> bool:
        """The rest of the job at work; whether it came to its end."""
        at, plan = self.at, self.plans[self.at.number]
        data, unseen = plan.load(self.settings.seed)
        init_key, key = plan.keys(self.settings.seed)
        plan.part.compile(key, data.abstract(), unseen.abstract())
        if at.state is None:
            at.state = plan.part.init(init_key, data.part(0, 0).images)
        self._pacer = Pacer()
        while at.epoch < self._epochs:
            began = time.monotonic()
            if not self._steps(plan, data, key, progress):
                return False
            metrics = plan.part.metrics(at.state, data.abstract(), at.epoch, data.count)
            if plan.part.tested(at.epoch):
                test = plan.tested(at.state, unseen, at.epoch + 1)
                metrics = metrics._replace(
                    accuracy=test.accuracy, top_five=test.top_five
                )
                if not at.best or test.accuracy > at.best[1]:
                    at.best = [test.epoch, test.accuracy]
            at.epoch, at.step = at.epoch + 1, 0
            self._record(plan, metrics, time.monotonic() - began)
            self._say(plan, metrics, progress)
            if self._due():
                self._save()
        at.finished.append(result(plan, at.state, at.best, unseen, self.folder.path))
        at.number, at.epoch, at.best, at.state = at.number + 1, 0, [], None
        self._summarise("running")
        return True

    def _steps(
        self, plan: Plan, data: TrainParts, key: jax.Array, progress: Progress
    ) -> bool:
        """The rest of an epoch's steps; False if a signal came first."""
        at, steps = self.at, plan.steps
        length = steps // data.count
        while at.step < steps:
            if self.interrupt.signal:
                return False
            number = at.step // length
            examples = data.part(at.epoch, number)
            stop = self._pacer.stop(at.step, (number + 1) * length)
            compiled, begin = self.counter.requests, time.monotonic()
            at.state = plan.part.advance(
                at.state,
                examples,
                np.int32(at.epoch),
                np.int32(at.step),
                np.int32(stop),
                key,
            )
            jax.block_until_ready(at.state.tally)
            del examples  # the device need not hold two parts
            seconds, taken = time.monotonic() - begin, stop - at.step
            at.step = stop
            if compiled == self.counter.requests:
                self._pacer.measured(taken, seconds)
                label = f"{plan.task.name} epoch {at.epoch + 1}/{self._epochs}"
                progress.block(0, self._steps_done(), taken, seconds, label)
            # The epoch's test belongs to its end: the checkpoint comes after it.
            late = time.monotonic() - self._saved > CHECKPOINT_SECONDS
            if late and stop < steps:
                self._save()
        return True

    def _steps_done(self) -> int:
        """Steps of all jobs so far."""
        before = sum(self._epochs * p.steps for p in self.plans[: self.at.number])
        if self.at.number == len(self.plans):
            return before
        steps = self.plans[self.at.number].steps
        return before + self.at.epoch * steps + self.at.step

    def _record(self, plan: Plan, metrics: EpochMetrics, seconds: float) -> None:
        line = {
            "task": plan.task.name,
            "epoch": metrics.epoch,
            "loss": metrics.loss,
            "train_accuracy": metrics.train_accuracy,
            "test_accuracy": metrics.accuracy,
            "test_top5": metrics.top_five,
            "skipped_steps": metrics.skipped,
            "seconds": seconds,
            "wall_seconds": self._wall(),
        }
        self.folder.append_metrics(line)

    def _say(self, plan: Plan, metrics: EpochMetrics, progress: Progress) -> None:
        tested = "" if metrics.accuracy is None else f"  test {metrics.accuracy:.4f}"
        left = duration(progress.left(0, self._steps_done()))
        progress.say(
            f"{plan.task.name}  epoch {metrics.epoch}/{self._epochs}  "
            f"loss {metrics.loss:.4f}  train {metrics.train_accuracy:.4f}{tested}  "
            f"{progress.rate:.1f} it/s  {duration(self._wall())} run  {left} left"
        )

    def _due(self) -> bool:
        """After an epoch: at the job's end, in time, or where it costs under 10 %."""
        since = time.monotonic() - self._saved
        limit = min(CHECKPOINT_SECONDS, 10 * self.checkpoints.cost)
        return self.at.epoch == self._epochs or since > limit

    def _save(self) -> None:
        position = Position(
            generation=self.at.number * self._epochs + self.at.epoch,
            tick=self.at.step,
            wall_seconds=self._wall(),
            sessions=self.at.sessions,
        )
        self.checkpoints.save(self.at.state, position, self.at.static())
        self._saved = time.monotonic()

    def _interrupted(self) -> int:
        if self.at.state is not None:
            self._save()
        self._summarise("interrupted")
        name = self.plans[self.at.number].task.name
        print(
            f"interrupted in {name} after {self.at.epoch} of {self._epochs} epochs; "
            f"go on with: evojax-mtl retrain --resume {self.folder.path}",
            flush=True,
        )
        return exit_status(self.interrupt.signal)

    def _wall(self) -> float:
        return self._before + time.monotonic() - self._began

    def _summarise(self, status: str) -> dict[str, Any]:
        """Writes ``summary.json``."""
        tests = [task["test"] for task in self.at.finished]
        told = {
            "method": "retrain",
            "status": status,
            "network": self.settings.network,
            "tasks": self.at.finished,
            "mean_test": float(np.mean(tests)) if tests else None,
            "task_source": self.settings.tasks,
            "genotype": self.settings.genotype,
            "scale": self.settings.scale,
            "recipe": self.settings.recipe,
            "seed": self.settings.seed,
            "epochs": self._epochs,
            "compilations": self.counter.compilations,
            "cache_hits": self.counter.cache_hits,
            "compile_seconds": self.counter.seconds,
            "wall_seconds": self._wall(),
            "sessions": self.at.sessions,
            "peak_memory_bytes": provenance.peak_memory_bytes(),
            "peak_device_memory_bytes": provenance.peak_device_memory_bytes(),
            **self.facts,
        }
        self.folder.write("summary.json", told)
        return told

    def _report(self) -> None:
        from evojax_mtl.runs.retrain.report import write_report

        try:
            write_report(self.folder, None)
        except OSError as error:
            warn(f"report.html: {error.strerror}")
