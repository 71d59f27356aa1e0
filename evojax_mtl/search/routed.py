"""What single-task, soft ordering and CTR share: training and scoring of networks.

Shape legend: ``T`` tasks, ``I`` individuals a task, ``P = T * I`` networks (network
``t * I + i`` is individual ``i`` of task ``t``; 0 is the champion), ``N`` nodes, ``E``
edges, ``B`` examples a task and iteration, ``R`` resolutions.

A generation is ``iterations`` training iterations, each one forward and backward pass
of all networks on ``B`` examples a task with the losses summed, then one pass over the
validation split, then selection. If the mean validation metric of the champions is the
best so far, the whole system is kept; the test uses the last system kept.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.schedule import Schedule, depths, rows_bound, schedule
from evojax_mtl.architectures.table import Architecture
from evojax_mtl.configs import RoutedConfig
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.balanced_training import (
    balanced_iteration,
    begin_balance,
    is_shared,
    task_gradients,
    task_losses,
)
from evojax_mtl.evaluation.optimizers import optimizer
from evojax_mtl.evaluation.training import (
    Tally,
    loss_and_gradients,
    no_tally,
    score_batch,
    train_iteration,
)
from evojax_mtl.networks.operations import ConvolutionModule
from evojax_mtl.networks.supernet import RoutedNetworks, Supernet
from evojax_mtl.search.balancing import search_balancer
from evojax_mtl.search.description import describe, merge_scales
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.search.routed_state import RoutedState, Snapshot
from evojax_mtl.tasks.dataset import TEST, VALIDATION, Dataset

WORST = -1.0
"""Fitness of a network whose outputs are not finite, below any accuracy."""


class RoutedSearch:
    """Base of the methods; a subclass says what it evolves and how.

    Args:
      config: static choices.
      data: gives the shapes; the arrays are passed to each call.
      mesh: devices that the tasks are spread over, an axis ``tasks`` that divides
        their number; None for one device.
    """

    method: str
    individuals: int = 1
    config: Any

    def __init__(
        self, config: RoutedConfig, data: Dataset, mesh: Mesh | None = None
    ) -> None:
        """Reads the shapes; raises ``UserError`` where they do not fit."""
        self.config = config
        self.mesh = mesh
        self.shards = mesh.shape["tasks"] if mesh else 1
        self.tasks = data.tasks
        self.names = data.names
        self.classes = tuple(int(c) for c in np.asarray(data.classes))
        self.size: tuple[int, int] = tuple(data.images.shape[2:4])  # type: ignore
        self.image_channels = data.images.shape[4]
        self.networks = self.tasks * self.individuals
        self.task = np.repeat(np.arange(self.tasks), self.individuals)
        self.balancer = search_balancer(
            getattr(config, "balancing", None), self.names, is_shared
        )
        self.parts = self.tasks if self.balancer else self.shards
        """Work lists: one a device, or one a task where tasks are balanced."""
        self.inputs = self.task[: self.networks // self.parts]
        self.transformation = optimizer(config.optimizer)
        self._check()

    def _check(self) -> None:
        if min(self.size) < 4:
            raise UserError(f"images: found {self.size} pixels, must be at least 4 x 4")
        if self.config.filters < self.image_channels:
            raise UserError(
                f"--filters: found {self.config.filters}, must be at least the "
                f"{self.image_channels} channels of the images"
            )

    # What a method defines.

    def initial_genome(self) -> Any:
        """Genomes of all individuals, NumPy, ``(T, I, ...)``."""
        raise TypeError(f"{type(self).__name__} defines no genome")

    def architecture(self, genome: Any) -> Architecture:
        """The architectures of a genome, stacked ``(P, ...)``."""
        raise TypeError(f"{type(self).__name__} defines no architecture")

    def slots(self) -> int:
        """Weight slots of the supernet."""
        return self.config.modules

    def merge_shape(self, genome: Any) -> tuple[int, ...]:
        """Shape of the learned merge scales."""
        raise TypeError(f"{type(self).__name__} defines no merges")

    def edge_logits(self, merge: Array) -> Float[Array, "P E"]:
        """The scale of each edge from the learned ones."""
        return merge

    def merge_scales(self, networks: list[dict[str, Any]]) -> int:
        """Learned merge scales that the described networks use."""
        return merge_scales(networks)

    def additions(self) -> int:
        """Rows that a generation can add to a resolution, at most."""
        return 0

    def propose(
        self, key: Array, state: RoutedState, hyperparameters: Hyperparameters
    ) -> RoutedState:
        """The state with this generation's challengers; nothing by default."""
        return state

    def replace(
        self, state: RoutedState, fitness: Float[Array, "T I"]
    ) -> tuple[RoutedState, Metrics]:
        """The state after selection; nothing by default."""
        return state, {}

    def keep(
        self, best: Snapshot, state: RoutedState, fitness: Float[Array, "T"]
    ) -> Snapshot:
        """The better of the system kept and the present one, whole."""
        new = Snapshot(state.params, state.genome, fitness)
        better = jnp.mean(fitness) > jnp.mean(best.fitness)
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, best)

    # The search protocol.

    def hyperparameters(self) -> Hyperparameters:
        """Traced rates: ``learning_rate``, ``dropout``, and the method's own."""
        return {
            "learning_rate": self.config.learning_rate,
            "dropout": self.config.dropout,
        }

    def init(
        self, key: Array, hyperparameters: Hyperparameters, data: Dataset
    ) -> RoutedState:
        """Random weights, the initial genomes."""
        genome = self.initial_genome()
        return self._initial(key, genome, self.initial_capacities(genome))

    def _initial(
        self, key: Array, genome: Any, capacities: tuple[int, ...]
    ) -> RoutedState:
        key, init_key = jax.random.split(key)
        genome = jax.tree.map(jnp.asarray, genome)
        images = jnp.zeros((self.tasks, 1, *self.size, self.image_channels))
        architecture = self.architecture(genome)
        inputs = jnp.asarray(self.task)
        # only shapes matter here: the weights are drawn, the outputs never computed
        lists = schedule(architecture, inputs, capacities, input_count=self.tasks)
        params = self._networks(genome, 1).init(
            init_key,
            images,
            architecture,
            lists,
            train=False,
            key=key,
            rate=0.0,
        )["params"]
        return RoutedState(
            key=key,
            generation=jnp.zeros((), jnp.int32),
            params=params,
            optimizer=self.transformation.init(params),
            genome=genome,
            tally=no_tally(self.networks),
            best=Snapshot(params, genome, jnp.full((self.tasks,), WORST, jnp.float32)),
            room=jnp.asarray(capacities, jnp.int32) - self.additions(),
            capacities=capacities,
            balance=begin_balance(self.balancer, params),
        )

    def ticks(self, data: Dataset) -> int:
        """Training iterations, then validation batches."""
        return self.phases(data)[-1][1]

    def phases(self, data: Dataset) -> tuple[tuple[str, int], ...]:
        """See ``Search.phases``."""
        trained = self.config.iterations
        batches = data.batches(VALIDATION, self.config.evaluation_batch)
        return ("training", trained), ("evaluation", trained + batches)

    def advance(
        self,
        state: RoutedState,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Array | int,
        stop: Array | int,
    ) -> tuple[RoutedState, Metrics]:
        """See ``Search.advance``."""
        first, iterations = jnp.equal(start, 0), self.config.iterations
        key = jax.random.fold_in(state.key, state.generation)

        def begin(state):
            proposed = self.propose(key, state, hyperparameters)
            balance = proposed.balance and proposed.balance.cleared()
            return proposed.replace(tally=no_tally(self.networks), balance=balance)

        state = jax.lax.cond(first, begin, lambda state: state, state)
        architecture = self.architecture(state.genome)
        depth = depths(architecture)
        lists = self.schedule(architecture, state.capacities, depth=depth)
        model = self.model(state.genome)

        iteration = self._iteration(model, architecture, lists, hyperparameters, data)

        def train(tick, carry):
            batch_key, step_key = jax.random.split(jax.random.fold_in(key, tick + 1))
            batch = data.sample(batch_key, self.config.batch)
            return iteration(carry, batch, data, step_key)

        carry = (state.params, state.optimizer, state.tally)
        if self.balancer:
            carry = (*carry, state.balance)
        params, optimizer_state, tally, *balance = jax.lax.fori_loop(
            start, jnp.minimum(stop, iterations), train, carry
        )
        if balance:
            state = state.replace(balance=balance[0])
        everyone = np.ones(self.networks, bool)
        tally = self._score(
            params, state, depth, data, VALIDATION, tally, start, stop, everyone
        )
        state = state.replace(params=params, optimizer=optimizer_state, tally=tally)
        last = jnp.equal(stop, self.ticks(data))
        state, chosen = jax.lax.cond(last, self._select, self._wait, state)
        trained = jnp.clip(stop, 1, iterations)
        metrics = {
            "loss": tally.loss / trained / self.networks,
            "skipped_steps": tally.skipped,
            "nonfinite": jnp.sum(~tally.finite),
            "applications": jnp.sum(lists.applications),
            "evaluations": self.networks,
        }
        if state.balance is not None:
            metrics |= state.balance.metrics(trained)
        return state, metrics | chosen

    def _iteration(
        self,
        model: RoutedNetworks,
        architecture: Architecture,
        lists: Schedule,
        hyperparameters: Hyperparameters,
        data: Dataset,
    ) -> Any:
        """A training iteration, of what changes, a batch, the data and a key."""
        tables = {"architecture": architecture, "lists": lists}
        rest = (self.transformation, hyperparameters)
        if self.balancer is None:
            gradients = loss_and_gradients(model, self.inputs, self.mesh)
            return partial(train_iteration, partial(gradients, **tables), *rest)
        gradients = task_gradients(model, self.inputs, self.mesh)
        losses = task_losses(model, self.inputs, self.mesh)
        return partial(
            balanced_iteration,
            partial(gradients, **tables),
            partial(losses, **tables),
            self.balancer,
            *rest,
        )

    def step(
        self, state: RoutedState, hyperparameters: Hyperparameters, data: Dataset
    ) -> tuple[RoutedState, Metrics]:
        """One whole generation."""
        return self.advance(state, hyperparameters, data, 0, self.ticks(data))

    def final_state(self, state: RoutedState) -> RoutedState:
        """The last system kept (the present one before any was)."""
        kept = jnp.mean(state.best.fitness) > WORST

        def pick(a, b):
            return jnp.where(kept, a, b)

        present = (state.params, state.genome)
        params, genome = jax.tree.map(
            pick, (state.best.params, state.best.genome), present
        )
        return state.replace(params=params, genome=genome)

    def test(
        self, state: RoutedState, hyperparameters: Hyperparameters, data: Dataset
    ) -> Float[Array, "T"]:
        """Accuracy of the result's champions on the test split."""
        state = self.final_state(state)
        begin = self.config.iterations
        tally = self._score(
            state.params,
            state,
            depths(self.architecture(state.genome)),
            data,
            TEST,
            no_tally(self.networks),
            begin,
            begin + data.batches(TEST, self.config.evaluation_batch),
            np.arange(self.networks) % self.individuals == 0,
        )
        return jnp.maximum(self._fitness(tally)[:, 0], 0)

    def static(self, state: RoutedState) -> dict[str, Any]:
        """Rows per resolution."""
        return {"capacities": list(state.capacities)}

    def restore_template(
        self, static: dict[str, Any], hyperparameters: Hyperparameters, data: Dataset
    ) -> RoutedState:
        """An abstract state of these capacities."""
        genome = self.sized_genome(static)
        return jax.eval_shape(
            lambda: self._initial(
                jax.random.key(0), genome, tuple(static["capacities"])
            )
        )

    def sized_genome(self, static: dict[str, Any]) -> Any:
        """The initial genome with the room that ``static`` tells."""
        return self.initial_genome()

    def grow(self, state: RoutedState) -> RoutedState:
        """All capacities by half, until the next generation surely fits."""
        room = np.asarray(state.room).reshape(-1, len(state.capacities)).max(0)
        room = room + self.additions()
        capacities = np.array(state.capacities)
        while (room > capacities).any():
            capacities += -(-capacities // 2)
        if tuple(capacities) == state.capacities:
            return state
        return state.replace(capacities=tuple(int(c) for c in capacities))

    def describe(self, state: RoutedState) -> dict[str, Any]:
        """See ``Search.describe``."""
        return describe(self, state)

    # The parts.

    def model(self, genome: Any) -> RoutedNetworks:
        """The networks of one list; only the genome's static shapes matter."""
        return self._networks(genome, self.parts)

    def _networks(self, genome: Any, parts: int) -> RoutedNetworks:
        operations = (ConvolutionModule(self.config.kernel),)
        leading, *rest = self.merge_shape(genome)
        return RoutedNetworks(
            supernet=Supernet(operations, self.slots(), self.config.filters),
            networks=self.networks // parts,
            classes=max(self.classes),
            merge_shape=(leading // parts, *rest),
            edge_logits=self.edge_logits,
        )

    def schedule(
        self,
        architecture: Architecture,
        capacities: tuple[int, ...],
        *,
        enabled: Bool[Array, "P"] | None = None,
        depth: Int[Array, "P N"] | None = None,
    ) -> Schedule:
        """Work lists of the networks that are enabled.

        Where there are several, every leaf has a leading axis.
        """

        def lists(architecture, enabled, depth):
            return schedule(
                architecture,
                jnp.asarray(self.inputs),
                capacities,
                input_count=self.tasks // self.parts,
                enabled=enabled,
                depth=depth,
            )

        if self.parts == 1:
            return lists(architecture, enabled, depth)
        if enabled is None:
            enabled = jnp.ones((self.networks,), bool)
        if depth is None:
            depth = depths(architecture)
        split = jax.tree.map(
            lambda x: jnp.reshape(x, (self.parts, -1, *x.shape[1:])),
            (architecture, enabled, depth),
        )
        spread = jax.vmap(lists)(*split)
        # dropout is told by the number among all networks, however they are spread
        first = jnp.arange(self.parts) * len(self.inputs)
        identity = spread.identity.at[..., 0].add(first[:, None])
        return spread.replace(identity=identity)

    def initial_capacities(self, genome: Any) -> tuple[int, ...]:
        """Rows per resolution of a list for the initial genomes, exactly enough."""
        architecture = self.architecture(genome)
        resolutions = int(np.max(architecture.resolution)) + 1
        rows = []
        for p in range(self.networks):
            one = jax.tree.map(lambda leaf, p=p: leaf[p], architecture)
            rows.append(rows_bound(one, resolutions))
        return tuple(int(r) for r in self.fullest(np.stack(rows)))

    def fullest(self, rows: Any) -> Any:
        """Rows per resolution, ``(R,)``, of the fullest list.

        Args:
          rows: what each network needs, or each task's networks, ``(P or T, R)``.
        """
        return rows.reshape(self.parts, -1, rows.shape[-1]).sum(1).max(0)

    def _score(
        self,
        params: Any,
        state: RoutedState,
        depth: Int[Array, "P N"],
        data: Dataset,
        split: int,
        tally: Tally,
        start: Array | int,
        stop: Array | int,
        counted: np.ndarray,
    ) -> Tally:
        """``tally`` plus the batches of ``split`` among ticks ``start`` to ``stop``."""
        size, iterations = self.config.evaluation_batch, self.config.iterations
        architecture, model = self.architecture(state.genome), self.model(state.genome)

        def score(tick, tally):
            index = tick - iterations
            batch = data.batch_at(split, index, size)
            enabled = (data.sizes[split][self.task] > index * size) & counted
            lists = self.schedule(
                architecture, state.capacities, enabled=enabled, depth=depth
            )
            return score_batch(
                model,
                self.inputs,
                params,
                architecture,
                lists,
                batch,
                data,
                tally,
                self.mesh,
                separate=self.balancer is not None,
            )

        begin = jnp.maximum(start, iterations)
        return jax.lax.fori_loop(begin, jnp.maximum(stop, begin), score, tally)

    def _fitness(self, tally: Tally) -> Float[Array, "T I"]:
        accuracy = tally.right / jnp.maximum(tally.seen, 1)
        fitness = jnp.where(tally.finite, accuracy, WORST)
        return fitness.reshape(self.tasks, self.individuals)

    def _select(self, state: RoutedState) -> tuple[RoutedState, Metrics]:
        fitness = self._fitness(state.tally)
        state, chosen = self.replace(state, fitness)
        champion = chosen.pop("champion", fitness[:, 0])
        best = self.keep(state.best, state, champion)
        state = state.replace(best=best, generation=state.generation + 1)
        return state, self._outcome(champion, best.fitness, chosen)

    def _wait(self, state: RoutedState) -> tuple[RoutedState, Metrics]:
        """The shape of ``_select`` before the generation's end."""
        shapes = jax.eval_shape(self._select, state)[1]
        return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def _outcome(self, champion: Array, kept: Array, chosen: Metrics) -> Metrics:
        champion = jnp.maximum(champion, 0)
        return {
            "validation": champion,
            "mean_validation": jnp.mean(champion),
            "kept": jnp.maximum(kept, 0),
            **chosen,
        }
