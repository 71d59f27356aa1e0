"""Benchmark ``population``: assembled networks in one program against one at a time.

    python -m experiments.benchmarks population [--json]

A hundred networks of CMSR, of 3 to 8 modules of 1 to 5 layers after some generations at
random fitness, are trained for a hundred steps each. Ours are one program, spread over
the cores as a search spreads them over devices. The peers take the networks one after
another: plain Flax, a ``jit`` for each, and eager PyTorch. They run a sample, spread
evenly over the networks' sizes. All are timed on the sample, after compilation; with
compilation ours is timed on all hundred networks and Flax on the sample.

Shape legend: ``S`` steps, ``T`` tasks, ``B`` examples.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from evojax_mtl.codeepneat_configs import CMSRConfig
from evojax_mtl.compiling import ALONE, on_cpu
from evojax_mtl.evaluation.assembled_training import Training, train_or_score
from evojax_mtl.evaluation.training import no_tally
from evojax_mtl.networks.assembled import AssembledNetworks
from evojax_mtl.runs.devices import make_mesh
from evojax_mtl.search.cmsr import CMSR
from evojax_mtl.tasks.dataset import Batch
from experiments.benchmarks.ctr import Size, tasks
from experiments.benchmarks.harness import (
    Benchmark,
    BenchmarkError,
    Case,
    compare,
    need,
    seconds,
)
from experiments.benchmarks.plain_networks import describe, weights

SIZE = Size(tasks=4, batch=1, classes=20)
CONFIG = CMSRConfig(
    networks=100,
    nodes=8,
    layers=5,
    filters=16,
    largest_kernel=5,
    batch=SIZE.batch,
)
NETWORKS, STEPS, SAMPLE, ROUNDS, FEWEST = 100, 100, 6, 8, 3
RATE = 1e-3
GOAL_COMPILED, GOAL_EAGER, TOLERANCE = 5.0, 1.0, 1e-4


def assembled(search: CMSR, data: Any) -> Any:
    """Networks of at least ``FEWEST`` modules, ``(NETWORKS, ...)``."""
    hyperparameters = search.hyperparameters()
    state = jax.jit(search.init)(jax.random.key(0), hyperparameters, data)
    rates = search.rates(hyperparameters)
    evolve = jax.jit(search.evolve)
    found: list[Any] = []
    for number in range(ROUNDS):
        key = jax.random.key(number)
        networks = jax.tree.map(np.asarray, state.assembled.network)
        modules = [len(set(own[own >= 0])) for own in networks.module]
        kept = np.flatnonzero(np.array(modules) >= FEWEST)
        found.append(jax.tree.map(lambda x, kept=kept: x[kept], networks))
        fitness = jax.random.uniform(key, (search.config.networks,))
        state = state.replace(assembled=state.assembled.replace(fitness=fitness))
        state = evolve(key, state, rates)
    every = jax.tree.map(lambda *own: np.concatenate(own), *found)
    count = len(every.module)
    chosen = np.random.default_rng(0).permutation(count)[:NETWORKS]
    return jax.tree.map(lambda x: x[chosen], every)


def fitting(search: CMSR, networks: Any) -> AssembledNetworks:
    """What runs all of them: capacities as large as the largest needs."""
    large = search.model((200,) * (search.maps.levels[-1] + 1), 1)
    lists = jax.jit(jax.vmap(large.lists))(networks)
    rows = np.asarray(lists.schedule.rows).max(0)
    total = int(np.asarray(lists.lies.total).max())
    return search.model(tuple(int(r) for r in rows), total)


def program(search: CMSR, model: AssembledNetworks, data: Any, count: int):
    """Training of ``count`` networks, and its mesh's size; to be compiled."""
    devices = max(n for n in range(1, jax.device_count() + 1) if count % n == 0)
    mesh = make_mesh({"population": devices})

    def train(images, labels, targets, one):
        network, params = one
        lists = model.lists(network)

        def step(sofar, now):
            (images, labels), key = now
            batch = Batch(images, labels, jnp.ones(labels.shape, bool))
            sofar = train_or_score(
                model,
                search.transformation,
                lists,
                RATE,
                sofar,
                images,
                batch,
                targets,
                key,
                jnp.int32(-1),
            )
            return sofar, ()

        keys = jax.random.split(jax.random.key(1), len(images))
        start = search.transformation.init(params)
        begin = Training(params, start, no_tally(SIZE.tasks))
        return jax.lax.scan(step, begin, ((images, labels), keys))[0].tally.loss

    def every(networks, params, images, labels):
        run = partial(train, images, labels, data.targets)
        return jax.lax.map(run, (networks, params))

    if mesh is not None:
        spread, whole = PartitionSpec("population"), PartitionSpec()
        every = jax.shard_map(
            every,
            mesh=mesh,
            in_specs=(spread, spread, whole, whole),
            out_specs=spread,
            check_vma=False,
        )
    options = dict(search.compiler) | (ALONE if mesh else {})
    return jax.jit(every), on_cpu(options)


def batches(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(S, T, B, H, W, 1)`` and labels ``(S, T, B)``."""
    keys = jax.random.split(jax.random.key(2), STEPS)
    found = jax.jit(jax.vmap(lambda key: data.sample(key, SIZE.batch)))(keys)
    return np.asarray(found.images), np.asarray(found.labels)


def run(tell: Callable[[str], None]) -> tuple[list[Case], list[Case]]:
    """Times all of it."""
    torch = need("torch")
    from experiments.benchmarks.flax_population import FlaxNetwork, FlaxTraining
    from experiments.benchmarks.torch_population import TorchNetwork, TorchTraining

    data = tasks(SIZE)
    search = CMSR(CONFIG, data)
    networks = assembled(search, data)
    model = fitting(search, networks)
    lists = jax.jit(jax.vmap(model.lists))(networks)
    keys = jax.random.split(jax.random.key(3), NETWORKS)
    params = jax.jit(jax.vmap(model.init))(keys, networks)
    images, labels = batches(data)

    def one(tree, n):
        return jax.tree.map(lambda x: x[n], tree)

    plain = [describe(one(lists, n), model) for n in range(NETWORKS)]
    layers = [sum(step.slot >= 0 for step in own.steps) for own in plain]
    tell(f"networks of {min(layers)} to {max(layers)} layers, {np.mean(layers):.1f}")
    order = np.argsort([int(x) for x in np.asarray(lists.lies.total)])
    places = (2 * np.arange(SAMPLE) + 1) * NETWORKS // (2 * SAMPLE)
    sample = order[places]

    flax, eager, apart = [], {False: [], True: []}, 0.0
    sides = (SIZE.side >> (len(model.rows) - 1),) * 2
    for n in sample:
        own = weights(plain[n], one(lists, n), model, one(params, n))
        heads = one(params["heads"], n)
        network = FlaxNetwork(plain[n], SIZE.tasks, SIZE.classes, model.links)
        flax.append(FlaxTraining(network, own, heads, RATE))
        expected = model.apply(one(params, n), one(lists, n), images[0], keys[0], 0.0)
        found = [np.asarray(flax[-1].apply(flax[-1].params, images[0]))]
        for last, those in eager.items():
            peer = TorchNetwork(plain[n], own, heads, model.links, sides[0], last)
            those.append(TorchTraining(peer, RATE))
            with torch.no_grad():
                peer.eval()
                first = torch.tensor(images[0].transpose(0, 1, 4, 2, 3))
                found.append(peer(first).numpy())
        apart = max(apart, *(float(np.abs(x - expected).max()) for x in found))
    tell(f"outputs differ by {apart:.1e} at most")
    if not apart < TOLERANCE:
        raise BenchmarkError(f"population: outputs differ by {apart:.1e}")

    jitted, options = program(search, model, data, NETWORKS)
    everything = networks, params, images, labels
    jax.clear_caches()
    begin = time.perf_counter()
    compiled = jitted.lower(*everything).compile(options)
    compiling = time.perf_counter() - begin
    whole = compiling + seconds(lambda: jax.block_until_ready(compiled(*everything)))
    tell(f"ours, {NETWORKS} networks: {whole:.1f} s, {compiling:.1f} of it to compile")
    key = jax.random.key(4)

    def flax_sample():
        return [
            jax.block_until_ready(x.train(x.params, images, labels, key)) for x in flax
        ]

    alone = seconds(flax_sample) * NETWORKS / SAMPLE
    jitted, options = program(search, model, data, SAMPLE)
    some = one(networks, sample), one(params, sample), images, labels
    compiled = jitted.lower(*some).compile(options)
    x = torch.tensor(images.transpose(0, 1, 2, 5, 3, 4).copy())
    y = torch.tensor(labels.astype(np.int64))

    def torch_sample(last):
        return [own.train(x, y) for own in eager[last]]

    case = compare(
        f"{STEPS} steps of a network, compiled before",
        lambda: jax.block_until_ready(compiled(*some)),
        {
            "PyTorch eager": lambda: torch_sample(False),
            "PyTorch eager, channels last": lambda: torch_sample(True),
        },
        amount=(SAMPLE, SAMPLE),
        goal=GOAL_EAGER,
        max_abs_difference=apart,
        rounds=2,
        budget=10.0,
    )
    again = compare(
        f"{STEPS} steps of a network, compiled before",
        lambda: jax.block_until_ready(compiled(*some)),
        {"plain Flax, a jit each": flax_sample},
        amount=(SAMPLE, SAMPLE),
        max_abs_difference=apart,
        rounds=2,
        budget=5.0,
    )
    fresh = Case(
        f"{NETWORKS} networks of {STEPS} steps, compilation included",
        whole,
        "plain Flax, a jit each",
        alone,
        goal=GOAL_COMPILED,
        max_abs_difference=apart,
    )
    return [fresh, case], [again]


BENCHMARK = Benchmark(
    "population",
    f"{NETWORKS} assembled networks of {FEWEST} to {CONFIG.nodes} modules of up to "
    f"{CONFIG.layers} layers, {CONFIG.filters} filters, {SIZE.tasks} tasks x "
    f"{SIZE.batch} images of {SIZE.side}x{SIZE.side}: ours as one program over the "
    f"cores, the peers one network after another, {SAMPLE} of them",
    run,
    packages=("jax", "flax", "torch", "numpy"),
)
