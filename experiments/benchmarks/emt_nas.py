"""Training and evaluation steps of EMT-NAS against its network in eager PyTorch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from evojax_mtl.architectures.wiring import ROWS, Wiring
from evojax_mtl.compiling import on_cpu
from evojax_mtl.evaluation import cell_training
from evojax_mtl.evaluation.cell_batches import Minibatch
from evojax_mtl.evaluation.cell_training import Rates, System
from evojax_mtl.genomes import cells
from evojax_mtl.networks.cell_supernet import CellSupernet, run_network, select
from evojax_mtl.runs.devices import divisor, make_mesh
from evojax_mtl.tasks.dataset import Targets
from experiments.benchmarks.harness import Benchmark, Case, compare, need

CHANNELS, CLASSES, BATCH, SIDE = 20, 10, 128, 32
GENOMES = 3
LEARNING_RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4


class Ours:
    """The supernet, some genomes, and a batch on all devices."""

    def __init__(self, seed: int = 0) -> None:
        keys = jax.random.split(jax.random.key(seed), 4)
        self.genomes = cells.random_cells(keys[0], (GENOMES,))
        self.network = CellSupernet(CHANNELS, CLASSES)
        one = jnp.zeros((1, SIDE, SIDE, 3))
        start = partial(cell_training.initial_system, supernets=1, tasks=1)
        self.system: System = jax.jit(start, static_argnums=1)(
            keys[1], self.network, one
        )
        self.batch = Minibatch(
            images=jax.random.normal(keys[2], (BATCH, SIDE, SIDE, 3)),
            labels=jax.random.randint(keys[3], (BATCH,), 0, CLASSES),
            mask=jnp.ones(BATCH, bool),
            targets=Targets(jnp.full((BATCH,), CLASSES), jnp.zeros((BATCH,), bool)),
        )
        self.mesh = make_mesh({"data": divisor(BATCH, jax.device_count())})

    def wirings(self, k: int) -> list[Wiring]:
        """Of genome ``k``."""
        return cell_training.wirings(self.genomes[k], self.network.repeats)

    def weights(self, k: int) -> Any:
        """What genome ``k`` uses of the supernet."""
        one = jax.tree.map(lambda x: x[0], self.system.params)
        return select(one["supernets"], self.wirings(k)) | {"decoder": one["decoder"]}

    def logits(self, k: int) -> Any:
        """By the batch's statistics, nothing dropped."""
        one = jax.tree.map(lambda x: x[0], self.system.statistics)
        moments = select(one["supernets"], self.wirings(k))
        run = jax.jit(partial(run_network, running=False))
        return run(self.weights(k), moments, self.wirings(k), self.batch.images)[0]

    def _placed(self, tree: Any) -> Any:
        if self.mesh is None:
            return tree
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def training(self) -> Callable[[], None]:
        """A step on every genome, one after the other."""
        rates = Rates(*map(jnp.float32, (LEARNING_RATE, MOMENTUM, DECAY, 0.0, 0.0)))
        task, key = jnp.int32(0), jax.random.key(1)

        def steps(system, genomes, batch):
            def step(i, system):
                return cell_training.train_batch(
                    system,
                    genomes[i],
                    task,
                    task,
                    batch,
                    key,
                    rates,
                    repeats=self.network.repeats,
                    mesh=self.mesh,
                )[0]

            return jax.lax.fori_loop(0, GENOMES, step, system)

        fixed = self._placed((self.genomes, self.batch))
        where = NamedSharding(self.mesh, PartitionSpec()) if self.mesh else None
        jitted = jax.jit(
            steps, donate_argnums=0, out_shardings=where, compiler_options=on_cpu()
        )
        state = [self._placed(jax.tree.map(jnp.copy, self.system))]

        def work() -> None:
            state.append(jax.block_until_ready(jitted(state.pop(), *fixed)))

        return work

    def evaluation(self) -> Callable[[], None]:
        """Every genome on the batch, by running statistics."""
        task = jnp.zeros(1, jnp.int32)

        def passes(system, genomes, batches):
            def score(i, right):
                found = cell_training.score(
                    system,
                    genomes[i][None],
                    task,
                    task,
                    batches,
                    running=True,
                    repeats=self.network.repeats,
                    mesh=self.mesh,
                )
                return right + found[0][0]

            return jax.lax.fori_loop(0, GENOMES, score, jnp.int32(0))

        batches = jax.tree.map(lambda x: x[None], self.batch)
        arguments = self._placed((self.system, self.genomes, batches))
        jitted = jax.jit(passes, compiler_options=on_cpu())
        return lambda: jax.block_until_ready(jitted(*arguments))


def nodes(wiring: Wiring) -> np.ndarray:
    """Nodes that each edge reads, from the rows of the stack."""
    source = np.asarray(wiring.source)
    cell = np.arange(len(source))[:, None]
    previous = ROWS * cell + 1
    before = np.maximum(previous - ROWS, 0)
    inner = source - ROWS * cell
    return np.where(source == previous, 0, np.where(source == before, 1, inner))


class Theirs:
    """The same networks in PyTorch, a module for each genome."""

    def __init__(self, ours: Ours, channels_last: bool) -> None:
        torch = need("torch")
        from experiments.benchmarks.torch_emt_nas import Network

        torch.set_num_threads(2)
        self.torch = torch
        layout = torch.channels_last if channels_last else torch.contiguous_format
        images = np.asarray(ours.batch.images).transpose(0, 3, 1, 2)
        self.images = torch.tensor(images).contiguous(memory_format=layout)
        self.labels = torch.tensor(np.asarray(ours.batch.labels), dtype=torch.long)
        self.networks, self.optimizers = [], []
        for k in range(GENOMES):
            wirings = ours.wirings(k)
            network = Network(wirings, [nodes(w) for w in wirings], ours.weights(k))
            network = network.to(memory_format=layout)
            self.networks.append(network)
            self.optimizers.append(
                torch.optim.SGD(
                    network.parameters(),
                    LEARNING_RATE,
                    MOMENTUM,
                    weight_decay=DECAY,
                    nesterov=True,
                )
            )

    def logits(self, k: int) -> np.ndarray:
        """By the batch's statistics."""
        with self.torch.no_grad():
            return self.networks[k].train()(self.images).numpy()

    def train(self) -> None:
        """A step on every genome."""
        loss = self.torch.nn.functional.cross_entropy
        for network, optimizer in zip(self.networks, self.optimizers, strict=True):
            network.train()
            optimizer.zero_grad()
            loss(network(self.images), self.labels).backward()
            optimizer.step()

    def evaluate(self) -> None:
        """Every genome on the batch."""
        with self.torch.no_grad():
            for network in self.networks:
                right = network.eval()(self.images).argmax(1) == self.labels
                right.sum().item()


def run(tell: Callable[[str], None]) -> tuple[list[Case], list[Case]]:
    """Against the authors' layout; channels last beside it."""
    need("torch")
    ours = Ours()
    first, last = (Theirs(ours, channels_last) for channels_last in (False, True))
    gap = max(
        float(np.abs(np.asarray(ours.logits(k)) - first.logits(k)).max())
        for k in range(GENOMES)
    )
    works = {
        "training step": (ours.training(), "train", 1.2),
        "evaluation step": (ours.evaluation(), "evaluate", 1.5),
    }
    cases, aside = [], []
    for name, (work, method, goal) in works.items():
        tell(name)
        amount = (GENOMES, GENOMES)
        settings: dict[str, Any] = {"amount": amount, "rounds": 5, "budget": 5}
        peer = {"PyTorch eager, NCHW, 2 threads": getattr(first, method)}
        cases.append(
            compare(name, work, peer, goal=goal, max_abs_difference=gap, **settings)
        )
        peer = {"PyTorch eager, channels last, 2 threads": getattr(last, method)}
        aside.append(compare(f"{name}, other layout", work, peer, **settings))
    return cases, aside


BENCHMARK = Benchmark(
    name="emt-nas",
    work=(
        f"One step on each of {GENOMES} random architectures of EMT-NAS's search "
        f"network (five cells, {CHANNELS} channels) over its supernet: a batch of "
        f"{BATCH} {SIDE}x{SIDE} colour images, float32; training with SGD, Nesterov "
        "momentum and weight decay, or evaluation by running statistics. 2 CPU "
        "threads, ours as 2 devices that share the batch. The peers build each "
        "architecture's modules beforehand."
    ),
    run=run,
)
