"""Final training: a found network once more from scratch, longer (Liang 2018 and 2019).

What ``cm``, ``cmsr``, ``cmtr`` or ``leaf`` found is trained and measured as these
searches train and measure their best networks in the end (``codeepneat``), alone:

1. the network is laid out for the tasks, with more filters in every layer where asked
   (``genomes.relayout``), and starts from random weights; of ``cmtr`` it is a set of
   modules, whose routings start as chains;
2. ``iterations`` of training, on augmented images where asked; of ``cmtr`` a
   meta-iteration of CTR;
3. a measurement on the validation split, after which the snapshot is kept if it is the
   best so far, and the learning rate may change; then 2 again, ``generations`` times;
4. the best snapshot is tested, where asked on several augmented copies of each image,
   whose probabilities are averaged.

What ``leaf`` found preprocesses its data as it did when it was found, images after they
were augmented.

Liang 2018, 4.2: 30,000 iterations, or 120 meta-iterations; for ``cm`` and ``cmsr`` the
learning rate is a tenth after 10 epochs and again after 20. How often the network is
measured is not told.

Liang 2019, 4.2, for images: trained for "an increased number of epochs", every
convolution with more filters, the learning rate lowered by validation and sometimes
reset (``evaluation.rate_schedules``); images are flipped, shifted and turned at random
in training (edges are continued), and each test image 20 times, "the network outputs
were averaged". By how much is not told. Outputs are read as probabilities.

Shape legend: ``T`` tasks, ``B`` examples a task, ``P`` networks, ``K`` modules, ``L``
outputs.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.augmented import Augmentation, AugmentedDataset, average
from evojax_mtl.evaluation.outputs import measure_outputs
from evojax_mtl.evaluation.rate_schedules import Plateau, stepwise
from evojax_mtl.evolution.neat import Population, Rates
from evojax_mtl.final_configs import (
    LOWERINGS,
    PATIENCE,
    FinalConfig,
    epochs_between_falls,
    search_config,
)
from evojax_mtl.genomes import module_sets
from evojax_mtl.genomes.hyperparameters import Integer
from evojax_mtl.genomes.relayout import more, relaid, widened
from evojax_mtl.search import codeepneat_description
from evojax_mtl.search.cmtr import CMTR
from evojax_mtl.search.codeepneat import CoDeepNEAT
from evojax_mtl.search.codeepneat_populations import EVOLVED
from evojax_mtl.search.codeepneat_state import (
    Assembled,
    CoDeepNEATState,
    Measured,
)
from evojax_mtl.search.codeepneat_turns import Turn, Turns
from evojax_mtl.search.leaf import LEAF
from evojax_mtl.search.protocol import Dataset, Hyperparameters, Metrics
from evojax_mtl.tasks.dataset import TRAIN

_OF_SEARCHES = (*EVOLVED, "final_training", "mean_fitness", "least_fitness")
"""Metrics that tell nothing of one network."""


class FinalState(CoDeepNEATState):
    """That of a search, and what the schedule of the learning rate goes by.

    Attributes:
      plateau: of ``Plateau``; None for other schedules.
    """

    plateau: Any = None


class FinalTraining(CoDeepNEAT):
    """The final training; ``after`` joins it with the search that found the network.

    Args:
      final: how the network is trained.
      searched: config of the search.
      found: the network, or of ``cmtr`` the set of modules, NumPy.
      data: gives the shapes; the arrays are passed to each call.

    Raises:
      UserError: if images have more channels than the network's layers can make.
    """

    def __init__(
        self, final: FinalConfig, searched: Any, found: Any, data: Any
    ) -> None:
        """Lays the network out for the data."""
        self.training_config = final
        self.searched, self.found = searched, found
        names = ("flip", "rotation", "translation")
        amounts = {name: getattr(final, name, 0) for name in names}
        self.augmentation = Augmentation(
            bool(amounts["flip"]), amounts["rotation"], amounts["translation"]
        )
        self.copies = getattr(final, "test_copies", 1)
        self.plateau = Plateau(final.patience or PATIENCE, final.lowerings or LOWERINGS)
        super().__init__(search_config(searched, final), data)
        self.found = self._relaid()

    def training(self, data: Any) -> int:
        """As asked, or an epoch."""
        asked = self.training_config.iterations
        return asked or data.batches(TRAIN, self.config.batch)

    def read_shapes(self, data: Any) -> None:
        """See ``Populations.read_shapes``."""
        if hasattr(data, "images"):
            channels, filters = data.images.shape[-1], self.config.filters
            if filters < channels:
                raise UserError(
                    f"--widen: found {self.training_config.widen}, which makes layers "
                    f"of at most {filters} filters; must make at least the {channels} "
                    "channels of the images"
                )
        super().read_shapes(data)

    # What is trained.

    def networks_of(
        self, key: Array, modules: Population, tables: Population
    ) -> Assembled:
        """The found network alone."""
        network = self.network()
        return Assembled(
            network=jax.tree.map(lambda x: x[None], network),
            chosen=jnp.zeros((1, self.config.places), jnp.int32),
            uses=jnp.zeros((1, self.config.places), bool),
            table=jnp.zeros(1, jnp.int32),
            fitness=jnp.zeros(1),
            cost=jnp.zeros(1),
            needs=self.needs(network).astype(jnp.int32),
        )

    def network(self) -> Any:
        """The found network, or set of modules, laid out for the data."""
        found: Any = jax.tree.map(jnp.asarray, self.found)
        if not isinstance(self, CMTR):
            return found
        count = self.config.depth
        return module_sets.assembled(
            self.maps,
            self.layers,
            self.final,
            found.modules,
            jnp.arange(count),
            jnp.ones(count, bool),
            found.table,
        )[0]

    def _relaid(self) -> Any:
        found, factor = self.found, self.training_config.widen
        if not isinstance(self, CMTR):
            return relaid(found, self.maps, factor)
        before = self.searched.fewest_filters, self.searched.filters
        ranges = Integer("filters", *before), Integer("filters", *self.filters)
        modules = widened(found.modules, self.layers, *ranges, factor)
        width = more(found.table["width"], factor)
        return found.replace(modules=modules, table=found.table | {"width": width})

    def _initial(
        self,
        key: Array,
        hyperparameters: Hyperparameters,
        rows: tuple[int, ...],
        weights: int,
    ) -> CoDeepNEATState:
        """See ``CoDeepNEAT``; with the schedule's own state, without populations."""
        state = super()._initial(key, hyperparameters, rows, weights)
        # nothing reads them, and so nothing is compiled that makes them
        populations = jax.tree.map(jnp.zeros_like, (state.modules, state.tables))
        state = state.replace(modules=populations[0], tables=populations[1])
        plateau = self.plateau.init() if self.by_plateau else None
        return FinalState(**vars(state), plateau=plateau)

    def evolve(self, key: Array, state: Any, rates: Rates) -> Any:
        """Nothing: the populations stay as they are."""
        return state

    # Every generation goes on with the network.

    def first_final(self, state: Any) -> Array:
        """The first of all."""
        return jnp.int32(0)

    @property
    def turns(self) -> Turns:
        """A turn of the one network in each generation."""
        return Turns(networks=1, finals=self.training_config.generations, finalists=1)

    def finished(self, state: Any) -> bool:
        """It is trained for as long as asked."""
        return False

    def advance(
        self,
        state: Any,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Array | int,
        stop: Array | int,
    ) -> tuple[Any, Metrics]:
        """See ``Search.advance``; images are augmented as they are sampled."""
        if self.augmentation:
            data = AugmentedDataset(**vars(data), augmentation=self.augmentation)
        state, metrics = super().advance(state, hyperparameters, data, start, stop)
        return state, {k: v for k, v in metrics.items() if k not in _OF_SEARCHES}

    # The learning rate.

    @property
    def by_plateau(self) -> bool:
        """Whether validation changes the learning rate."""
        return self.training_config.schedule == "plateau"

    def rate_share(
        self, state: Any, turn: Turn | None, iteration: Array | int
    ) -> Array:
        """Of the original learning rate, at an iteration of the generation."""
        config = self.training_config
        if self.by_plateau:
            return state.plateau.scale
        if config.schedule == "fixed":
            return jnp.ones(())
        examples = (state.generation * self.iterations + iteration) * config.batch
        epochs = epochs_between_falls(self.searched, config)
        return stepwise(examples, self.mean_train, epochs)

    def selected(
        self, state: Any, data: Any
    ) -> tuple[Any, Float[Array, "T"], Bool[Array, ""]]:
        """See ``CoDeepNEAT.selected``; a plateau changes the learning rate."""
        found, scores, sound = super().selected(state, data)
        if self.by_plateau:
            fitness = jnp.where(sound, scores, 0).mean()
            plateau = self.plateau.measured(state.plateau, fitness)
            found: Any = found.replace(plateau=plateau)
        return found, scores, sound

    # What is told.

    def no_front(self, network: Any) -> None:
        """One network makes no front."""

    def priced(self, state: Any, turn: Turn, data: Any) -> Array:
        """Nothing: there are no others to choose from."""
        return jnp.zeros(())

    def noted(self, state: Any, told: Measured) -> Any:
        """See ``Populations.noted``: nothing."""
        return state

    def told(self, state: Any) -> Metrics:
        """The share of the learning rate that is left, and what CMTR tells."""
        own = super().told(state) if isinstance(self, CMTR) else {}
        return own | {"learning_rate_share": self.rate_share(state, None, 0)}

    def describe(self, state: Any) -> dict[str, Any]:
        """See ``Search.describe``."""
        if not isinstance(self, LEAF):
            return super().describe(state)
        network = codeepneat_description.kept(state)[1]
        found = codeepneat_description.describe(self, state)
        return found | self.named(network)

    # The result.

    def test(
        self, state: Any, hyperparameters: Hyperparameters, data: Dataset
    ) -> Float[Array, "T"]:
        """What the fitness is, of the best snapshot, on the test split."""
        return self.measure(state, hyperparameters, data)["score"]

    def measure(
        self, state: Any, hyperparameters: Hyperparameters, data: Dataset
    ) -> Metrics:
        """``score``; after LEAF also the means of ``accuracy`` and ``auroc``."""
        last, state = state, self.final_state(state)
        model = self.model(state.rows, state.weights)
        lists = model.lists(self.laid_out(state.network, state.routing))
        # generations have the numbers below
        key = jax.random.fold_in(last.key, self.training_config.generations)

        def outputs(examples):
            logits = model.apply(state.params, lists, examples, key, 0.0)
            return logits[:: self.individuals]

        def logits(batch):
            if self.copies == 1:
                return outputs(self.examples(batch, data))

            def copy(key):
                images = self.augmentation(key, batch.images)
                return outputs(self.examples(batch.replace(images=images), data))

            copies = jax.lax.map(copy, jax.random.split(key, self.copies))
            return average(copies, data.targets)

        found = measure_outputs(logits, data, self.config.batch)
        if not isinstance(self, LEAF):
            return {"score": found["accuracy"]}
        means = {name: jnp.nanmean(values) for name, values in found.items()}
        return {"score": self.result(found)} | means


def after(search: type[CoDeepNEAT]) -> type[FinalTraining]:
    """The final training of what ``search`` found."""
    return type(f"Final{search.__name__}", (FinalTraining, search), {})
