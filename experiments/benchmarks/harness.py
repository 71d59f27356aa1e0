"""Side-by-side timing: ours and a peer in turns, so that both meet the same machine.

A benchmark is a module of this package that defines ``BENCHMARK``, a ``Benchmark``.
"""

import gc
import importlib
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

Work = Callable[[], Any]
"""Does a fixed amount of work and returns when it is done."""


class BenchmarkError(Exception):
    """What keeps a benchmark from running, in one line."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
      case: what was run.
      ours_seconds: median time of ours.
      peer: what ours is compared with.
      peer_seconds: median time of the peer.
      goal: ratio that ours should reach.
      max_abs_difference: of the outputs, where they compare.
      rounds: how often each was timed.
      spread: relative interquartile range of the rounds' ratios: the noise.
    """

    case: str
    ours_seconds: float
    peer: str
    peer_seconds: float
    goal: float | None = None
    max_abs_difference: float | None = None
    rounds: int = 1
    spread: float = 0.0

    @property
    def ratio(self) -> float:
        """Time of the peer over ours: above 1, ours is ahead."""
        return self.peer_seconds / self.ours_seconds

    def to_json(self) -> dict[str, Any]:
        """The contract's fields, and the noise."""
        fields = {
            "case": self.case,
            "ours_seconds": self.ours_seconds,
            "peer": self.peer,
            "peer_seconds": self.peer_seconds,
            "ratio": self.ratio,
            "goal": self.goal,
            "max_abs_difference": self.max_abs_difference,
            "rounds": self.rounds,
            "spread": self.spread,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Report:
    """What a benchmark found.

    Attributes:
      name: of the benchmark.
      work: what ours and the peers did.
      cases: comparisons with peers.
      own: comparisons of ours with ours, which do not enter ``ratio``.
      versions: of Python and the packages.
    """

    name: str
    work: str
    cases: Sequence[Case]
    own: Sequence[Case] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The smallest of the cases'."""
        return min(case.ratio for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "name": self.name,
            "cases": [case.to_json() for case in self.cases],
            "ratio": self.ratio,
            "own": [case.to_json() for case in self.own],
            "work": self.work,
            "versions": self.versions,
        }


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
      name: what the command line calls it.
      work: what ours and the peers do, in a sentence or two.
      run: runs everything; gets a function that tells the user what goes on. Returns
        the comparisons with peers, and those of ours with ours.
      packages: whose versions matter.
    """

    name: str
    work: str
    run: Callable[[Callable[[str], None]], tuple[list[Case], list[Case]]]
    packages: tuple[str, ...] = ("jax", "torch", "numpy")

    def report(self, tell: Callable[[str], None] = lambda line: None) -> Report:
        """Runs it."""
        cases, own = self.run(tell)
        return Report(self.name, self.work, cases, own, versions(self.packages))


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of ``packages``."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def need(package: str) -> ModuleType:
    """Imports a peer; raises ``BenchmarkError`` where it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise BenchmarkError(
            f"{package}: not installed; get it with the bench extra: "
            "pip install 'evojax-mtl[bench]'"
        ) from error


def seconds(work: Work) -> float:
    """Time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def interleave(
    works: Sequence[Work], *, rounds: int = 5, budget: float = 20.0, warm_up: int = 1
) -> list[list[float]]:
    """Times every work in turn, round after round.

    Args:
      works: what to time.
      rounds: rounds at least.
      budget: further rounds are made for this long (s).
      warm_up: untimed calls of each, which compile and fill caches.

    Returns:
      A list of times for each work.
    """
    for work in works:
        for _ in range(warm_up):
            work()
    times: list[list[float]] = [[] for _ in works]
    gc.collect()
    begin = time.perf_counter()
    while len(times[0]) < rounds or time.perf_counter() - begin < budget:
        for work, found in zip(works, times, strict=True):
            found.append(seconds(work))
    return times


def spread(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Relative interquartile range of the ratios of the rounds."""
    ratios = [theirs / own for own, theirs in zip(ours, peer, strict=True)]
    if len(ratios) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return (high - low) / middle


def compare(
    name: str,
    ours: Work,
    peers: dict[str, Work],
    *,
    amount: tuple[float, float] = (1.0, 1.0),
    goal: float | None = None,
    max_abs_difference: float | None = None,
    rounds: int = 5,
    budget: float = 20.0,
) -> Case:
    """Ours against the fastest of the peers, in turns.

    Args:
      name: of the case.
      ours: our work.
      peers: the same work by each peer; the one with the fastest trial is the peer.
      amount: units of work that a call of ours, and of a peer, does; the times of the
        case are for one unit.
      goal: ratio to reach.
      max_abs_difference: of the outputs, for the record.
      rounds: rounds at least.
      budget: further rounds are made for this long (s).
    """
    label = next(iter(peers))
    if len(peers) > 1:
        trials = interleave(list(peers.values()), rounds=2, budget=0.0)
        best = dict(zip(peers, map(min, trials), strict=True))
        label = min(best, key=lambda peer: best[peer])
    own, theirs = interleave([ours, peers[label]], rounds=rounds, budget=budget)
    return Case(
        case=name,
        ours_seconds=statistics.median(own) / amount[0],
        peer=label,
        peer_seconds=statistics.median(theirs) / amount[1],
        goal=goal,
        max_abs_difference=max_abs_difference,
        rounds=len(own),
        spread=spread(own, theirs),
    )
