"""Benchmark ``tabular``: 1,000 KTNAS searches as one program against NumPy.

    python -m experiments.benchmarks tabular [--json]

Both read the same tables, proxy and embedding, and run 100 generations a search. Ours
are one program, spread over the cores; the peer runs one search after another, a few of
them, vectorised over the population. Times are a search. The embedding, what compiling
takes, and the whole of it with 1,000 searches are told apart in ``own``.
"""

import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jax.sharding import PartitionSpec

from evojax_mtl.compiling import ALONE, SMALL, on_cpu
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation import table_embeddings
from evojax_mtl.evaluation.tabular import TableData, table_data
from evojax_mtl.runs.devices import make_mesh
from evojax_mtl.search.ktnas import KTNAS
from evojax_mtl.tabular_configs import KTNASConfig
from evojax_mtl.tasks.sources import load_tables
from experiments.benchmarks import numpy_ktnas
from experiments.benchmarks.harness import Benchmark, BenchmarkError, Case, compare

SEARCHES, PEER_SEARCHES = 1000, 4
GOAL, SECONDS = 100.0, 60.0


def load(config: KTNASConfig, tell: Callable[[str], None]) -> tuple[TableData, float]:
    """The data, and how long the embedding took (s)."""
    try:
        tasks = load_tables("nasbench201")
    except UserError as error:
        tell(f"the synthetic table, since {error}")
        tasks = load_tables("nasbench-toy")
    begin = time.perf_counter()
    vectors = table_embeddings.embed(config.embedding, tasks, config)
    took = time.perf_counter() - begin
    proxy = np.stack([task.multiply_adds for task in tasks])
    return table_data(tasks, proxy, vectors), took


def program(search: KTNAS, data: TableData, count: int):
    """Compiled searches from ``count`` keys, over as many devices as divide them."""
    devices = max(n for n in range(1, jax.device_count() + 1) if count % n == 0)
    mesh = make_mesh({"population": devices})
    rates = search.hyperparameters()

    def best(keys, data):
        run = partial(search.run, hyperparameters=rates, data=data)
        return jax.vmap(lambda key: run(key)[0].archive.fitness)(keys)

    if mesh is not None:
        spread, all_of_it = PartitionSpec("population"), PartitionSpec()
        best = jax.shard_map(
            best,
            mesh=mesh,
            in_specs=(spread, all_of_it),
            out_specs=spread,
            check_vma=False,
        )
    keys = jax.random.split(jax.random.key(0), count)
    return (
        jax.jit(best).lower(keys, data).compile(on_cpu(SMALL | (ALONE if mesh else {})))
    )


def run(tell: Callable[[str], None]) -> tuple[list[Case], list[Case]]:
    """Times both."""
    config = KTNASConfig(embedded=500, walks=4)
    data, embedding = load(config, tell)
    tell(f"embedding: {embedding:.1f} s")
    search = KTNAS(config, data)
    begin = time.perf_counter()
    compiled = program(search, data, SEARCHES)
    compiling = time.perf_counter() - begin
    tell(f"compiling: {compiling:.1f} s")
    keys = jax.random.split(jax.random.key(1), SEARCHES)
    begin = time.perf_counter()
    ours = np.asarray(compiled(keys, data))
    whole = embedding + compiling + time.perf_counter() - begin
    tell(f"{SEARCHES} searches, embedding and compiling included: {whole:.1f} s")
    names = ("validation", "proxy", "vectors", "neighbours")
    tables = numpy_ktnas.Tables(*(np.asarray(getattr(data, name)) for name in names))

    def peer() -> np.ndarray:
        found = [numpy_ktnas.search(tables, config, k) for k in range(PEER_SEARCHES)]
        return np.array(found)

    case = compare(
        f"a search of {config.generations} generations",
        lambda: jax.block_until_ready(compiled(keys, data)),
        {"NumPy": peer},
        amount=(SEARCHES, PEER_SEARCHES),
        goal=GOAL,
        max_abs_difference=float(np.abs(ours.mean(0) - peer().mean(0)).max()),
        rounds=3,
        budget=20.0,
    )
    own = [
        Case(
            f"{SEARCHES} searches, embedding and compiling included, in {SECONDS:.0f}",
            whole,
            "the goal",
            SECONDS,
            goal=1.0,
        ),
        Case("embedding, of it", embedding, "the goal", SECONDS),
        Case("compiling, of it", compiling, "the goal", SECONDS),
    ]
    if not np.isfinite(ours).all():
        raise BenchmarkError("tabular: a search evaluated nothing")
    return [case], own


BENCHMARK = Benchmark(
    "tabular",
    f"{SEARCHES:,} independent KTNAS searches of 100 generations on three tasks: ours "
    "as one program over the cores, the peer one after another; the difference is that "
    "of the mean best accuracies",
    run,
    packages=("jax", "numpy"),
)
