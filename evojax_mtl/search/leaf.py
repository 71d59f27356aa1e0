"""LEAF: architectures and hyperparameters of networks for texts evolve (Liang 2019).

Shape legend: ``J`` networks of a generation, ``P`` modules or blueprints, ``T`` tasks,
``B`` texts, ``L`` words, ``K`` networks that the front has room for.

CoDeepNEAT, see ``codeepneat`` (Algorithm 1): modules of layers on sequences and
blueprints of modules evolve side by side; blueprints carry the network's global
hyperparameters, its learning rate, optimiser, width and scale of random weights. Every
network is assembled, trained from random weights and measured on the validation split.
Several tasks share the network; each has soft merges and a last layer of its own.

With two objectives the members of each species, modules and blueprints alike, rank by
successive Pareto fronts of fitness and cost (Algorithms 2 and 3, ``evolution.pareto``),
within a front by the first objective or, as an option, by the second. A module's or a
blueprint's cost is the mean over the networks that contain it, as its fitness is. A
network whose outputs are not finite has fitness 0 and the generation's highest cost.
The front of all networks so far is told each generation, with its hypervolume: of
accuracy from 0 to 1, and of the orders of magnitude saved against the largest network
there can be; with one objective too, as the paper's Fig. 4 compares them.

The best network of all generations by accuracy is the result, with the weights that
earned its fitness, as training it longer did not help (4.1).

Where the paper leaves room: see ``genomes.sequence_genes`` for the layers. Each
module ends in a linear layer of one tap that is pooled after it, of as many units for
all modules of a network, as in Liang 2018; what comes from fewer modules is pooled on
to ``depth`` times in all, the paper's least number of pooling layers. Words' vectors
pass a linear layer first, decoders read the mean over time. The fitness there was the
test split's, here it is the validation split's.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float, Int
from optax import GradientTransformation as Transformation

from evojax_mtl.architectures.layers import (
    Network,
    kernels_to,
    sequence_layers,
)
from evojax_mtl.compiling import in_haste
from evojax_mtl.evaluation.latency import latency
from evojax_mtl.evaluation.optimizers import chosen_optimizer
from evojax_mtl.evaluation.text_training import measure_texts
from evojax_mtl.evolution import pareto
from evojax_mtl.evolution.front import Front, no_front
from evojax_mtl.evolution.neat import Rates
from evojax_mtl.genomes import assembly
from evojax_mtl.genomes.hyperparameters import Choice
from evojax_mtl.genomes.sequence_genes import sequence_space
from evojax_mtl.leaf_configs import LEAFConfig
from evojax_mtl.networks.assembled_texts import AssembledTexts, Words
from evojax_mtl.networks.layer_weights import bucket_sizes
from evojax_mtl.networks.sequence_layers import SequenceLayers
from evojax_mtl.search.cmsr import CMSR
from evojax_mtl.search.codeepneat_description import describe, kept
from evojax_mtl.search.codeepneat_populations import DECAY
from evojax_mtl.search.codeepneat_state import CoDeepNEATState
from evojax_mtl.search.leaf_hyperparameters import EPOCHS, OPTIMIZERS
from evojax_mtl.search.leaf_objectives import (
    LONGEST,
    front_metrics,
    members,
)
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.tasks.dataset import TRAIN, VALIDATION
from evojax_mtl.tasks.text_dataset import TextBatch, TextDataset


class LEAF(CMSR):
    """Coevolution of modules and blueprints of layers on sequences.

    Args:
      config: static choices.
      data: gives shapes, sizes and tasks; the arrays are passed to each call.
    """

    method = "leaf"
    config: LEAFConfig

    def __init__(self, config: LEAFConfig, data: TextDataset) -> None:
        """Reads the shapes."""
        super().__init__(config, data)
        self.compiler = in_haste(config.networks * self.iterations)

    # What texts define.

    def training(self, data: TextDataset) -> int:
        """As asked, or three epochs (4.1)."""
        config = self.config
        return config.iterations or EPOCHS * data.batches(TRAIN, config.batch)

    def read_shapes(self, data: TextDataset) -> None:
        """See ``Populations.read_shapes``."""
        config, taps = self.config, kernels_to(self.config.largest_kernel)
        buckets = bucket_sizes(config.units, config.buckets)
        self.dimensions = int(data.table.shape[1])
        self.size = (int(data.tokens.shape[1]),)
        self.kinds = SequenceLayers(taps, buckets)
        names = sequence_layers(taps)
        self.maps = assembly.Maps(self.size, None, names, buckets, config.depth)
        self.filters = (config.fewest_units, config.units)
        self.layers = sequence_space(taps, self.filters, config.most_dropout, DECAY)

    def model(self, rows: tuple[int, ...], weights: int) -> AssembledTexts:
        """What runs any network within these capacities."""
        common = self.common(rows, weights)
        return AssembledTexts(**common, dimensions=self.dimensions)

    def examples(self, batch: TextBatch, data: TextDataset) -> Words:
        """The words' vectors, and which words are there."""
        return Words(data.vectors(batch.tokens), batch.tokens > 0)

    def genes(self) -> tuple:
        """Global hyperparameters: with an optimiser."""
        return (*super().genes(), Choice("optimizer", OPTIMIZERS))

    def optimizer(self, network: Network | None = None) -> Transformation:
        """The optimiser that the network names."""
        return chosen_optimizer(OPTIMIZERS, 0 if network is None else network.optimizer)

    # What is selected for.

    def cost(self, network: Network) -> Array:
        """Parameters or operations; 0 where the time is measured later."""
        model, outputs = self.model(self._rows, 0), sum(self.classes)
        if self.config.secondary == "parameters":
            return model.parameters(network, outputs)
        if self.config.secondary == "flops":
            return 2 * model.multiply_adds(network, outputs)
        return jnp.zeros(())

    @property
    def _rows(self) -> tuple[int, ...]:
        """As many resolutions as there are; of no capacity, to count with."""
        return (0,) * (self.maps.levels[-1] + 1)

    def most(self) -> float:
        """Highest cost of a network that there can be."""
        if self.config.secondary == "latency":
            return LONGEST
        config, units = self.config, self.config.units
        layers = config.nodes * (config.layers + 1)
        each = self.kinds.largest + 4 * units
        if self.config.secondary == "flops":
            each *= 2 * self.size[0]
        return float((layers + 1) * each)

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

    def noted(
        self,
        state: CoDeepNEATState,
        n: Array,
        fitness: Array,
        sound: Array,
        data: TextDataset,
    ) -> CoDeepNEATState:
        """The state with network ``n`` in the front, if it belongs there."""
        assembled, front = state.assembled, state.front
        assert front is not None
        if self.config.secondary == "latency":
            taken = self._latency(state, data)
            cost = assembled.cost.at[n].set(taken)
            assembled = assembled.replace(cost=cost)
        fitness = jnp.where(sound, fitness, -jnp.inf)
        front = front.entered(state.network, fitness, -assembled.cost[n])
        return state.replace(assembled=assembled, front=front)

    def _latency(self, state: CoDeepNEATState, data: TextDataset) -> Array:
        """Of the network at hand on a validation batch (microseconds a text)."""
        model = self.model(state.rows, state.weights)
        lists = model.lists(state.network)
        batch = data.batch_at(VALIDATION, 0, self.config.batch)
        words = self.examples(batch, data)

        def run(vectors):
            words_then = words._replace(vectors=vectors)
            return model.apply(state.params, lists, words_then, state.key, 0.0)

        return latency(run, words.vectors) / batch.labels.size

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
        """Accuracy of the result in each task, on the test split."""
        return self.measure(state, hyperparameters, data)["score"]

    def measure(
        self, state: CoDeepNEATState, hyperparameters: Hyperparameters, data: Any
    ) -> Metrics:
        """``score``, accuracies, and ``auroc``, the mean area over the tasks."""
        return sequential_vmap(self._measure)(state, data)

    def _measure(self, state: CoDeepNEATState, data: TextDataset) -> Metrics:
        state = self.final_state(state)
        model = self.model(state.rows, state.weights)
        lists = model.lists(state.network)

        def logits(batch):
            words = self.examples(batch, data)
            return model.apply(state.params, lists, words, state.key, 0.0)

        return measure_texts(logits, data, self.config.batch)

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
        told = describe(self, state)
        _, network = kept(state)
        return told | {
            "optimizer": OPTIMIZERS[int(network.optimizer)],
            "front": found,
        }
