"""Training on scenes, generation by generation: what MAMO and its baselines share.

Shape legend: ``T`` tasks, ``B`` scenes.

One generation:

1. training: mini-batches of every task, an epoch of whole ones by default, in a random
   order of its own; each step's update comes of ``balancing``;
2. evaluation: the whole validation split.

A method may look at the tasks' gradients (``inspect``), train by the plain sum of the
losses (``plain``), and change the network at the end of the training (``restructure``).
The last network is the result. Images are in ``[0, 1]``, and not augmented.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.compiling import BRIEF, HASTY, OWN_PRODUCTS
from evojax_mtl.configs import fields_with
from evojax_mtl.dense_configs import DenseConfig
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.dense_metrics import (
    DenseTally,
    add_batch,
    dense_metrics,
    no_dense_tally,
    scores,
)
from evojax_mtl.evaluation.dense_training import (
    DenseSystem,
    begin,
    dense_step,
    features_of,
    predict,
)
from evojax_mtl.evaluation.optimizers import optimizer
from evojax_mtl.networks.backbones import find_backbone
from evojax_mtl.networks.dense_network import Weights
from evojax_mtl.networks.pretrained import with_pretrained
from evojax_mtl.search.dense_state import DenseState, DenseSums
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.tasks.dataset import TEST, TRAIN, VALIDATION
from evojax_mtl.tasks.dense_dataset import DenseBatch, DenseDataset

WORST = {"segmentation": 0.0, "depth": -1000.0, "normals": 0.0}
"""Score of a task whose predictions are not finite."""

_FEW = 10
"""Training steps a generation."""


def at_least_two(names: tuple[str, ...]) -> None:
    """Raises ``UserError`` where there are no two tasks."""
    if len(names) < 2:
        raise UserError(
            f"tasks: found one, {names[0]}; must be at least 2, whose gradients can "
            "conflict"
        )


class DenseSearch:
    """The search protocol on scenes.

    Args:
      config: static choices.
      data: gives shapes, sizes and tasks; the arrays are passed to each call.

    Subclasses set ``method``, ``network``, ``balancer`` and ``initial``, the
    architecture before the first generation.
    """

    method: str
    config: Any
    network: Any
    balancer: Balancer
    initial: Any = ()

    def __init__(self, config: DenseConfig, data: DenseDataset) -> None:
        """Reads the shapes."""
        self.config = config
        self.names = data.names
        self.outputs = data.outputs
        self.tasks = data.tasks
        self.image_shape: tuple[int, ...] = data.images.shape[1:]
        self.backbone = find_backbone(config.backbone, config.width, config.depth)
        size = data.split_sizes[TRAIN]
        self.batch = min(config.batch, size)
        self.epoch = size // self.batch
        self.trained = config.batches or self.epoch
        # where there is little to run, compiling is what takes long
        self.compiler = BRIEF | OWN_PRODUCTS
        if self.trained <= _FEW:
            self.compiler |= HASTY
        self.transformation = optimizer("adam")

    # What methods differ in.

    def plain(self, state: DenseState) -> Bool[Array, ""] | bool:
        """Whether this generation trains by the plain sum of the losses."""
        return False

    def inspect(self, gradients: Any) -> Any:
        """What a method wants to know of the tasks' gradients; None for nothing."""
        return None

    looks = False
    """Whether ``inspect`` is wanted."""

    def note(self, sums: DenseSums, seen: Any) -> DenseSums:
        """The sums with what ``inspect`` has seen."""
        return sums

    def restructure(self, key: Array, state: DenseState) -> DenseState:
        """The state at the end of a generation's training."""
        return state

    def filled(self, weights: Weights) -> Weights:
        """The weights with what begins as a copy of the backbone's."""
        return weights

    def told(self, state: DenseState) -> Metrics:
        """A method's own metrics."""
        return {}

    def shown(self, architecture: Any) -> Any:
        """An architecture as the network reads it."""
        return architecture

    def evaluated(self, architecture: Any) -> Any:
        """An architecture as the network reads it where it is evaluated."""
        return self.shown(architecture)

    def completed(self, state: DenseState) -> Array:
        """Generations that the current weights have trained."""
        return state.generation

    # The search protocol.

    def hyperparameters(self) -> Hyperparameters:
        """Traced rates of the config."""
        names = fields_with(type(self.config), "traced")
        return {name: getattr(self.config, name) for name in names}

    def init(
        self, key: Array, hyperparameters: Hyperparameters, data: DenseDataset
    ) -> DenseState:
        """Random weights, but for those of the backbone that a file has."""
        key, weight_key = jax.random.split(key)
        return DenseState(
            key=key,
            generation=jnp.zeros((), jnp.int32),
            system=self.begin(weight_key, self.initial),
            architecture=self.initial,
            sums=self.no_sums(data),
        )

    def begin(self, key: Array, architecture: Any) -> DenseSystem:
        """The system before the first step of an architecture."""
        weights = self.network.init(key)
        if self.config.pretrained:
            path = Path(self.config.pretrained)
            weights = with_pretrained(self.backbone, self.network.stages, weights, path)
            weights = self.filled(weights)
        return begin(
            self.network,
            self.balancer,
            self.transformation,
            weights,
            (self.batch, *self.image_shape),
            self.shown(architecture),
        )

    def no_sums(self, data: DenseDataset) -> DenseSums:
        """Of nothing."""
        zeros = jnp.zeros((self.tasks,), jnp.float32)
        none = jnp.zeros((), jnp.int32)
        return DenseSums(zeros, zeros, none, none, none, None, no_dense_tally(data))

    def ticks(self, data: DenseDataset) -> int:
        """Of all phases together."""
        return self.phases(data)[-1][1]

    def phases(self, data: DenseDataset) -> tuple[tuple[str, int], ...]:
        """See ``Search.phases``."""
        measured = data.batches(VALIDATION, self.config.evaluation_batch)
        return ("training", self.trained), ("evaluation", self.trained + measured)

    def advance(
        self,
        state: DenseState,
        hyperparameters: Hyperparameters,
        data: DenseDataset,
        start: Array | int,
        stop: Array | int,
    ) -> tuple[DenseState, Metrics]:
        """See ``Search.advance``; under ``jax.vmap`` one search after the other."""
        arguments = (hyperparameters, data, jnp.asarray(start), jnp.asarray(stop))
        return sequential_vmap(self._advance)(state, *arguments)

    def _advance(self, state, hyperparameters, data, start, stop):
        key = jax.random.fold_in(state.key, state.generation)
        first = jnp.equal(start, 0)
        fresh = self.no_sums(data)
        sums = jax.tree.map(lambda a, b: jnp.where(first, a, b), fresh, state.sums)
        state = state.replace(sums=sums)
        train = partial(self._train, key, data, hyperparameters)
        last = jnp.minimum(stop, self.trained)
        state = jax.lax.fori_loop(start, last, train, state)
        ends = (start < self.trained) & (stop >= self.trained)
        grow = partial(self.restructure, jax.random.fold_in(key, self.trained))
        state = jax.lax.cond(ends, grow, lambda state: state, state)
        measured = self._measure(
            state,
            data,
            VALIDATION,
            state.sums.measured,
            jnp.maximum(start - self.trained, 0),
            stop - self.trained,
        )
        state = state.replace(sums=state.sums.replace(measured=measured))
        metrics = self._metrics(state, jnp.clip(stop, 1, self.trained))
        done = jnp.equal(stop, self.ticks(data))
        return state.replace(generation=state.generation + done), metrics

    def step(
        self, state: DenseState, hyperparameters: Hyperparameters, data: DenseDataset
    ) -> tuple[DenseState, Metrics]:
        """One whole generation."""
        return self.advance(state, hyperparameters, data, 0, self.ticks(data))

    def grow(self, state: DenseState) -> DenseState:
        """The same: kernels are allocated from the start."""
        return state

    def static(self, state: DenseState) -> dict[str, Any]:
        """No size changes."""
        return {}

    def restore_template(
        self,
        static: dict[str, Any],
        hyperparameters: Hyperparameters,
        data: DenseDataset,
    ) -> DenseState:
        """The abstract initial state."""
        key = jax.random.key(0)
        return jax.eval_shape(lambda: self.init(key, hyperparameters, data))

    def final_state(self, state: DenseState) -> DenseState:
        """The last state."""
        return state

    def test(
        self, state: DenseState, hyperparameters: Hyperparameters, data: DenseDataset
    ) -> Float[Array, "T"]:
        """Score of each task on the test split."""
        return self.measure(state, hyperparameters, data)["score"]

    def measure(
        self, state: DenseState, hyperparameters: Hyperparameters, data: DenseDataset
    ) -> Metrics:
        """``score`` of each task on the test split, ``(T,)``, and all its metrics."""
        return sequential_vmap(self._test)(state, data)

    def _test(self, state, data):
        count = data.batches(TEST, self.config.evaluation_batch)
        tally = self._measure(state, data, TEST, no_dense_tally(data), 0, count)
        return {"score": self._scores(tally)} | dense_metrics(tally)

    def describe(self, state: DenseState) -> dict[str, Any]:
        """See ``Search.describe``."""
        sizes = {
            name: optax.tree.size(tree) for name, tree in self.sizes(state).items()
        }
        return {"parameters": sum(sizes.values()), "parameters_of": sizes}

    def sizes(self, state: DenseState) -> dict[str, Any]:
        """The weights of the result, by what they are for."""
        return {"encoder": state.params["encoder"], "heads": state.params["own"]}

    # The parts.

    def _train(
        self,
        key: Array,
        data: DenseDataset,
        hyperparameters: Hyperparameters,
        tick: Array,
        state: DenseState,
    ) -> DenseState:
        """One mini-batch."""
        order_key, step_key = jax.random.split(key)
        batch = self._batch(order_key, data, tick)
        steps = self.completed(state) * self.trained + tick
        halvings = steps // hyperparameters["halve_every"]
        rate = hyperparameters["learning_rate"] * 0.5 ** halvings.astype(jnp.float32)
        taken = self.train_step(state, batch, rate, jax.random.fold_in(step_key, tick))
        system, metrics, seen = taken
        sums, weights = state.sums, metrics.get("weights", 0.0)
        sums = sums.replace(
            losses=sums.losses + metrics["losses"],
            weights=sums.weights
            + (weights if jnp.ndim(weights) < 2 else weights.mean(0)),
            skipped=sums.skipped + metrics["skipped"],
            left_out=sums.left_out + metrics["left_out"],
            conflicting=sums.conflicting + metrics.get("conflicts", 0),
        )
        return state.replace(system=system, sums=self.note(sums, seen))

    def train_step(
        self, state: DenseState, batch: DenseBatch, rate: Array, key: Array
    ) -> Any:
        """``dense_step`` of the network."""
        return dense_step(
            self.network,
            self.balancer,
            self.transformation,
            state.system,
            batch,
            self.shown(state.architecture),
            rate,
            key=key,
            plain=self.plain(state),
            inspect=self.inspect if self.looks else None,
        )

    def _batch(
        self, key: Array, data: DenseDataset, tick: Array, split: int = TRAIN
    ) -> DenseBatch:
        """Mini-batch of a generation; its epochs have random orders of their own."""
        epoch = max(1, data.split_sizes[split] // self.batch)
        key = jax.random.fold_in(key, tick // epoch)
        members = data.members[split]
        draws = jax.random.uniform(key, members.shape)
        draws = jnp.where(jnp.arange(len(members)) < data.sizes[split], draws, 2.0)
        mixed = data.replace(
            members=data.members.at[split].set(members[jnp.argsort(draws)])
        )
        return mixed.batch_at(split, tick % epoch, self.batch)

    def _measure(
        self,
        state: DenseState,
        data: DenseDataset,
        split: int,
        tally: DenseTally,
        start: Array | int,
        stop: Array | int,
    ) -> DenseTally:
        """The tally with batches ``start`` to ``stop`` of a split."""

        system = state.system
        features = features_of(self.balancer, system.balancing)

        def add(index, tally):
            batch = data.batch_at(split, index, self.config.evaluation_batch)
            predictions = predict(
                self.network,
                system.weights,
                batch,
                self.evaluated(state.architecture),
                features,
            )
            return add_batch(tally, predictions, batch)

        return jax.lax.fori_loop(start, stop, add, tally)

    def _scores(self, tally: DenseTally) -> Float[Array, "T"]:
        worst = jnp.asarray([WORST[name] for name in self.names])
        found = scores(tally)
        return jnp.where(jnp.isfinite(found), found, worst)

    def _metrics(self, state: DenseState, trained: Array) -> Metrics:
        sums = state.sums
        found = dense_metrics(sums.measured)
        return {
            "validation": self._scores(sums.measured),
            "losses": sums.losses / trained,
            "loss": jnp.mean(sums.losses) / trained,
            "task_weights": sums.weights / trained,
            "conflicting_pairs": sums.conflicting / trained,
            "skipped_steps": sums.skipped,
            "left_out": sums.left_out,
            "nonfinite": sum(~good for good in sums.measured.finite.values()),
            "evaluations": 1,
            **self.told(state),
            **found,
        }
