"""EMT-NAS: architectures that cross between tasks (Liao 2023, Fig. 3, 3.3 to 3.5).

Shape legend: ``T`` tasks, ``S`` supernets and ``G`` populations (``T``, or 1 where
tasks share), ``N`` individuals of a population, ``B`` images.

One generation:

1. children: ``evolution.multifactorial``; in generation 0 the candidates are the random
   parents themselves;
2. sampled training: each mini-batch of each task trains one individual of the task,
   drawn evenly from parents and children, in the task's supernet; ``batches`` of them,
   one epoch by default. The tasks take turns;
3. sampled evaluation: each candidate on one random validation batch of its task;
4. fitness re-evaluation (Eq. 2; not in generation 0, where there are no parents), then
   the best ``N`` of parents and children survive in each population;
5. the best individual is scored on its whole validation split. Supernet and genome of
   the best such accuracy so far are kept, and tested at the end.

Each is a range of ticks: one for children, then one a mini-batch, one a candidate, one
for survival, and one a validation batch.

Where the paper leaves room, or the authors' code differs: the cosine's argument is the
generation counted from 0 (their scheduler steps first, so their last epoch has rate 0);
validation images are not augmented (theirs are); images are normalised by the training
split's mean and deviation; parents are never measured again, as in their code.

``tasking``: with ``single`` each task is a population of its own; with ``joint`` there
is one supernet, a classifier a task, and with ``architectures`` ``shared`` also one
population, its fitness the mean over the tasks.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import sequential_vmap
from jax.sharding import Mesh
from jaxtyping import Array, Float

from evojax_mtl.configs import EMTNASConfig, fields_with
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.cell_batches import (
    Pipeline,
    epoch_rows,
    image_moments,
    minibatch,
    turns,
)
from evojax_mtl.evaluation.cell_scoring import Scorer
from evojax_mtl.evaluation.cell_training import Rates, initial_system, train_batch
from evojax_mtl.evolution import multifactorial
from evojax_mtl.genomes import cells
from evojax_mtl.networks.cell_supernet import STACKS, CellSupernet
from evojax_mtl.search.cell_description import describe
from evojax_mtl.search.cell_state import CellTally, EMTNASState, Kept
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.tasks.dataset import TEST, TRAIN, VALIDATION, Dataset

WORST = -1.0
"""Fitness of an individual whose outputs are not finite, below any accuracy."""


class EMTNAS:
    """The search protocol for EMT-NAS and its baselines.

    Args:
      config: static choices.
      data: gives shapes, sizes and the mean of the images; the arrays are passed to
        each call.
      mesh: devices: of an axis ``data``, which divides both batch sizes, those that
        share every batch; of an axis ``population``, those that measure individuals
        side by side, and all train alike. None for one device.
    """

    method = "emt-nas"

    def __init__(
        self, config: EMTNASConfig, data: Dataset, mesh: Mesh | None = None
    ) -> None:
        """Reads the shapes; raises ``UserError`` where they do not fit."""
        self.config = config
        self.mesh = mesh
        self.names = data.names
        self.tasks = data.tasks
        self.image_shape: tuple[int, ...] = data.images.shape[2:]
        if min(self.image_shape[:2]) < 2 ** (STACKS - 1):
            raise UserError(
                f"images: found {self.image_shape[:2]} pixels, must be at least "
                f"{2 ** (STACKS - 1)} x {2 ** (STACKS - 1)} to be halved twice"
            )
        self.classes = tuple(int(c) for c in np.asarray(data.classes))
        self.network = CellSupernet(config.channels, max(self.classes), config.repeats)
        joint = config.tasking == "joint"
        everyone = np.arange(self.tasks)
        self.supernet = np.zeros_like(everyone) if joint else everyone
        shared = config.architectures == "shared"
        self.population = np.zeros_like(everyone) if shared else everyone
        self.populations = int(self.population.max()) + 1
        sizes = np.asarray(data.sizes)
        self.turns = turns(sizes[TRAIN], config.batches, config.batch)
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

    # The search protocol.

    def hyperparameters(self) -> Hyperparameters:
        """Traced rates and probabilities of the config."""
        names = fields_with(type(self.config), "traced")
        return {name: getattr(self.config, name) for name in names}

    def init(
        self, key: Array, hyperparameters: Hyperparameters, data: Dataset
    ) -> EMTNASState:
        """Random weights and genomes."""
        key, weight_key, genome_key = jax.random.split(key, 3)
        images = jnp.zeros((1, *self.image_shape))
        supernets = int(self.supernet.max()) + 1
        system = initial_system(weight_key, self.network, images, supernets, self.tasks)
        shape = (self.populations, self.config.population)
        parents = cells.random_cells(genome_key, shape)
        worst = jnp.full(shape, WORST, jnp.float32)
        kept = Kept(
            params=system.params,
            statistics=system.statistics,
            genome=parents[self.population, 0],
            accuracy=jnp.full((self.tasks,), WORST, jnp.float32),
        )
        return EMTNASState(
            key=key,
            generation=jnp.zeros((), jnp.int32),
            system=system,
            parents=parents,
            fitness=worst,
            children=parents,
            inherited=worst,
            tally=self._no_tally(),
            kept=kept,
        )

    def ticks(self, data: Dataset) -> int:
        """Of all phases together."""
        return self.phases(data)[-1][1]

    def phases(self, data: Dataset) -> tuple[tuple[str, int], ...]:
        """See ``Search.phases``."""
        trained = 1 + len(self.turns[0])
        measured = self.tasks * self.config.population
        evaluated = trained + -(-measured // self.scorer.side_by_side)
        whole = self.scorer.passes(data, VALIDATION)
        return (
            ("evolution", 1),
            ("training", trained),
            ("evaluation", evaluated),
            ("evolution", evaluated + 1),
            ("evaluation", evaluated + 1 + whole),
        )

    def advance(
        self,
        state: EMTNASState,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Array | int,
        stop: Array | int,
    ) -> tuple[EMTNASState, Metrics]:
        """See ``Search.advance``; under ``jax.vmap`` one search after the other."""
        arguments = (hyperparameters, data, jnp.asarray(start), jnp.asarray(stop))
        return sequential_vmap(self._advance)(state, *arguments)

    def _advance(self, state, hyperparameters, data, start, stop):
        phases = self.phases(data)
        trained, end = phases[1][1], phases[-1][1]
        key = jax.random.fold_in(state.key, state.generation)
        breed_key, train_key, score_key = jax.random.split(key, 3)

        def within(begin, end):
            low = jnp.maximum(start, begin)
            return low, jnp.maximum(jnp.minimum(stop, end), low)

        def at(tick, function, state):
            reached = (start <= tick) & (tick < stop)
            return jax.lax.cond(reached, function, lambda state: state, state)

        propose = partial(self._propose, breed_key, hyperparameters)
        state = at(0, propose, state)
        rates = self._rates(state, hyperparameters)
        train = partial(self._train, train_key, data, rates)
        state = jax.lax.fori_loop(*within(1, trained), train, state)
        # one loop, and so one compiled body, for candidates and whole passes: what lies
        # between them is a branch of it
        evaluate = partial(self._evaluate, score_key, data)
        state = jax.lax.fori_loop(*within(trained, end), evaluate, state)
        state = at(end - 1, self._keep, state)
        return state, self._metrics(state, jnp.clip(stop - 1, 1, trained - 1))

    def step(
        self, state: EMTNASState, hyperparameters: Hyperparameters, data: Dataset
    ) -> tuple[EMTNASState, Metrics]:
        """One whole generation."""
        return self.advance(state, hyperparameters, data, 0, self.ticks(data))

    def grow(self, state: EMTNASState) -> EMTNASState:
        """The same: nothing grows."""
        return state

    def static(self, state: EMTNASState) -> dict[str, Any]:
        """No size changes."""
        return {}

    def restore_template(
        self, static: dict[str, Any], hyperparameters: Hyperparameters, data: Dataset
    ) -> EMTNASState:
        """The abstract initial state."""
        key = jax.random.key(0)
        return jax.eval_shape(lambda: self.init(key, hyperparameters, data))

    def final_state(self, state: EMTNASState) -> EMTNASState:
        """The state whose system and best individuals are those kept."""
        kept = state.kept
        system = state.system.replace(params=kept.params, statistics=kept.statistics)
        parents = state.parents.at[self.population, 0].set(kept.genome)
        return state.replace(system=system, parents=parents)

    def test(
        self, state: EMTNASState, hyperparameters: Hyperparameters, data: Dataset
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

    def describe(self, state: EMTNASState) -> dict[str, Any]:
        """See ``Search.describe``."""
        return describe(self, state)

    # The parts.

    def _no_tally(self) -> CellTally:
        shape = (self.tasks, self.config.population)
        return CellTally(
            loss=jnp.zeros((), jnp.float32),
            skipped=jnp.zeros((), jnp.int32),
            right=jnp.zeros(shape, jnp.int32),
            seen=jnp.zeros(shape, jnp.int32),
            finite=jnp.ones(shape, bool),
            whole_right=jnp.zeros((self.tasks,), jnp.int32),
            whole_seen=jnp.zeros((self.tasks,), jnp.int32),
        )

    def _rates(self, state: EMTNASState, hyperparameters: Hyperparameters) -> Rates:
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
        self, key: Array, hyperparameters: Hyperparameters, state: EMTNASState
    ) -> EMTNASState:
        """Children, but for generation 0."""
        h = hyperparameters
        mate_key, breed_key = jax.random.split(key)
        if self.config.tasking == "single":
            mating = multifactorial.mate_within(mate_key, state.fitness)
        else:
            chance = h["random_mating"]
            mating = multifactorial.mate(mate_key, state.fitness, chance)
        children = multifactorial.breed(
            breed_key,
            state.parents,
            mating,
            h["crossover"],
            h["mutation"],
            step=self.config.mutation_kind == "step",
        )
        first = state.generation == 0
        return state.replace(
            children=jnp.where(first, state.parents, children),
            inherited=state.fitness.ravel()[mating.mapped],
            tally=self._no_tally(),
        )

    def _train(
        self, key: Array, data: Dataset, rates: Rates, tick: Array, state: EMTNASState
    ) -> EMTNASState:
        """One mini-batch of one task."""
        tasks, indices = (jnp.asarray(part) for part in self.turns)
        task, index = tasks[tick - 1], indices[tick - 1]
        draw_key, image_key, step_key = jax.random.split(
            jax.random.fold_in(key, tick), 3
        )
        both = jnp.asarray(self.population)[task]
        everyone = jnp.concatenate([state.parents[both], state.children[both]])
        genome = everyone[jax.random.randint(draw_key, (), 0, len(everyone))]
        # one key a task and epoch: its mini-batches do not overlap
        size = data.sizes[TRAIN, task]
        count = -(-size // self.config.batch)
        epoch_key = jax.random.fold_in(jax.random.fold_in(key, task), index // count)
        rows, _ = epoch_rows(
            epoch_key, data, TRAIN, task, index % count, self.config.batch
        )
        batch = minibatch(data, task, rows)
        augmented = self.pipeline.augmented(image_key, batch.images, task)
        system, loss, taken = train_batch(
            state.system,
            genome,
            jnp.asarray(self.supernet)[task],
            task,
            batch._replace(images=augmented),
            step_key,
            rates,
            repeats=self.config.repeats,
            mesh=self.mesh,
        )
        tally = state.tally
        tally = tally.replace(loss=tally.loss + loss, skipped=tally.skipped + ~taken)
        return state.replace(system=system, tally=tally)

    def _evaluate(
        self, key: Array, data: Dataset, tick: Array, state: EMTNASState
    ) -> EMTNASState:
        """Survival, or one batch of an individual."""
        evaluated = self.phases(data)[2][1]
        measure = partial(self._measure, key, data, tick)
        return jax.lax.cond(tick == evaluated, self._select, measure, state)

    def _measure(
        self, key: Array, data: Dataset, tick: Array, state: EMTNASState
    ) -> EMTNASState:
        """Candidates on a random batch each, or batches of whole passes."""
        trained, _, selected = (last for _, last in self.phases(data)[1:4])
        whole = tick >= selected
        count = data.batches(VALIDATION, self.evaluation_batch)
        task, index, valid = self.scorer.units(
            jnp.where(whole, tick - selected, tick - trained),
            jnp.where(whole, count, self.config.population),
        )
        n = jnp.where(whole, 0, index)
        population = jnp.asarray(self.population)[task]
        candidates = jnp.where(whole, state.parents, state.children)
        number = task * self.config.population + index
        right, seen, finite = self.scorer.score(
            state.system,
            candidates[population, n],
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
            right=tally.right.at[own, n].set(right, mode="drop"),
            seen=tally.seen.at[own, n].set(seen, mode="drop"),
            finite=tally.finite.at[own, n].set(finite, mode="drop"),
            whole_right=tally.whole_right.at[all_own].add(right, mode="drop"),
            whole_seen=tally.whole_seen.at[all_own].add(seen, mode="drop"),
        )
        return state.replace(tally=tally)

    def _select(self, state: EMTNASState) -> EMTNASState:
        """Re-evaluation and survival."""
        tally = state.tally
        right, seen = tally.right, tally.seen
        if self.config.accuracy == "running":
            right, seen = jnp.cumsum(right, 1), jnp.cumsum(seen, 1)
        measured, finite = right / jnp.maximum(seen, 1), tally.finite
        if self.populations < self.tasks:
            measured = jnp.mean(measured, axis=0, keepdims=True)
            finite = jnp.all(finite, axis=0, keepdims=True)
        fitness = measured
        if self.config.reevaluation == "on":
            smooth = multifactorial.reevaluate(
                measured,
                jnp.maximum(state.inherited, 0),
                state.generation + 1,
                self.config.generations,
            )
            fitness = jnp.where(state.generation == 0, measured, smooth)
        # last: Eq. 2 would lift what is not finite towards its parent
        fitness = jnp.where(finite, fitness, WORST)
        parents, fitness = jax.vmap(multifactorial.survive)(
            state.parents, state.fitness, state.children, fitness
        )
        return state.replace(parents=parents, fitness=fitness)

    def _keep(self, state: EMTNASState) -> EMTNASState:
        """Counts the generation; keeps each supernet at its best mean accuracy."""
        accuracy = self._whole(state)
        kept = state.kept
        gain = accuracy - kept.accuracy
        if self.config.tasking == "joint":
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
            kept=jax.tree.map(pick, kept, new), generation=state.generation + 1
        )

    def _whole(self, state: EMTNASState) -> Float[Array, "T"]:
        tally = state.tally
        return tally.whole_right / jnp.maximum(tally.whole_seen, 1)

    def _metrics(self, state: EMTNASState, trained: Array) -> Metrics:
        accuracy = self._whole(state)
        mean = jnp.mean(jnp.maximum(state.fitness, 0), axis=1)
        return {
            "validation": accuracy,
            "mean_validation": jnp.mean(accuracy),
            "kept": jnp.maximum(state.kept.accuracy, 0),
            "estimated": jnp.maximum(state.fitness[self.population, 0], 0),
            "population_fitness": mean[self.population],
            "loss": state.tally.loss / trained,
            "skipped_steps": state.tally.skipped,
            "nonfinite": jnp.sum(~state.tally.finite),
            "evaluations": state.tally.right.size,
        }
