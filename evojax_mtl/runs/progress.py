"""Progress of a run: a live bar on a terminal, one line a generation elsewhere."""

import sys
from typing import Any


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Progress:
    """Shows generation, fitness, rate and time left while entered as a context."""

    def __init__(
        self, generations: int, ticks: int, *, live: bool | None = None
    ) -> None:
        """Progress of a run.

        Args:
          generations: length of the run.
          ticks: ticks of a generation.
          live: whether to draw a bar; by default where stdout is a terminal.
        """
        self.generations = generations
        self.ticks = ticks
        self._seconds = 0.0
        self._ticks_run = 0
        self._bar: Any = None
        if sys.stdout.isatty() if live is None else live:
            self._bar, self._task = _bar(generations * ticks)

    def __enter__(self) -> "Progress":
        """Shows the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Takes it away."""
        if self._bar is not None:
            self._bar.stop()

    def block(
        self,
        generation: int,
        tick: int,
        ticks: int,
        seconds: float,
        label: str | None = None,
    ) -> None:
        """Notes a block: ``ticks`` ticks up to ``tick`` of ``generation`` (from 0).

        ``label`` stands beside the bar in the generation's place.
        """
        self._seconds += seconds
        self._ticks_run += ticks
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=generation * self.ticks + tick,
                description=label
                or f"generation {min(generation + 1, self.generations)}"
                f"/{self.generations}",
                rate=f"{self.rate:.1f} it/s",
                left=f"{duration(self.left(generation, tick))} left",
            )

    @property
    def rate(self) -> float:
        """Iterations (ticks) a second so far."""
        return self._ticks_run / self._seconds if self._seconds else 0.0

    def left(self, generation: int, tick: int) -> float:
        """Seconds to the end at the present rate."""
        ticks = (self.generations - generation) * self.ticks - tick
        return ticks / self.rate if self.rate else 0.0

    def generation(self, number: int, mean: float, best: float, seconds: float) -> None:
        """A generation (from 1) has ended: mean fitness, best so far, its seconds."""
        text = (
            f"generation {number}/{self.generations}  "
            f"mean fitness {mean:.4f}  best {best:.4f}  "
            f"{self.rate:.1f} it/s  {duration(seconds)} run  "
            f"{duration(self.left(number, 0))} left"
        )
        self.say(text)

    def say(self, text: str) -> None:
        """A line of text, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, flush=True)


def _bar(total: int) -> tuple[Any, Any]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        transient=True,
    )
    task = bar.add_task("compiling", total=total, rate="", left="")
    return bar, task
