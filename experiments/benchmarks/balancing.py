"""Whole training steps of three dense tasks, with each method and with torchjd's.

Shape legend: ``T`` tasks.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.gradients import Passes
from evojax_mtl.balancing.registry import find_balancing
from evojax_mtl.compiling import OWN_PRODUCTS, on_cpu
from evojax_mtl.evaluation.dense_training import begin, dense_step
from evojax_mtl.networks.mediative_network import MediativeNetwork
from evojax_mtl.networks.small_backbone import small
from evojax_mtl.networks.task_network import TaskNetwork
from evojax_mtl.tasks.dense_dataset import stack_scenes
from evojax_mtl.tasks.sources import load_tasks
from experiments.benchmarks.harness import Benchmark, Case, compare, need

GOAL = 0.8
"""Ratio of every method; their mean is to be above 1."""

ON_LOSSES = ("equal", "uncertainty", "dwa", "gls", "rlw", "imtl-l", "stch", "famo")
ON_GRADIENTS = (
    "mgda",
    "pcgrad",
    "gradvac",
    "cagrad",
    "imtl-g",
    "nash-mtl",
    "aligned-mtl",
    "fairgrad",
    "upgrad",
    "dualproj",
    "config",
    "excess-mtl",
)


@dataclass(frozen=True)
class Size:
    """What is trained.

    Attributes:
      height: of the scenes (pixels).
      batch: scenes a step.
      width: channels after the stem.
    """

    height: int = 72
    batch: int = 8
    width: int = 16


def peer_methods(tasks: int) -> dict[str, Callable[[], Any]]:
    """torchjd's method of each name."""
    aggregation = need("torchjd.aggregation")
    scalarization = need("torchjd.scalarization")
    torch = need("torch")
    return {
        "equal": scalarization.Sum,
        "uncertainty": lambda: scalarization.UW(tasks),
        "dwa": lambda: scalarization.DWA(2.0),
        "gls": scalarization.GeometricMean,
        "rlw": scalarization.Random,
        "imtl-l": lambda: scalarization.IMTLL(tasks),
        "stch": lambda: scalarization.STCH(mu=1.0, weights=torch.ones(tasks)),
        "famo": lambda: scalarization.FAMO(tasks),
        "mgda": aggregation.MGDA,
        "pcgrad": aggregation.PCGrad,
        "gradvac": aggregation.GradVac,
        "cagrad": lambda: aggregation.CAGrad(c=0.5),
        "imtl-g": aggregation.IMTLG,
        "nash-mtl": lambda: aggregation.NashMTL(n_tasks=tasks),
        "aligned-mtl": aggregation.AlignedMTL,
        "fairgrad": lambda: aggregation.FairGrad(alpha=1.0),
        "upgrad": aggregation.UPGrad,
        "dualproj": aggregation.DualProj,
        "config": aggregation.ConFIG,
        "excess-mtl": lambda: aggregation.ExcessMTL(0.01),
    }


class Ours:
    """The network, a batch, and steps with any method."""

    def __init__(self, size: Size):
        tasks: Any = load_tasks("rooms:20", image_size=size.height)
        data = stack_scenes(tasks)
        self.names = data.names
        self.batch = data.batch_at(0, 0, size.batch)
        shape = self.batch.images.shape[1:]
        self.form = (small(size.width, 2), data.outputs, shape)
        network = MediativeNetwork(*self.form, "none")
        self.network: Any = network
        self.architecture: Any = network.idle()
        self.weights = self.network.init(jax.random.key(0))
        self.transformation = optax.scale_by_adam()

    def single_task(self) -> "Ours":
        """With a network a task."""
        other, network = copy(self), TaskNetwork(*self.form)
        other.network, other.architecture = network, ()
        other.weights = network.init(jax.random.key(0))
        return other

    def mediative(self, active: bool) -> "Ours":
        """With MAMO's network, all of whose kernels are active or idle."""
        other, network = copy(self), MediativeNetwork(*self.form)
        idle = network.idle()
        other.network, other.architecture = network, idle | active
        weights = network.init(jax.random.key(0))
        own = network.begin_fusion(weights.own, idle, other.architecture)
        encoder = network.grow(weights.encoder, other.architecture)
        other.weights = weights.replace(encoder=encoder, own=own)
        return other

    def start(self, name: str, passes: Passes = "vmap") -> tuple[Balancer, Any]:
        """A method, and the system before the first step."""
        method = find_balancing(name).build()
        balancer = Balancer(method, names=self.names, passes=passes)
        system = begin(
            self.network,
            balancer,
            self.transformation,
            jax.tree.map(jnp.copy, self.weights),
            self.batch.images.shape,
            self.architecture,
        )
        return balancer, system

    def program(self, balancer: Balancer) -> Callable[..., Any]:
        """A step, from a system, the batch and a key."""

        def step(system, batch, key):
            found = dense_step(
                self.network,
                balancer,
                self.transformation,
                system,
                batch,
                self.architecture,
                jnp.float32(1e-3),
                key=key,
            )
            return found.system, found.metrics

        return step

    def work(self, name: str, passes: Passes = "vmap") -> Callable[[], Any]:
        """A step a call."""
        balancer, system = self.start(name, passes)
        step = jax.jit(
            self.program(balancer),
            donate_argnums=0,
            compiler_options=on_cpu(OWN_PRODUCTS),
        )
        key, state = jax.random.key(1), [system]

        def once():
            state[0], metrics = step(state[0], self.batch, key)
            return jax.block_until_ready(metrics)

        return once


def peer_work(trainer: Any) -> Callable[[], Any]:
    return trainer.step


def run(tell: Callable[[str], None]) -> tuple[list[Case], list[Case]]:
    """Every method."""
    need("torch").set_num_threads(2)
    need("torchjd")
    from experiments.benchmarks.torch_dense import Trainer

    ours = Ours(Size())
    methods = peer_methods(len(ours.names))
    images = np.asarray(ours.batch.images)
    labels = {name: np.asarray(array) for name, array in ours.batch.labels.items()}
    weights = ours.network.trees(ours.weights)
    trainer = partial(Trainer, weights, images, labels)
    cases = []
    for name in (*ON_LOSSES, *ON_GRADIENTS):
        tell(name)
        peers = {
            "torchjd": trainer(methods[name](), chunk=None, channels_last=False),
            "torchjd, channels last": trainer(
                methods[name](), chunk=None, channels_last=True
            ),
        }
        if name in ON_GRADIENTS:
            peers["torchjd, task by task"] = trainer(
                methods[name](), chunk=1, channels_last=False
            )
        work = ours.work(name)
        found = np.asarray(work()["losses"])
        theirs = [loss.item() for loss in next(iter(peers.values())).forward()[1]]
        cases.append(
            compare(
                name,
                work,
                {label: peer_work(one) for label, one in peers.items()},
                goal=GOAL,
                max_abs_difference=float(np.abs(found - theirs).max()),
                budget=4.0,
            )
        )
    mean = float(np.mean([case.ratio for case in cases]))
    tell(f"mean ratio {mean:.2f}, goal 1.00 {'kept' if mean > 1 else 'MISSED'}")
    return cases, speeds(ours)


def speeds(ours: Ours) -> list[Case]:
    """Over single-task learning, as Tan 2024, Table 5."""
    alone = {"single-task learning": ours.single_task().work("equal")}
    works = {
        "hard parameter sharing": ours.work("equal"),
        "the same, CAGrad": ours.work("cagrad"),
        "MAMO, no kernel": ours.mediative(False).work("mgda"),
        "MAMO, all kernels": ours.mediative(True).work("mgda"),
    }
    return [compare(name, work, alone, budget=4.0) for name, work in works.items()]


BENCHMARK = Benchmark(
    "balancing",
    "a training step of segmentation, depth and normals of 8 rooms of 72 x 96 by one "
    "small residual network, Adam included, each method beside torchjd's; "
    "max_abs_difference is of the first losses; ours against ours: the peer has a "
    "network a task",
    run,
    packages=("jax", "torch", "torchjd", "numpy"),
)
