"""The min-norm point of a Gramian against the solvers of torchjd and LibMTL.

Shape legend: ``T`` tasks.
"""

import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.balancing.min_norm import min_norm
from evojax_mtl.compiling import on_cpu
from experiments.benchmarks.harness import (
    Benchmark,
    BenchmarkError,
    Case,
    compare,
    need,
)

TASKS = (2, 3, 10, 50)
PARAMETERS = 2000
"""Values of each gradient."""

MAPPED = 1000
"""Gramians that one vectorised call of ours solves."""

SAMPLE = {2: 50, 3: 50, 10: 20, 50: 5}
"""Gramians that a timed call of a peer solves."""

SINGLE, VECTORISED = 5.0, 20.0
"""Ratios to reach."""

EXACT, EXACTER = 1e-7, 100.0
"""Gap to keep to, which is what weights in float32 can; with three tasks and more that
of the better peer, over this, will do where it is larger."""

Solver = Callable[[np.ndarray], np.ndarray]


def gramians(tasks: int, count: int) -> np.ndarray:
    """Of noisy gradients of several norms with a direction in common."""
    random = np.random.default_rng(tasks)
    rows = random.normal(size=(count, tasks, PARAMETERS)).astype(np.float32)
    rows += 0.3 * random.normal(size=PARAMETERS).astype(np.float32)
    rows *= np.exp(random.normal(size=(count, tasks, 1))).astype(np.float32)
    return rows @ rows.swapaxes(1, 2) / PARAMETERS


def gap(gramian: np.ndarray, weights: np.ndarray) -> float:
    """``max_t (a' G a - (G a)_t)`` over the largest diagonal entry, in float64."""
    gramian, weights = gramian.astype(np.float64), weights.astype(np.float64)
    inner = gramian @ weights
    return float((weights @ inner - inner.min()) / np.diag(gramian).max())


def torchjd_solver() -> Solver:
    """torchjd's Frank-Wolfe weighting."""
    torch = need("torch")
    weighting = need("torchjd.aggregation").MGDAWeighting()
    return lambda gramian: weighting(torch.from_numpy(gramian)).numpy()


def libmtl_solver() -> Solver:
    """LibMTL's projected gradient; it takes gradients, here a root of the Gramian.

    Its other parts, which want a torchvision of 2021, are not imported.
    """
    torch = need("torch")
    spec = importlib.util.find_spec("LibMTL")
    if spec is None or not spec.submodule_search_locations:
        raise BenchmarkError(
            "LibMTL: not installed; get it with the bench extra: "
            "pip install 'evojax-mtl[bench]'"
        )
    if "LibMTL" not in sys.modules:
        package = types.ModuleType("LibMTL")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["LibMTL"] = package
    find = need("LibMTL.weighting.MGDA").MGDA()._find_min_norm_element

    def solve(gramian: np.ndarray) -> np.ndarray:
        root = np.linalg.cholesky(gramian.astype(np.float64)).astype(np.float32)
        return find(torch.from_numpy(root)).numpy()

    return solve


def peer_work(solver: Solver, given: np.ndarray) -> Callable[[], object]:
    """Solves one after the other."""
    return lambda: [solver(gramian) for gramian in given]


def run(tell: Callable[[str], None]) -> tuple[list[Case], list[Case]]:
    """Single solves and vectorised ones, every number of tasks."""
    need("torch").set_num_threads(2)
    peers = {"torchjd": torchjd_solver(), "LibMTL": libmtl_solver()}
    one = jax.jit(min_norm, compiler_options=on_cpu())
    many = jax.jit(jax.vmap(min_norm), compiler_options=on_cpu())
    cases = []
    for tasks in TASKS:
        tell(f"T = {tasks}")
        given = gramians(tasks, MAPPED)
        sample = given[: SAMPLE[tasks]]
        stacked = jnp.asarray(given)
        separate = [jnp.asarray(gramian) for gramian in sample]
        found = np.asarray(many(stacked))
        works = {
            f"{name}, one by one": peer_work(solver, sample)
            for name, solver in peers.items()
        }
        exactness = _exactness(tell, tasks, given, found, peers, len(sample))

        def single(separate=separate):
            return [one(gramian).block_until_ready() for gramian in separate]

        def vectorised(stacked=stacked):
            return many(stacked).block_until_ready()

        for name, ours, amount, goal in (
            (f"T = {tasks}, one solve", single, len(sample), SINGLE),
            (f"T = {tasks}, {MAPPED} by vmap", vectorised, MAPPED, VECTORISED),
        ):
            case = compare(
                name,
                ours,
                works,
                amount=(amount, len(sample)),
                goal=goal,
                budget=4.0,
            )
            cases.append(replace(case, max_abs_difference=exactness))
    return cases, []


def _exactness(
    tell: Callable[[str], None],
    tasks: int,
    given: np.ndarray,
    found: np.ndarray,
    peers: dict[str, Solver],
    sample: int,
) -> float:
    """Tells the gaps; returns the largest difference from torchjd's weights."""
    ours = [gap(g, a) for g, a in zip(given, found, strict=True)]
    theirs = {
        name: [solver(g) for g in given[:sample]] for name, solver in peers.items()
    }
    gaps = {
        name: max(gap(g, a) for g, a in zip(given, weights, strict=False))
        for name, weights in theirs.items()
    }
    limit = EXACT if tasks == 2 else max(EXACT, min(gaps.values()) / EXACTER)
    kept = "kept" if max(ours) <= limit else "MISSED"
    told = ", ".join(f"{name} {value:.1e}" for name, value in gaps.items())
    tell(
        f"T = {tasks}: largest gap of {len(ours)} {max(ours):.1e}; of {sample}: {told}"
        f"; goal {limit:.1e} {kept}"
    )
    torchjd = np.stack(theirs["torchjd"])
    return float(np.abs(torchjd - found[:sample]).max())


BENCHMARK = Benchmark(
    "min-norm",
    "weights of the least norm in the hull of T gradients from their Gramian, float32; "
    "times are for one Gramian; max_abs_difference is of the weights, from torchjd's",
    run,
    packages=("jax", "torch", "torchjd", "LibMTL", "numpy"),
)
