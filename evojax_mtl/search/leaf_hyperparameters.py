"""LEAF: the hyperparameters of a fixed network evolve (Liang 2019, 3.3 and 4.1).

Shape legend: ``P`` individuals, ``F`` genes, ``T`` tasks, ``B`` texts, ``L`` words.

An individual is a table: learning rate, optimiser, preprocessing, width and activation
of the layers, dropout, weight decay, scale of random weights. One generation:

1. each individual in turn: a network with random weights is trained for a fixed number
   of iterations and scored on the whole validation split; the fitness is the mean
   accuracy of the tasks;
2. the strategy makes the next population (``evolution.strategies``).

With two objectives species rank by Pareto fronts of fitness and cost, Algorithms 2 and
3; with ``survivors`` all who is left survives, as in ``leaf``. The best network of all
generations is the result, with the weights that earned its fitness, as training it
longer did not help (4.1). The front of all networks so far and its hypervolume are told
each generation, as in ``leaf``.

Where the paper leaves room: it does not tell the network whose hyperparameters evolve,
nor which these are beyond learning rate, training algorithm and preprocessing; nor the
ways to preprocess, here those of ``networks.preprocessing``. The fitness there was the
test split's, here it is the validation split's. Networks of several tasks share all but
the last layer.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float

from evojax_mtl.architectures.layers import ACTIVATIONS
from evojax_mtl.compiling import in_haste
from evojax_mtl.configs import fields_with
from evojax_mtl.evaluation import text_training
from evojax_mtl.evaluation.optimizers import chosen_optimizer
from evojax_mtl.evaluation.outputs import measure_outputs
from evojax_mtl.evolution.front import no_front
from evojax_mtl.evolution.neat import Rates
from evojax_mtl.evolution.strategies import find_strategy
from evojax_mtl.genomes.hyperparameters import Choice, Integer, Real, Space
from evojax_mtl.leaf_configs import LEAFHyperparameterConfig
from evojax_mtl.networks.layer_weights import bucket_sizes
from evojax_mtl.networks.preprocessing import WORDS, options
from evojax_mtl.networks.text_network import TextNetwork, Traits
from evojax_mtl.search.leaf_hyperparameters_state import LEAFState, Result
from evojax_mtl.search.leaf_objectives import front_metrics, members
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.tasks.dataset import TRAIN, VALIDATION
from evojax_mtl.tasks.text_dataset import TextDataset

OPTIMIZERS = ("adam", "rmsprop", "sgd")
INITIALIZERS = ("glorot", "he")
DECAY = (1e-9, 1e-3)
"""Range of the weight decay; Table 3's."""
EPOCHS = 3
"""Training of a network unless told otherwise (4.1)."""


def table(config: LEAFHyperparameterConfig) -> Space:
    """The genes of an individual; the learning rate is a factor of the config's."""
    factor = config.learning_range
    return Space(
        (
            Real("learning_rate_factor", 1 / factor, factor, "log"),
            Choice("optimizer", OPTIMIZERS),
            Integer("width", config.fewest_units, config.units),
            Choice("activation", ACTIVATIONS),
            Real("dropout", 0.0, config.most_dropout),
            Real("decay", *DECAY, "log"),
            Choice("initializer", INITIALIZERS),
            Choice("preprocessing", options(config.preprocessing, WORDS)),
        )
    )


class LEAFHyperparameters:
    """The search protocol on texts.

    Args:
      config: static choices.
      data: gives shapes, sizes and tasks; the arrays are passed to each call.

    Raises:
      UserError: there is no such strategy, or not for such a population.
    """

    method = "leaf"

    def __init__(self, config: LEAFHyperparameterConfig, data: TextDataset) -> None:
        """Reads the shapes."""
        self.config = config
        self.space = table(config)
        self.strategy = find_strategy(
            config.strategy,
            self.space,
            config.population,
            config.species,
            keep=config.survivors == "all",
        )
        self.network = TextNetwork(
            dimensions=data.table.shape[1],
            tasks=data.tasks,
            classes=data.max_classes,
            layers=config.layers,
            taps=config.taps,
            recurrent=config.recurrent,
            buckets=bucket_sizes(config.units, config.buckets),
            preprocessing=options(config.preprocessing, WORDS),
        )
        epoch = data.batches(TRAIN, config.batch)
        self.trained = config.iterations or EPOCHS * epoch
        self.compiler = in_haste(config.population * self.trained)
        self.words = int(data.tokens.shape[1])
        self.names = data.names

    # The search protocol.

    def hyperparameters(self) -> Hyperparameters:
        """Traced rates of the config; without those of NEAT where it does not act."""
        names = fields_with(type(self.config), "traced")
        if self.config.strategy != "neat":
            names = ("learning_rate",)
        return {name: getattr(self.config, name) for name in names}

    def init(
        self, key: Array, hyperparameters: Hyperparameters, data: TextDataset
    ) -> LEAFState:
        """A population that no one has scored, and a random network as its best."""
        key, strategy_key, weight_key = jax.random.split(key, 3)
        individuals = self.config.population
        strategy, values = self.strategy.init(strategy_key, individuals)
        middle = jnp.full(self.space.size, 0.5, jnp.float32)
        weights = self.network.init(weight_key, self._traits(middle))
        nothing = jnp.zeros(self.network.tasks)
        return LEAFState(
            key=key,
            generation=jnp.zeros((), jnp.int32),
            strategy=strategy,
            values=values,
            scores=jnp.zeros((individuals, self.network.tasks)),
            failed=jnp.zeros(individuals, bool),
            losses=jnp.zeros(individuals),
            skipped=jnp.zeros(individuals, jnp.int32),
            weights=weights,
            optimizer=chosen_optimizer(OPTIMIZERS, 0).init(weights),
            tally=text_training.no_text_tally(self.network.tasks),
            best=Result(middle, self.space.decode(middle), weights, nothing),
            front=no_front(self.space.decode(middle)),
        )

    def ticks(self, data: TextDataset) -> int:
        """Of all individuals."""
        return self.config.population * self._ticks_each(data)

    def phases(self, data: TextDataset) -> tuple[tuple[str, int], ...]:
        """See ``Search.phases``: training and evaluation of one after the other."""
        found, each = [], self._ticks_each(data)
        for i in range(self.config.population):
            found += [
                ("training", i * each + self.trained),
                ("evaluation", (i + 1) * each),
            ]
        return tuple(found)

    def advance(
        self,
        state: LEAFState,
        hyperparameters: Hyperparameters,
        data: TextDataset,
        start: Array | int,
        stop: Array | int,
    ) -> tuple[LEAFState, Metrics]:
        """See ``Search.advance``; under ``jax.vmap`` one search after the other."""
        arguments = (hyperparameters, data, jnp.asarray(start), jnp.asarray(stop))
        return sequential_vmap(self._advance)(state, *arguments)

    def _advance(self, state, hyperparameters, data, start, stop):
        tick = partial(self._tick, hyperparameters, data)
        state = jax.lax.fori_loop(start, stop, tick, state)
        metrics = self._metrics(state, stop, data)
        ends = jnp.equal(stop, self.ticks(data))
        evolve = partial(self._evolve, hyperparameters)
        return jax.lax.cond(ends, evolve, lambda state: state, state), metrics

    def step(
        self, state: LEAFState, hyperparameters: Hyperparameters, data: TextDataset
    ) -> tuple[LEAFState, Metrics]:
        """One whole generation."""
        return self.advance(state, hyperparameters, data, 0, self.ticks(data))

    def grow(self, state: LEAFState) -> LEAFState:
        """The same: no size changes."""
        return state

    def static(self, state: LEAFState) -> dict[str, Any]:
        """No size changes."""
        return {}

    def restore_template(
        self,
        static: dict[str, Any],
        hyperparameters: Hyperparameters,
        data: TextDataset,
    ) -> LEAFState:
        """The abstract initial state."""
        key = jax.random.key(0)
        return jax.eval_shape(lambda: self.init(key, hyperparameters, data))

    def final_state(self, state: LEAFState) -> LEAFState:
        """The last state, which has the best network of all."""
        return state

    def test(
        self, state: LEAFState, hyperparameters: Hyperparameters, data: TextDataset
    ) -> Float[Array, "T"]:
        """Accuracy of the best network in each task, on the test split."""
        return self.measure(state, hyperparameters, data)["score"]

    def measure(
        self, state: LEAFState, hyperparameters: Hyperparameters, data: TextDataset
    ) -> Metrics:
        """``score``, accuracies, and ``auroc``, the mean area over the tasks."""
        return sequential_vmap(self._test)(state, data)

    def _test(self, state, data):
        traits, weights = self._traits(state.best.values), state.best.weights

        def logits(batch):
            return text_training.text_logits(self.network, traits, weights, data, batch)

        size = self.config.evaluation_batch
        found = measure_outputs(logits, data, size)
        return {"score": found["accuracy"], "auroc": jnp.nanmean(found["auroc"])}

    def describe(self, state: LEAFState) -> dict[str, Any]:
        """The best table, and the front of all networks: see ``Search.describe``."""
        best = self.named(state.best.genes)
        front, found = state.front, []
        for place in members(front):
            units = int(front.items["width"][place])
            found.append(
                {
                    "validation": float(front.primary[place]),
                    "cost": float(-front.secondary[place]),
                    "width": units,
                    "parameters": int(self.network.parameters(units)),
                    "multiply_adds": int(self.network.multiply_adds(units, self.words)),
                }
            )
        return {
            "parameters": int(self.network.parameters(best["width"])),
            "hyperparameters": best,
            "front": found,
        }

    def named(self, genes: dict[str, Any]) -> dict[str, Any]:
        """A table on the host as it is read: numbers, and names of options."""
        return {
            gene.name: gene.options[int(genes[gene.name])]
            if isinstance(gene, Choice)
            else genes[gene.name].item()
            for gene in self.space.genes
        }

    # The parts.

    def _ticks_each(self, data: TextDataset) -> int:
        return self.trained + data.batches(VALIDATION, self.config.evaluation_batch)

    def _traits(self, values: Float[Array, "F"]) -> Traits:
        genes = self.space.decode(values)
        return Traits(
            width=genes["width"],
            activation=genes["activation"],
            dropout=genes["dropout"],
            he=genes["initializer"] == INITIALIZERS.index("he"),
            preprocessing=genes["preprocessing"],
        )

    def _tick(
        self,
        hyperparameters: Hyperparameters,
        data: TextDataset,
        tick: Array,
        state: LEAFState,
    ) -> LEAFState:
        """An iteration or a validation batch of the individual whose turn it is."""
        individual, turn = jnp.divmod(tick, self._ticks_each(data))
        key = jax.random.fold_in(state.key, state.generation)
        key = jax.random.fold_in(key, individual)
        values = state.values[individual]
        state = jax.lax.cond(
            turn == 0, partial(self._begin, key, values), lambda state: state, state
        )
        key = jax.random.fold_in(key, turn)
        state = jax.lax.cond(
            turn < self.trained,
            partial(self._train, key, values, hyperparameters, data),
            partial(self._score, values, data, turn - self.trained),
            state,
        )
        return jax.lax.cond(
            turn == self._ticks_each(data) - 1,
            partial(self._finish, individual, values),
            lambda state: state,
            state,
        )

    def _begin(
        self, key: Array, values: Float[Array, "F"], state: LEAFState
    ) -> LEAFState:
        """Random weights, and nothing measured."""
        weights = self.network.init(key, self._traits(values))
        return state.replace(
            weights=weights,
            optimizer=chosen_optimizer(OPTIMIZERS, 0).init(weights),
            tally=text_training.no_text_tally(self.network.tasks),
        )

    def _train(
        self,
        key: Array,
        values: Float[Array, "F"],
        hyperparameters: Hyperparameters,
        data: TextDataset,
        state: LEAFState,
    ) -> LEAFState:
        """One training iteration."""
        sample_key, drop_key = jax.random.split(key)
        genes = self.space.decode(values)
        rate = hyperparameters["learning_rate"] * genes["learning_rate_factor"]
        weights, optimizer, tally = text_training.train_text(
            self.network,
            chosen_optimizer(OPTIMIZERS, genes["optimizer"]),
            self._traits(values),
            (rate, genes["decay"]),
            (state.weights, state.optimizer, state.tally),
            data,
            data.sample(sample_key, self.config.batch),
            drop_key,
        )
        return state.replace(weights=weights, optimizer=optimizer, tally=tally)

    def _score(
        self,
        values: Float[Array, "F"],
        data: TextDataset,
        index: Array,
        state: LEAFState,
    ) -> LEAFState:
        """One validation batch."""
        batch = data.batch_at(VALIDATION, index, self.config.evaluation_batch)
        traits = self._traits(values)
        tally = text_training.score_text(
            self.network, traits, state.weights, data, batch, state.tally
        )
        return state.replace(tally=tally)

    def _finish(
        self, individual: Array, values: Float[Array, "F"], state: LEAFState
    ) -> LEAFState:
        """The individual's scores, and whether it is the best so far."""
        tally = state.tally
        scores = tally.scores
        genes = self.space.decode(values)
        best = Result(values, genes, state.weights, scores)
        better = tally.finite & (scores.mean() > state.best.scores.mean())
        fitness = jnp.where(tally.finite, scores.mean(), -jnp.inf)
        cost = self._cost(genes["width"])
        return state.replace(
            scores=state.scores.at[individual].set(scores),
            failed=state.failed.at[individual].set(~tally.finite),
            losses=state.losses.at[individual].set(tally.losses),
            skipped=state.skipped.at[individual].set(tally.skipped),
            best=jax.tree.map(lambda a, b: jnp.where(better, a, b), best, state.best),
            front=state.front.entered(genes, fitness, -cost),
        )

    def _evolve(self, hyperparameters: Hyperparameters, state: LEAFState) -> LEAFState:
        """The next population."""
        key = jax.random.fold_in(state.key, state.generation)
        # beyond the individuals, whose keys these are
        key = jax.random.fold_in(key, self.config.population)
        secondary = None
        if self.config.objective == "multi":
            secondary = -self._cost(self.space.decode(state.values)["width"])
        names = ("mutate", "deviation", "crossover", "truncation")
        rates = {name: hyperparameters.get(name, 0.0) for name in names}
        strategy, values = self.strategy.evolve(
            key,
            Rates(add_node=0.0, add_connection=0.0, **rates),
            state.strategy,
            state.values,
            jnp.where(state.failed, -jnp.inf, state.scores.mean(1)),
            secondary,
            by_secondary=self.config.front_order == "secondary",
        )
        return state.replace(
            strategy=strategy, values=values, generation=state.generation + 1
        )

    def _cost(self, width: Array | int) -> Array:
        """Of networks, to be small."""
        if self.config.secondary == "parameters":
            return jnp.asarray(self.network.parameters(width), jnp.float32)
        adds = self.network.multiply_adds(width, self.words)
        return 2 * jnp.asarray(adds, jnp.float32)

    def _metrics(self, state: LEAFState, stop: Array, data: TextDataset) -> Metrics:
        scored = jnp.arange(self.config.population) < stop // self._ticks_each(data)
        done = jnp.maximum(scored.sum(), 1)

        def total(values):
            return jnp.sum(jnp.where(scored, values, 0))

        fitness = state.scores.mean(1)
        units = self.config.units
        most = self.network.parameters(units)
        if self.config.secondary == "flops":
            most = 2 * self.network.multiply_adds(units, self.words)
        steps = done * self.trained * self.network.tasks
        return {
            "validation": state.best.scores,
            "loss": total(state.losses) / steps,
            "best_of_generation": jnp.max(jnp.where(scored, fitness, 0)),
            "mean_of_generation": total(fitness) / done,
            **front_metrics(state.front, float(most)),
            "parameters": self.network.parameters(state.best.genes["width"]),
            "nonfinite": total(state.failed),
            "skipped_steps": total(state.skipped),
            "evaluations": self.config.population,
        }
