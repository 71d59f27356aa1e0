"""LEAF: architectures and hyperparameters of networks evolve (Liang 2019).

Shape legend: ``J`` networks of a generation, ``P`` modules or blueprints, ``T`` tasks,
``B`` examples, ``K`` networks that the front has room for.

CoDeepNEAT, see ``codeepneat`` (Algorithm 1): modules of layers and blueprints of
modules evolve side by side; blueprints carry the network's global hyperparameters,
"such as learning rate, training algorithm, and data preprocessing" (3.1). Every network
is assembled, trained from random weights and measured on the validation split. Several
tasks share the network; each has soft merges and a last layer of its own.
``leaf_texts`` and ``leaf_images`` tell what the layers are.

With two objectives the members of each species, modules and blueprints alike, rank by
successive Pareto fronts of fitness and cost (Algorithms 2 and 3, ``evolution.pareto``),
within a front by the first objective or, as an option, by the second. A module's or a
blueprint's cost is the mean over the networks that contain it, as its fitness is. A
network whose outputs are not finite has fitness 0 and the generation's highest cost.
The front of all networks that evolution measured is told each generation, with its
hypervolume: of fitness from 0 to 1, and of the orders of magnitude saved against the
largest network there can be; with one objective too, as the paper's Fig. 4 compares
them.

With ``survivors`` all, as at the scale ``paper``, all but the last fraction F_l of each
species survive, and new individuals take the others' places (Algorithm 2, steps 8 to
10; "the top fraction F_l of the individuals within each species is passed on"). By
default the elites alone do, so that few generations see more that is new.

The best network of all generations by fitness is the result, with the weights that
earned it.

Where the paper leaves room: see ``genomes.layer_genes`` for the layers. Each module
ends in a linear layer of one tap that is pooled after it, of as many units for all
modules of a network, as in Liang 2018; what comes from fewer modules is pooled on to
``depth`` times in all, the paper's least number of pooling layers.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float, Int

from evojax_mtl.architectures.layers import Network
from evojax_mtl.evaluation.latency import latency
from evojax_mtl.evaluation.outputs import measure_outputs
from evojax_mtl.evolution import pareto
from evojax_mtl.evolution.front import Front, no_front
from evojax_mtl.evolution.neat import Rates
from evojax_mtl.genomes.hyperparameters import Choice
from evojax_mtl.networks.preprocessing import Ways, options
from evojax_mtl.search.cmsr import CMSR
from evojax_mtl.search.codeepneat_description import describe, kept
from evojax_mtl.search.codeepneat_state import CoDeepNEATState, Measured
from evojax_mtl.search.codeepneat_turns import Turn
from evojax_mtl.search.leaf_objectives import (
    LONGEST,
    front_metrics,
    members,
)
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.tasks.dataset import TRAIN, VALIDATION


class LEAF(CMSR):
    """Coevolution of modules and blueprints; a subclass tells what data it is for."""

    method = "leaf"
    config: Any
    epochs: int
    """Training of a network unless told otherwise."""
    ways: Ways
    """What may be done to the data before a network reads it."""

    # What a kind of data defines.

    def training(self, data: Any) -> int:
        """As asked, or some epochs."""
        config = self.config
        return config.iterations or self.epochs * data.batches(TRAIN, config.batch)

    def trained_by(self, network: Network) -> str:
        """Name of a network's optimiser."""
        raise TypeError(f"{type(self).__name__} names no optimiser")

    def genes(self) -> tuple:
        """Global hyperparameters of a blueprint: with the preprocessing."""
        return (*super().genes(), Choice("preprocessing", self.preprocessing))

    @property
    def preprocessing(self) -> tuple[str, ...]:
        """Names of the ways that networks choose from; a network has their index."""
        return options(self.config.preprocessing, self.ways)

    def common(self, rows: tuple[int, ...], weights: int) -> dict[str, Any]:
        """See ``Populations.common``."""
        own = {"preprocessing": self.preprocessing}
        return super().common(rows, weights) | own

    def named(self, network: Network) -> dict[str, str]:
        """What a network's other global hyperparameters stand for."""
        assert network.preprocessing is not None
        return {
            "optimizer": self.trained_by(network),
            "preprocessing": self.preprocessing[int(network.preprocessing)],
        }

    def at_the_edges(self, layer: int) -> int:
        """Cost of encoder and decoders, given that of the costliest layer."""
        raise TypeError(f"{type(self).__name__} tells no cost")

    def result(self, measured: dict[str, Array]) -> Float[Array, "T"]:
        """What tells how good a network is, of its ``accuracy`` and ``auroc``."""
        return measured["accuracy"]

    # What is selected for.

    def cost(self, network: Network) -> Array:
        """Parameters or operations; 0 where the time is measured later."""
        model, outputs = self.model(self.no_rows, 0), sum(self.classes)
        if self.config.secondary == "parameters":
            return model.parameters(network, outputs)
        if self.config.secondary == "flops":
            return 2 * model.multiply_adds(network, outputs)
        return jnp.zeros(())

    @property
    def no_rows(self) -> tuple[int, ...]:
        """As many resolutions as there are; of no capacity, to count with."""
        return (0,) * (self.maps.levels[-1] + 1)

    def most(self) -> float:
        """Highest cost of a network that there can be."""
        if self.config.secondary == "latency":
            return LONGEST
        layers = self.config.nodes * (self.config.layers + 1)
        each = self.kinds.largest + self.kinds.gates * self.filters[1]
        if self.config.secondary == "flops":
            each *= 2 * int(np.prod(self.size))
        return float(layers * each + self.at_the_edges(each))

    def scores(
        self,
        fitness: Float[Array, "P"],
        cost: Float[Array, "P"],
        species: Int[Array, "P"],
    ) -> Float[Array, "P"] | None:
        """Algorithm 2's ranking."""
        if self.config.objective == "single":
            return None
        by_secondary = self.config.front_order == "secondary"
        return pareto.scores(fitness, -cost, species, by_secondary=by_secondary)

    @property
    def keep(self) -> bool:
        """Algorithm 2's steps 8 to 10, if asked."""
        return self.config.survivors == "all"

    def evolve(
        self, key: Array, state: CoDeepNEATState, rates: Rates
    ) -> CoDeepNEATState:
        """See ``Populations.evolve``; who failed counts as the most costly too."""
        assembled = state.assembled
        failed = assembled.fitness <= 0
        cost = jnp.where(failed, assembled.cost.max(), assembled.cost)
        assembled = assembled.replace(cost=cost)
        return super().evolve(key, state.replace(assembled=assembled), rates)

    def no_front(self, network: Network) -> Front:
        """The front before any network."""
        return no_front(network)

    def priced(self, state: CoDeepNEATState, turn: Turn, data: Any) -> Array:
        """Parameters or operations as assembled; the time is measured here."""
        if self.config.secondary != "latency":
            return super().priced(state, turn, data)
        return self._latency(state, data)

    def noted(self, state: CoDeepNEATState, told: Measured) -> CoDeepNEATState:
        """The state with a network in the front, if it belongs there.

        One that final training goes on with was there when it was assembled.
        """
        assembled, front, turn = state.assembled, state.front, told.turn
        assert front is not None
        place = jnp.where(turn.active, turn.place, assembled.cost.shape[0])
        cost = assembled.cost.at[place].set(told.cost, mode="drop")
        counts = turn.active & told.sound & ~turn.final
        fitness = jnp.where(counts, told.mean, -jnp.inf)
        front = front.entered(told.network, fitness, -told.cost)
        return state.replace(assembled=assembled.replace(cost=cost), front=front)

    def _latency(self, state: CoDeepNEATState, data: Any) -> Array:
        """Of the network at hand on a validation batch (microseconds an example)."""
        model = self.model(state.rows, state.weights)
        lists = model.lists(state.network)
        batch = data.batch_at(VALIDATION, 0, self.config.batch)

        def run(examples):
            return model.apply(state.params, lists, examples, state.key, 0.0)

        return latency(run, self.examples(batch, data)) / batch.labels.size

    def told(self, state: CoDeepNEATState) -> Metrics:
        """The front of all networks so far, and the costs of this generation."""
        assert state.front is not None
        model = self.model(state.rows, state.weights)
        return {
            **front_metrics(state.front, self.most()),
            "mean_cost": state.assembled.cost.mean(),
            "parameters": model.parameters(state.best.network, sum(self.classes)),
        }

    # The result.

    def test(
        self, state: CoDeepNEATState, hyperparameters: Hyperparameters, data: Any
    ) -> Float[Array, "T"]:
        """What the fitness is, of the result in each task, on the test split."""
        return self.measure(state, hyperparameters, data)["score"]

    def measure(
        self, state: CoDeepNEATState, hyperparameters: Hyperparameters, data: Any
    ) -> Metrics:
        """``score``, and the means over the tasks of ``accuracy`` and ``auroc``."""
        return sequential_vmap(self._measure)(state, data)

    def _measure(self, state: CoDeepNEATState, data: Any) -> Metrics:
        state = self.final_state(state)
        model = self.model(state.rows, state.weights)
        lists = model.lists(state.network)

        def logits(batch):
            examples = self.examples(batch, data)
            return model.apply(state.params, lists, examples, state.key, 0.0)

        found = measure_outputs(logits, data, self.config.batch)
        means = {name: jnp.nanmean(values) for name, values in found.items()}
        return {"score": self.result(found)} | means

    def describe(self, state: CoDeepNEATState) -> dict[str, Any]:
        """The result, and the front of all networks: see ``Search.describe``."""
        front, model = state.front, self.model(state.rows, state.weights)
        assert front is not None
        outputs, found = sum(self.classes), []
        for place in members(front):
            network = jax.tree.map(
                lambda x, place=place: np.asarray(x[place]), front.items
            )
            held = np.unique(network.module[network.module >= 0])
            found.append(
                {
                    "validation": float(front.primary[place]),
                    "cost": float(-front.secondary[place]),
                    "parameters": int(model.parameters(network, outputs)),
                    "multiply_adds": int(model.multiply_adds(network, outputs)),
                    "modules": len(held),
                }
            )
        _, network = kept(state)
        return describe(self, state) | self.named(network) | {"front": found}
