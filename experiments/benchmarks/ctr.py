"""A training iteration of CTR, as the search runs it, against eager PyTorch.

Shape legend: ``T`` tasks, ``P`` networks (champion and challenger of each task).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from evojax_mtl.architectures.schedule import Schedule
from evojax_mtl.architectures.table import Architecture
from evojax_mtl.configs import CTRConfig
from evojax_mtl.evaluation.training import (
    loss_and_gradients,
    no_tally,
    train_iteration,
)
from evojax_mtl.genomes import routings
from evojax_mtl.runs.devices import divisor, make_mesh
from evojax_mtl.search.ctr import CTR
from evojax_mtl.tasks.dataset import Dataset, stack_tasks
from evojax_mtl.tasks.task import Split, Task
from experiments.benchmarks.harness import Benchmark, Case, compare, need

LEARNING_RATE = 1e-3
DROPOUT = 0.5


@dataclass(frozen=True)
class Size:
    """How large a case is.

    Attributes:
      tasks: tasks, of two networks each.
      side: height and width of the images.
      filters: width of the modules.
      batch: examples a task and iteration.
      classes: classes of every task.
      mutations: nodes added to the champion of task ``t``: entry ``t`` modulo the
        length. Its challenger has one more.
      modules: shared modules, and depth of the initial chains.
    """

    tasks: int = 20
    side: int = 28
    filters: int = 48
    batch: int = 1
    classes: int = 30
    mutations: tuple[int, ...] = (0, 1)
    modules: int = 4


def tasks(size: Size, examples: int = 64) -> Dataset:
    """Noise with labels."""
    random = np.random.default_rng(0)
    shape = (examples, size.side, size.side, 1)

    def split(count: int) -> Split:
        images = random.integers(0, 256, (count, *shape[1:]), np.uint8)
        labels = random.integers(0, size.classes, count).astype(np.int32)
        return Split(images, labels, np.ones(count, bool))

    return stack_tasks(
        [
            Task(f"task{t}", split(examples), split(1), split(1), size.classes)
            for t in range(size.tasks)
        ]
    )


def grown(size: Size, seed: int = 0) -> Architecture:
    """Champions after some mutations, challengers after one more, ``(P, ...)``."""
    most = max(size.mutations) + 1
    chain = routings.chain((size.side, size.side), size.modules, size.modules, most)

    def grow(key, mutations):
        def mutate(i, routing):
            key_here = jax.random.fold_in(key, i)
            return routings.add_node(key_here, routing, size.modules)[0]

        start = jax.tree.map(jnp.asarray, chain)
        return jax.lax.fori_loop(0, mutations, mutate, start)

    keys = jnp.repeat(jax.random.split(jax.random.key(seed), size.tasks), 2)
    count = np.resize(size.mutations, size.tasks)[:, None] + np.arange(2)
    genomes = jax.jit(jax.vmap(grow))(keys, jnp.asarray(count.ravel()))
    return jax.tree.map(np.asarray, routings.decode(genomes))


class Ours:
    """The search's training iterations on given architectures.

    Args:
      size: how large.
      architecture: the networks, NumPy.
      slack: capacity of the buffers over the rows that are needed.
      devices: devices that the tasks are spread over.
    """

    def __init__(
        self, size: Size, architecture: Architecture, slack: float, devices: int = 1
    ) -> None:
        self.size = size
        self.architecture = architecture
        self.data = tasks(size)
        self.mesh = make_mesh({"tasks": devices})
        # the same networks on one device
        self.whole = self if devices == 1 else Ours(size, architecture, slack)
        config = CTRConfig(
            modules=size.modules,
            filters=size.filters,
            depth=size.modules,
            batch=size.batch,
        )
        self.search = CTR(config, self.data, self.mesh)
        edges = architecture.source.shape[-1]
        self.search.merge_shape = lambda genome: (2 * size.tasks, edges)
        self.model = self.search.model(None)
        everything = (4 * architecture.operation.size,) * (
            1 + int(architecture.resolution.max())
        )
        make = jax.jit(self.search.schedule, static_argnums=1)
        rows = np.asarray(make(architecture, everything).rows)
        rows = rows.reshape(devices, -1).max(0)
        self.capacities = tuple(int(slack * r) for r in rows)
        self.lists: Schedule = make(architecture, self.capacities)
        self.applications = int(np.sum(self.lists.applications))
        self.hyperparameters = {"learning_rate": LEARNING_RATE, "dropout": DROPOUT}

    def apply(self, params: Any, images: Any, train: bool = False, key: int = 0) -> Any:
        """Logits of the networks."""
        return self.whole.model.apply(
            {"params": params},
            images,
            self.architecture,
            self.whole.lists,
            train=train,
            key=jax.random.key(key),
            rate=DROPOUT,
        )

    def params(self, seed: int = 0) -> Any:
        """Random weights, biases and merge scales."""
        size = self.size
        images = jnp.zeros((size.tasks, 1, size.side, size.side, 1))
        key = jax.random.key(seed)
        params = self.whole.model.init(
            key,
            images,
            self.architecture,
            self.whole.lists,
            train=False,
            key=key,
            rate=0.0,
        )["params"]
        keys = iter(jax.random.split(key, 100))

        def fill(leaf):
            if leaf.size and not np.any(leaf):
                return 0.1 * jax.random.normal(next(keys), leaf.shape)
            return leaf

        return jax.tree.map(fill, params)

    def start(self, seed: int = 0) -> Any:
        """Weights, the optimiser's state, the tally."""
        params = self.params(seed)
        state = self.search.transformation.init(params)
        # copies, since a tally's equal arrays are one, and are to be donated
        return jax.tree.map(jnp.copy, (params, state, no_tally(self.search.networks)))

    def iterate(
        self, carry: Any, key: Any, architecture: Any, lists: Any, data: Any, count: int
    ) -> Any:
        """``count`` training iterations; to be jitted."""
        gradients = loss_and_gradients(self.model, self.search.inputs, self.mesh)

        def train(i, carry):
            batch_key, dropout_key = jax.random.split(jax.random.fold_in(key, i))
            return train_iteration(
                partial(gradients, architecture=architecture, lists=lists),
                self.search.transformation,
                self.hyperparameters,
                carry,
                data.sample(batch_key, self.size.batch),
                data,
                dropout_key,
            )

        return jax.lax.fori_loop(0, count, train, carry)

    def work(self, count: int, seeds: int | None = None) -> Callable[[], None]:
        """``count`` iterations of one run, or of several under ``jax.vmap``."""
        function = partial(self.iterate, count=count)
        if seeds is None:
            carry, key = self.start(), jax.random.key(1)
        else:
            function = jax.vmap(function, (0, 0, None, None, None))
            carry = jax.tree.map(
                lambda *leaves: jnp.stack(leaves), *map(self.start, range(seeds))
            )
            key = jax.random.split(jax.random.key(1), seeds)
        fixed = (key, jax.tree.map(jnp.asarray, self.architecture))
        fixed = (*fixed, self.lists, self.data)
        everywhere = NamedSharding(self.mesh, PartitionSpec()) if self.mesh else None
        carry, fixed = jax.device_put((carry, fixed), everywhere)
        jitted = jax.jit(function, donate_argnums=0, out_shardings=everywhere)
        state = [carry]

        def work() -> None:
            out = jitted(state.pop(), *fixed)
            state.append(jax.block_until_ready(out))

        return work


def torch_networks(ours: Ours, params: Any, channels_last: bool) -> Any:
    """The same networks in PyTorch."""
    from experiments.benchmarks import torch_ctr

    module = params["supernet"]["operation_0"]
    size = ours.size
    return torch_ctr.Networks(
        ours.architecture,
        ours.search.task,
        kernel=np.asarray(module["kernel"]),
        bias=np.asarray(module["bias"]),
        merge=np.asarray(params["merge"]),
        decoder=np.asarray(params["decoders"]["kernel"]),
        decoder_bias=np.asarray(params["decoders"]["bias"]),
        side=size.side >> int(ours.architecture.resolution.max()),
        dropout=DROPOUT,
        channels_last=channels_last,
    )


def difference(ours: Ours, params: Any) -> float:
    """Of the logits without dropout: the largest over networks and examples."""
    torch = need("torch")
    batch = ours.data.sample(jax.random.key(5), ours.size.batch)
    logits = np.asarray(jax.jit(ours.apply)(params, batch.images))
    networks = torch_networks(ours, params, channels_last=False).eval()
    images = torch.tensor(np.asarray(batch.images)).permute(0, 1, 4, 2, 3)
    with torch.no_grad():
        theirs = networks(images).numpy()
    return float(np.abs(logits - theirs).max())


def against_torch(
    name: str, size: Size, count: int, goal: float, rounds: int, budget: float
) -> Case:
    """A case; ``count`` iterations a call."""
    need("torch")
    from experiments.benchmarks import torch_ctr

    ours = Ours(size, grown(size), 1.5, divisor(size.tasks, jax.device_count()))
    params = ours.params()
    images, labels = np.asarray(ours.data.images), np.asarray(ours.data.labels)
    peers = {}
    # one thread is ahead where others keep the machine busy
    for threads, layout in product((2, 1), ("first", "last")):
        trainer = torch_ctr.Trainer(
            torch_networks(ours, params, channels_last=layout == "last"),
            images,
            labels,
            batch=size.batch,
            threads=threads,
            learning_rate=LEARNING_RATE,
        )
        label = f"PyTorch eager, channels {layout}, {threads} threads"
        peers[label] = partial(trainer.iterate, count)
    return compare(
        f"{name}: {ours.applications} applications, batch {size.batch}",
        ours.work(count),
        peers,
        amount=(count, count),
        goal=goal,
        max_abs_difference=difference(ours, params),
        rounds=rounds,
        budget=budget,
    )


def idle(size: Size, count: int, rounds: int, budget: float) -> Case:
    """Half of the buffers idle against none."""
    architecture = grown(size)
    devices = divisor(size.tasks, jax.device_count())
    exact, double = (Ours(size, architecture, slack, devices) for slack in (1.0, 2.0))
    return compare(
        "half of the capacity idle",
        double.work(count),
        {"exact capacity": exact.work(count)},
        amount=(count, count),
        goal=0.87,
        rounds=rounds,
        budget=budget,
    )


def seeds(size: Size, members: int, count: int, rounds: int, budget: float) -> Case:
    """Seeds under ``jax.vmap`` against one after the other, on one device."""
    ours = Ours(size, grown(size), slack=1.5)
    single = ours.work(count)

    def in_a_row() -> None:
        for _ in range(members):
            single()

    return compare(
        f"{members} seeds by jax.vmap",
        ours.work(count, members),
        {f"{members} runs in a row": in_a_row},
        amount=(count * members, count * members),
        goal=0.83,
        rounds=rounds,
        budget=budget,
    )


LATE = (23,)
"""Mutations of every champion late in a search: about 1,100 applications."""


def run(tell: Callable[[str], None]) -> tuple[list[Case], list[Case]]:
    """All cases."""
    cases, own = [], []
    usual = Size()
    tell("batch 1")
    cases.append(against_torch("20 tasks", usual, 4, 1.5, rounds=7, budget=20))
    tell("batch 8")
    cases.append(against_torch("20 tasks", Size(batch=8), 2, 1.0, rounds=5, budget=20))
    tell("grown")
    late = Size(mutations=LATE)
    cases.append(against_torch("grown", late, 2, 1.5, rounds=5, budget=20))
    tell("idle capacity")
    own.append(idle(usual, 4, rounds=7, budget=10))
    tell("seeds by jax.vmap")
    own.append(seeds(usual, 4, 2, rounds=5, budget=10))
    return cases, own


BENCHMARK = Benchmark(
    name="ctr",
    work=(
        "One training iteration of CTR: draw a batch for each of 20 tasks; forward and "
        "backward of each task's champion and challenger (28x28 images, 4 shared 3x3 "
        "modules of 48 filters, dropout 0.5, soft merges, max-pools, a 30-way linear "
        "decoder each); one Adam step. float32, 2 CPU threads, ours as 2 devices."
    ),
    run=run,
)
