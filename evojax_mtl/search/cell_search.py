"""What searches of cells in supernets share: training, evaluation, what is kept.

Shape legend: ``T`` tasks, ``S`` supernets and ``G`` populations (``T``, or 1 where
tasks share), ``N`` individuals of a population, ``C`` candidates of a generation
(``N``, and ``first`` more), ``B`` images.

One generation:

1. ``propose``: the candidates of each population, of which the first ``N`` are measured
   and all are trained. In generation 0 all ``C`` are measured, the random parents
   among them, and are all that is trained;
2. sampled training (Liao 2023, 3.3): each mini-batch of each task trains one individual
   of the task, drawn evenly from parents and candidates, in the task's supernet;
   ``batches`` of them, one epoch by default. The tasks take turns; with ``balancing``
   a tick is one step on a mini-batch and an individual of every task;
3. sampled evaluation: each candidate on one random validation batch of its task;
4. ``select``: who survives, the best first;
5. the best individual is scored on its whole validation split. Supernet and genome of
   the best such accuracy so far are kept, and tested at the end.

Each is a range of ticks: one for the proposal, then one a mini-batch, one a candidate,
one for survival, and one a validation batch.

Where Liao 2023 leaves room, or the authors' code differs: the cosine's argument is the
generation counted from 0 (their scheduler steps first, so their last epoch has rate 0);
validation images are not augmented (theirs are); images are normalised by the training
split's mean and deviation; parents are never measured again, as in their code.
"""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import sequential_vmap
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.cell_configs import CellConfig
from evojax_mtl.configs import fields_with
from evojax_mtl.errors import UserError, check_tasks
from evojax_mtl.evaluation.balanced_training import begin_balance
from evojax_mtl.evaluation.cell_batches import (
    Pipeline,
    image_moments,
    turns,
)
from evojax_mtl.evaluation.cell_scoring import Scorer
from evojax_mtl.evaluation.cell_training import Rates, initial_system
from evojax_mtl.evaluation.joint_training import is_shared
from evojax_mtl.genomes import cells
from evojax_mtl.networks.cell_supernet import STACKS, CellSupernet
from evojax_mtl.search.balancing import search_balancer
from evojax_mtl.search.cell_description import describe
from evojax_mtl.search.cell_state import CellState, Kept, no_tally
from evojax_mtl.search.cell_steps import train_tick
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.tasks.dataset import TEST, TRAIN, VALIDATION, Dataset

WORST = -1.0
"""Fitness of an individual whose outputs are not finite, below any accuracy."""


class CellSearch(ABC):
    """The search protocol for cells.

    Args:
      config: static choices.
      data: gives shapes, sizes and the mean of the images; the arrays are passed to
        each call.
      mesh: devices: of an axis ``data``, which divides both batch sizes, those that
        share every batch; of an axis ``population``, those that measure individuals
        side by side, and all train alike. None for one device.

    Raises:
      UserError: the shapes do not fit, or the tasks are too few for the method.
    """

    config: Any
    method: ClassVar[str]
    least_tasks: ClassVar[int] = 1

    def __init__(
        self, config: CellConfig, data: Dataset, mesh: Mesh | None = None
    ) -> None:
        """Reads the shapes."""
        self.config = config
        self.mesh = mesh
        self.names = data.names
        self.tasks = data.tasks
        check_tasks(self.method, self.tasks, self.least_tasks)
        self.image_shape: tuple[int, ...] = data.images.shape[2:]
        if min(self.image_shape[:2]) < 2 ** (STACKS - 1):
            raise UserError(
                f"images: found {self.image_shape[:2]} pixels, must be at least "
                f"{2 ** (STACKS - 1)} x {2 ** (STACKS - 1)} to be halved twice"
            )
        self.classes = tuple(int(c) for c in np.asarray(data.classes))
        self.network = CellSupernet(config.channels, max(self.classes), config.repeats)
        self.supernet, self.population = self.sharing()
        self.populations = int(self.population.max()) + 1
        sizes = np.asarray(data.sizes)
        self.turns = turns(sizes[TRAIN], config.batches, config.batch)
        self.balancer = search_balancer(self.balancing(), self.names, is_shared)
        if self.balancer:
            steps = np.arange(self.turns[1].max() + 1)
            self.turns = np.zeros_like(steps), steps
        parts = mesh.shape.get("data", 1) if mesh else 1
        whole = -(-data.split_sizes[VALIDATION] // parts) * parts
        self.evaluation_batch = min(config.evaluation_batch, whole)
        self.pipeline = Pipeline(
            *image_moments(data), config.crop, flip=config.flip == "on"
        )
        self.scorer = Scorer(
            supernet=self.supernet,
            pipeline=self.pipeline,
            batch=self.evaluation_batch,
            running=config.statistics == "running",
            repeats=config.repeats,
            mesh=mesh,
        )

    # What a method gives.

    first: int = 0
    """Candidates of generation 0 beside the parents."""

    def sharing(self) -> tuple[np.ndarray, np.ndarray]:
        """The supernet and the population of each task, ``(T,)`` both."""
        return np.arange(self.tasks), np.arange(self.tasks)

    def balancing(self) -> str | None:
        """The method that balances tasks; None: they train in turns."""
        return None

    @abstractmethod
    def begin(self, key: Array) -> Any:
        """What the method remembers, before generation 0."""

    @abstractmethod
    def propose(
        self, key: Array, hyperparameters: Hyperparameters, state: CellState
    ) -> tuple[Int[Array, "G C 2 5 4"], Any]:
        """Candidates, and ``own``; in generation 0 the first are the parents."""

    @abstractmethod
    def select(
        self,
        hyperparameters: Hyperparameters,
        state: CellState,
        accuracy: Float[Array, "T C"],
        finite: Bool[Array, "T C"],
    ) -> CellState:
        """Parents, fitness and ``own`` after the candidates' accuracies.

        ``finite``: whose outputs are. Where it says no, or a candidate was not
        measured, the accuracy says nothing.
        """

    def learn(
        self,
        hyperparameters: Hyperparameters,
        state: CellState,
        improved: Bool[Array, "T"],
    ) -> Any:
        """``own`` at the end; ``improved``: whose best accuracy so far was beaten."""
        return state.own

    def measures(self, state: CellState) -> Metrics:
        """Metrics of the method's own."""
        return {}

    # The search protocol.

    def hyperparameters(self) -> Hyperparameters:
        """Traced rates and probabilities of the config."""
        names = fields_with(type(self.config), "traced")
        return {name: getattr(self.config, name) for name in names}

    def init(
        self, key: Array, hyperparameters: Hyperparameters, data: Dataset
    ) -> CellState:
        """Random weights and genomes."""
        key, weight_key, genome_key, own_key = jax.random.split(key, 4)
        images = jnp.zeros((1, *self.image_shape))
        supernets = int(self.supernet.max()) + 1
        system = initial_system(weight_key, self.network, images, supernets, self.tasks)
        shape = (self.populations, self.config.population)
        parents = cells.random_cells(genome_key, shape)
        kept = Kept(
            params=system.params,
            statistics=system.statistics,
            genome=parents[self.population, 0],
            accuracy=jnp.full((self.tasks,), WORST, jnp.float32),
        )
        more = jnp.broadcast_to(parents[:, :1], (len(parents), self.first, 2, 5, 4))
        candidates = jnp.concatenate([parents, more], axis=1)
        return CellState(
            key=key,
            generation=jnp.zeros((), jnp.int32),
            system=system,
            parents=parents,
            fitness=jnp.full(shape, WORST, jnp.float32),
            candidates=candidates,
            tally=no_tally(self.tasks, candidates.shape[1]),
            kept=kept,
            own=self.begin(own_key),
            balance=begin_balance(self.balancer, system.params),
        )

    def ticks(self, data: Dataset) -> int:
        """Of all phases together."""
        return self.phases(data)[-1][1]

    def phases(self, data: Dataset) -> tuple[tuple[str, int], ...]:
        """See ``Search.phases``."""
        trained = 1 + len(self.turns[0])
        evaluated = self._measured() + self._ticks(self.tasks * self.first)
        whole = self.scorer.passes(data, VALIDATION)
        return (
            ("evolution", 1),
            ("training", trained),
            ("evaluation", evaluated),
            ("evolution", evaluated + 1),
            ("evaluation", evaluated + 1 + whole),
        )

    def _ticks(self, individuals: int) -> int:
        """That it takes to measure them."""
        return -(-individuals // self.scorer.side_by_side)

    def _measured(self) -> int:
        """The tick after those of the candidates that every generation measures."""
        trained = 1 + len(self.turns[0])
        return trained + self._ticks(self.tasks * self.config.population)

    def advance(
        self,
        state: CellState,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Array | int,
        stop: Array | int,
    ) -> tuple[CellState, Metrics]:
        """See ``Search.advance``; under ``jax.vmap`` one search after the other."""
        arguments = (hyperparameters, data, jnp.asarray(start), jnp.asarray(stop))
        return sequential_vmap(self._advance)(state, *arguments)

    def _advance(self, state, hyperparameters, data, start, stop):
        phases = self.phases(data)
        trained, end = phases[1][1], phases[-1][1]
        key = jax.random.fold_in(state.key, state.generation)
        own_key, train_key, score_key = jax.random.split(key, 3)

        def within(begin, end):
            low = jnp.maximum(start, begin)
            return low, jnp.maximum(jnp.minimum(stop, end), low)

        def at(tick, function, state):
            reached = (start <= tick) & (tick < stop)
            return jax.lax.cond(reached, function, lambda state: state, state)

        propose = partial(self._propose, own_key, hyperparameters)
        state = at(0, propose, state)
        rates = self._rates(state, hyperparameters)
        train = partial(train_tick, self, train_key, data, rates)
        state = jax.lax.fori_loop(*within(1, trained), train, state)
        # one loop, and so one compiled body, for candidates and whole passes: what lies
        # between them is a branch of it
        evaluate = partial(self._evaluate, score_key, hyperparameters, data)
        state = jax.lax.fori_loop(*within(trained, end), evaluate, state)
        state = at(end - 1, partial(self._keep, hyperparameters), state)
        return state, self._metrics(state, jnp.clip(stop - 1, 1, trained - 1))

    def step(
        self, state: CellState, hyperparameters: Hyperparameters, data: Dataset
    ) -> tuple[CellState, Metrics]:
        """One whole generation."""
        return self.advance(state, hyperparameters, data, 0, self.ticks(data))

    def grow(self, state: CellState) -> CellState:
        """The same: nothing grows."""
        return state

    def static(self, state: CellState) -> dict[str, Any]:
        """No size changes."""
        return {}

    def restore_template(
        self, static: dict[str, Any], hyperparameters: Hyperparameters, data: Dataset
    ) -> CellState:
        """The abstract initial state."""
        key = jax.random.key(0)
        return jax.eval_shape(lambda: self.init(key, hyperparameters, data))

    def final_state(self, state: CellState) -> CellState:
        """The state whose system and best individuals are those kept."""
        kept = state.kept
        system = state.system.replace(params=kept.params, statistics=kept.statistics)
        parents = state.parents.at[self.population, 0].set(kept.genome)
        return state.replace(system=system, parents=parents)

    def test(
        self, state: CellState, hyperparameters: Hyperparameters, data: Dataset
    ) -> Float[Array, "T"]:
        """Test accuracy of what was kept, in the supernet, without retraining."""
        return sequential_vmap(self._test)(state, data)

    def _test(self, state, data):
        kept = state.kept
        system = state.system.replace(params=kept.params, statistics=kept.statistics)
        count = data.batches(TEST, self.evaluation_batch)

        def add(tick, carry):
            task, index, valid = self.scorer.units(tick, count)
            right, seen, _ = self.scorer.score(
                system, kept.genome[task], data, TEST, task, index
            )
            counted = jnp.where(valid, task, self.tasks)
            return [
                total.at[counted].add(found, mode="drop")
                for total, found in zip(carry, (right, seen), strict=True)
            ]

        zeros = [jnp.zeros((self.tasks,), jnp.int32)] * 2
        right, seen = jax.lax.fori_loop(0, self.scorer.passes(data, TEST), add, zeros)
        return right / jnp.maximum(seen, 1)

    def describe(self, state: CellState) -> dict[str, Any]:
        """See ``Search.describe``."""
        return describe(self, state)

    # The parts.

    def _rates(self, state: CellState, hyperparameters: Hyperparameters) -> Rates:
        h = hyperparameters
        part = state.generation / self.config.generations
        dropping = state.generation >= h["drop_path_from"]
        return Rates(
            learning_rate=h["learning_rate"] * (1 + jnp.cos(jnp.pi * part)) / 2,
            momentum=jnp.asarray(h["momentum"], jnp.float32),
            weight_decay=jnp.asarray(h["weight_decay"], jnp.float32),
            dropout=jnp.asarray(h["dropout"], jnp.float32),
            drop_path=jnp.where(dropping, h["drop_path"], 0.0),
        )

    def _propose(
        self, key: Array, hyperparameters: Hyperparameters, state: CellState
    ) -> CellState:
        candidates, own = self.propose(key, hyperparameters, state)
        tally = no_tally(self.tasks, candidates.shape[1])
        return state.replace(
            candidates=candidates,
            own=own,
            tally=tally,
            balance=state.balance and state.balance.cleared(),
        )

    def _evaluate(
        self,
        key: Array,
        hyperparameters: Hyperparameters,
        data: Dataset,
        tick: Array,
        state: CellState,
    ) -> CellState:
        """Survival, one batch of an individual, or nothing."""
        evaluated = self.phases(data)[2][1]
        idle = (tick >= self._measured()) & (tick < evaluated) & (state.generation > 0)
        branches = [
            partial(self._measure, key, data, tick),
            partial(self._select, hyperparameters),
            lambda state: state,
        ]
        which = jnp.where(tick == evaluated, 1, jnp.where(idle, 2, 0))
        return jax.lax.switch(which, branches, state)

    def _measure(
        self, key: Array, data: Dataset, tick: Array, state: CellState
    ) -> CellState:
        """Candidates on a random batch each, or batches of whole passes."""
        trained, _, selected = (last for _, last in self.phases(data)[1:4])
        measured, most = self._measured(), self.config.population
        whole = tick >= selected
        # candidates of every generation, those of generation 0 alone, whole passes
        part = jnp.asarray(tick >= measured, jnp.int32) + whole
        begin = jnp.array([trained, measured, selected])[part]
        count = data.batches(VALIDATION, self.evaluation_batch)
        each = jnp.array([most, max(self.first, 1), count])[part]
        task, index, valid = self.scorer.units(tick - begin, each)
        n = jnp.where(whole, 0, index + jnp.where(part == 1, most, 0))
        population = jnp.asarray(self.population)[task]
        chosen = jnp.where(
            whole, state.parents[population, 0], state.candidates[population, n]
        )
        number = task * state.tally.seen.shape[1] + n
        right, seen, finite = self.scorer.score(
            state.system,
            chosen,
            data,
            VALIDATION,
            task,
            index,
            jax.vmap(partial(jax.random.fold_in, key))(number),
            whole,
        )
        # an index that is not there is not written
        own = jnp.where(valid & ~whole, task, self.tasks)
        all_own = jnp.where(valid & whole, task, self.tasks)
        tally = state.tally
        tally = tally.replace(
            evaluations=tally.evaluations + jnp.sum(valid & ~whole),
            right=tally.right.at[own, n].set(right, mode="drop"),
            seen=tally.seen.at[own, n].set(seen, mode="drop"),
            finite=tally.finite.at[own, n].set(finite, mode="drop"),
            whole_right=tally.whole_right.at[all_own].add(right, mode="drop"),
            whole_seen=tally.whole_seen.at[all_own].add(seen, mode="drop"),
        )
        return state.replace(tally=tally)

    def _select(self, hyperparameters: Hyperparameters, state: CellState) -> CellState:
        tally = state.tally
        right, seen = tally.right, tally.seen
        if self.config.accuracy == "running":
            right, seen = jnp.cumsum(right, 1), jnp.cumsum(seen, 1)
        accuracy = right / jnp.maximum(seen, 1)
        return self.select(hyperparameters, state, accuracy, tally.finite)

    def _keep(self, hyperparameters: Hyperparameters, state: CellState) -> CellState:
        """Counts the generation; keeps each supernet at its best mean accuracy."""
        accuracy = self._whole(state)
        kept = state.kept
        gain = accuracy - kept.accuracy
        if len(set(self.supernet)) < self.tasks:
            gain = jnp.broadcast_to(jnp.mean(gain), gain.shape)
        better = gain > 0

        def pick(old, new):
            chosen = better[: len(new)].reshape(-1, *[1] * (new.ndim - 1))
            return jnp.where(chosen, new, old)

        new = Kept(
            params=state.system.params,
            statistics=state.system.statistics,
            genome=state.parents[self.population, 0],
            accuracy=accuracy,
        )
        return state.replace(
            kept=jax.tree.map(pick, kept, new),
            own=self.learn(hyperparameters, state, better),
            generation=state.generation + 1,
        )

    def _whole(self, state: CellState) -> Float[Array, "T"]:
        tally = state.tally
        return tally.whole_right / jnp.maximum(tally.whole_seen, 1)

    def _metrics(self, state: CellState, trained: Array) -> Metrics:
        accuracy = self._whole(state)
        mean = jnp.mean(jnp.maximum(state.fitness, 0), axis=1)
        balanced = state.balance.metrics(trained) if state.balance else {}
        return balanced | {
            "validation": accuracy,
            "mean_validation": jnp.mean(accuracy),
            "kept": jnp.maximum(state.kept.accuracy, 0),
            "estimated": jnp.maximum(state.fitness[self.population, 0], 0),
            "population_fitness": mean[self.population],
            "loss": state.tally.loss / trained,
            "skipped_steps": state.tally.skipped,
            "nonfinite": jnp.sum(~state.tally.finite),
            "evaluations": state.tally.evaluations,
            **self.measures(state),
        }
