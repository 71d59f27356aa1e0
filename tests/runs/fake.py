"""A search small enough to test the runner with, and its tasks.

Each task has a weight vector that drifts towards a target at the learning rate, with
noise from the key; its 'accuracy' is how near it is. Capacity may grow.
"""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import PartitionSpec as P

from evojax_mtl import methods
from evojax_mtl.configs import RoutedConfig, option
from evojax_mtl.tasks import sources
from evojax_mtl.tasks.dataset import TEST
from evojax_mtl.tasks.task import Split, Task


@dataclasses.dataclass(frozen=True)
class FakeConfig(RoutedConfig):
    grows: bool = False
    """Whether capacity grows every generation (flag)."""

    work: int = option(1, low=1)
    """Matrix products a tick, to make ticks last (products)."""


@struct.dataclass
class FakeState:
    key: Any
    weights: Any  # (T, capacity)
    empty: Any  # (T, 0)
    loss: Any
    own: Any  # (devices, 2), spread over them
    capacity: int = struct.field(pytree_node=False)


class Fake:
    method = "fake"

    def __init__(self, config, data, mesh=None):
        self.config = config
        self.devices = 1 if mesh is None else mesh.size

    def specs(self, state):
        own = [field == "own" for field in vars(state) if field != "capacity"]
        parts = [P("population") if spread else P() for spread in own]
        return jax.tree.unflatten(jax.tree.structure(state), parts)

    def hyperparameters(self):
        return {"learning_rate": self.config.learning_rate}

    def _init(self, key, data, capacity):
        tasks = data.tasks
        return FakeState(
            key=key,
            weights=jnp.zeros((tasks, capacity)),
            empty=jnp.zeros((tasks, 0)),
            loss=jnp.full(tasks, 1.0),  # weakly typed, as careless code leaves it
            own=jnp.zeros((self.devices, 2)),
            capacity=capacity,
        )

    def init(self, key, hyperparameters, data):
        return self._init(key, data, 4)

    def ticks(self, data):
        return self.config.iterations

    def phases(self, data):
        half = self.config.iterations // 2
        return ("thinking", half), ("dreaming", self.config.iterations)

    def advance(self, state, hyperparameters, data, start, stop):
        def tick(t, state):
            key = jax.random.fold_in(state.key, t)
            noise = jax.random.uniform(key, state.weights.shape) - 0.5
            noise += data.images[:, 0, 0, 0].mean(-1, keepdims=True) / 255
            square = jnp.full((64, 64), 0.01)
            # how much is no constant of the program, which would change the last bits
            work = jnp.where(start < 0, 0, self.config.work)
            busy = jax.lax.fori_loop(0, work, lambda i, x: jnp.tanh(x @ square), square)
            step = hyperparameters["learning_rate"] * (1 - state.weights + noise)
            weights = state.weights + step + 1e-30 * busy.sum()
            own = state.own + jnp.arange(self.devices)[:, None]
            loss = jnp.square(1 - weights).mean(-1)
            return state.replace(weights=weights, loss=loss, own=own)

        state = jax.lax.fori_loop(start, stop, tick, state)
        last = stop == self.ticks(data)
        fresh = jax.random.key_data(jax.random.fold_in(state.key, 1 << 20))
        key = jnp.where(last, fresh, jax.random.key_data(state.key))
        state = state.replace(key=jax.random.wrap_key_data(key))
        score = self._score(state)
        metrics = {"validation": score, "loss": state.loss.mean()}
        return state, metrics | {"evaluations": jnp.int32(len(score)), "nan": jnp.nan}

    def step(self, state, hyperparameters, data):
        return self.advance(state, hyperparameters, data, 0, self.ticks(data))

    def _score(self, state):
        return jnp.exp(-jnp.square(1 - state.weights[:, :4]).mean(-1))

    def grow(self, state):
        if not self.config.grows or state.capacity == 8:
            return state
        weights = np.asarray(state.weights)
        pad = [(0, 0)] * (weights.ndim - 1) + [(0, 4)]
        return state.replace(
            weights=jax.device_put(np.pad(weights, pad)), capacity=state.capacity + 4
        )

    def static(self, state):
        return {"capacity": state.capacity}

    def restore_template(self, static, hyperparameters, data):
        return jax.eval_shape(
            lambda: self._init(jax.random.key(0), data, static["capacity"])
        )

    def final_state(self, state):
        return state

    def test(self, state, hyperparameters, data):
        return self._score(state) * (data.sizes[TEST] > 0)

    def describe(self, state):
        return {
            "parameters": int(np.asarray(state.weights).size),
            "weights": np.asarray(state.weights).tolist(),
            "own": np.asarray(state.own).tolist(),
            "networks": [network(f"task{t}", t) for t in range(len(state.weights))],
        }


def network(name, skip):
    nodes = [{"id": 0, "kind": "input"}, {"id": 1, "kind": "output"}]
    nodes += [
        {"id": 2 + i, "kind": "module", "module": i % 4, "resolution": i}
        for i in range(3 + skip)
    ]
    chain = [0, *range(2, 5 + skip), 1]
    edges = [
        {"source": a, "target": b, "weight": 0.7 if b == 1 else 1.0, "adapters": i % 2}
        for i, (a, b) in enumerate(itertools.pairwise(chain))
    ]
    edges.append({"source": 2, "target": 1, "weight": 0.3, "adapters": 2})
    return {"name": name, "nodes": nodes, "edges": edges}


def fake_tasks(spec, *, data_dir=None, image_size=None, max_tasks=None, **_):
    generator = np.random.default_rng(0)

    def split(count):
        images = generator.integers(0, 256, (count, 4, 4, 1), np.uint8)
        labels = generator.integers(0, 3, count).astype(np.int32)
        return Split(images, labels, np.ones(count, bool))

    names = [f"task{i}" for i in range(max_tasks or 3)]
    return [Task(n, split(8), split(4), split(6), 3) for n in names]


def install():
    """Registers the method ``fake`` and the tasks, in this process."""
    methods.METHODS["fake"] = methods.Method(
        name="fake",
        summary="a stand-in for tests",
        paper="none",
        status="tests only",
        config=FakeConfig,
        factory="tests.runs.fake:Fake",
        mesh_axes=("population",),
    )
    sources.load_tasks = fake_tasks
