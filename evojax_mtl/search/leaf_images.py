"""LEAF on images (Liang 2019, 4.2): modules of Conv2D and Dropout layers.

Shape legend: ``T`` tasks, ``P`` networks, ``n`` validation examples that give fitness,
``L`` labels.

See ``leaf``; the networks are those of the multitask CoDeepNEAT of Liang 2018
(``cmsr``), whose layers are Table 3's. Blueprints carry learning rate, width, scale of
random weights and preprocessing; the optimiser is Adam. Where an image may have several
labels, as on chest X-rays, the fitness is the mean area under the ROC curve over the
labels, on all validation images; otherwise it is the accuracy.

In the last ``finals`` generations the best networks are trained longer, with a learning
rate that decays (``codeepneat``).

Where the paper leaves room: "weight sharing: true" is read as flags that evolve, as in
Liang 2018. Of preprocessing it says that chromosomes contain it (3.1), and that the
chest X-rays "were normalized using the mean and variance statistics from the Imagenet
dataset" (4.2): here the ways of ``networks.preprocessing`` evolve, and at the scale
``paper`` ImageNet's statistics are fixed, on whatever images. Differs from the paper:
there each disease is a task, here one task has all of them as labels, so that they
share the soft merges too (``chestxray:Mass+Hernia`` with ``fitness`` ``auroc`` makes
tasks). The best network is widened, and trained on augmented images, by
``final_training`` afterwards.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from evojax_mtl.architectures.layers import (
    IMAGE_TYPES,
    NO_KERNEL,
    Network,
    kernels_to,
)
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.auroc import mean_auroc
from evojax_mtl.evaluation.outputs import OutputTally, no_outputs
from evojax_mtl.evaluation.training import Tally
from evojax_mtl.evolution.neat import Rates
from evojax_mtl.genomes.layer_genes import typed_space
from evojax_mtl.leaf_configs import LEAFImageConfig
from evojax_mtl.networks.image_layers import Channels
from evojax_mtl.networks.preprocessing import IMAGES
from evojax_mtl.search.codeepneat_populations import DECAY
from evojax_mtl.search.codeepneat_state import CoDeepNEATState
from evojax_mtl.search.leaf import LEAF
from evojax_mtl.search.protocol import Hyperparameters
from evojax_mtl.tasks.dataset import VALIDATION, Dataset

_OF_BLUEPRINTS = ("add_blueprint_node", "add_blueprint_connection")


class BlueprintRates(Rates):
    """NEAT's, with those at which blueprints grow.

    Attributes:
      add_blueprint_node: probability that a blueprint's child gains a node.
      add_blueprint_connection: probability that it gains an edge.
    """

    add_blueprint_node: Array | float = 0.0
    add_blueprint_connection: Array | float = 0.0


class LEAFImages(LEAF):
    """Coevolution of modules and blueprints of layers on images.

    Args:
      config: static choices.
      data: gives shapes, sizes and tasks; the arrays are passed to each call.
      mesh: see ``CoDeepNEAT``.

    Raises:
      UserError: the shapes do not fit, or the validation examples tell no area.
    """

    config: LEAFImageConfig
    epochs = 8
    ways = IMAGES

    def __init__(
        self, config: LEAFImageConfig, data: Dataset, mesh: Mesh | None = None
    ) -> None:
        """Reads the shapes, and what the tasks are measured by."""
        super().__init__(config, data, mesh)
        several = np.asarray(data.targets.several)
        asked = {None: several, "auroc": True, "accuracy": False}[config.fitness]
        self.by_area = np.broadcast_to(asked, (self.tasks,))
        self.metrics = tuple("auroc" if area else "accuracy" for area in self.by_area)
        self.counted = self.evaluated(data) * config.batch
        for task in np.flatnonzero(self.by_area):
            _check_area(data, int(task), self.counted)

    def read_shapes(self, data: Dataset) -> None:
        """See ``Populations.read_shapes``; Dropout is a layer of its own."""
        super().read_shapes(data)
        config = self.config
        kernels = kernels_to(config.largest_kernel)
        self.maps = dataclasses.replace(self.maps, kernels=self.kinds.names)
        self.layers = typed_space(
            IMAGE_TYPES, kernels, self.filters, config.most_dropout, DECAY
        )

    def widths(
        self, image: int, kernels: tuple[int, ...], buckets: tuple[int, ...]
    ) -> Channels:
        """What convolutions read and make, and Dropout layers."""
        return Channels(image, (*kernels, NO_KERNEL), buckets)

    # Blueprints grow at rates of their own.

    def hyperparameters(self) -> Hyperparameters:
        """Those of every such search, and two of blueprints."""
        own = {name: getattr(self.config, name) for name in _OF_BLUEPRINTS}
        return super().hyperparameters() | own

    def rates(self, hyperparameters: Hyperparameters) -> BlueprintRates:
        """NEAT's."""
        own = {name: jnp.asarray(hyperparameters[name]) for name in _OF_BLUEPRINTS}
        return BlueprintRates(**vars(super().rates(hyperparameters)), **own)

    def table_rates(self, rates: Rates) -> Rates:
        """Those of blueprints."""
        assert isinstance(rates, BlueprintRates)
        return rates.replace(
            add_node=rates.add_blueprint_node,
            add_connection=rates.add_blueprint_connection,
        )

    # What a network is measured by.

    def evaluated(self, data: Dataset) -> int:
        """Validation batches that give a network's fitness, the first ones."""
        every = super().evaluated(data)
        return min(every, self.config.validation_batches or every)

    def no_tally(self) -> Tally:
        """What is known of a network: areas need all that it said."""
        if not self.by_area.any():
            return super().no_tally()
        return no_outputs(self.tasks, self.counted, max(self.classes))

    def selected(
        self, state: CoDeepNEATState, data: Dataset
    ) -> tuple[CoDeepNEATState, Float[Array, "T"], Bool[Array, ""]]:
        """See ``CoDeepNEAT.selected``; areas where tasks are measured by them."""
        state, accuracy, sound = super().selected(state, data)
        if not isinstance(state.tally, OutputTally):
            return state, accuracy, sound
        labels, mask = data.labels_of(VALIDATION, self.counted)
        area = mean_auroc(state.tally.logits, labels, mask, data.targets)
        return state, self.result({"accuracy": accuracy, "auroc": area}), sound

    def result(self, measured: dict[str, Array]) -> Float[Array, "T"]:
        """See ``LEAF.result``."""
        return jnp.where(self.by_area, measured["auroc"], measured["accuracy"])

    # What it costs.

    def trained_by(self, network: Network) -> str:
        """See ``LEAF.trained_by``: that of all."""
        return self.config.optimizer

    def at_the_edges(self, layer: int) -> int:
        """Of the decoders, which read the whole of the coarsest map."""
        decoders = self.model(self.no_rows, 0).features
        weights = (int(np.prod(decoders)) + 1) * sum(self.classes)
        return 2 * weights if self.config.secondary == "flops" else weights


def _check_area(data: Any, task: int, count: int) -> None:
    """Raises ``UserError`` where no label has examples with it and without."""
    rows = np.asarray(data.members[VALIDATION][task])[:count]
    rows = rows[: int(data.sizes[VALIDATION][task])]
    labels = np.asarray(data.labels[task])[rows][np.asarray(data.mask[task])[rows]]
    outputs = np.arange(int(data.classes[task]))
    if bool(data.targets.several[task]):
        there = labels[:, None] >> outputs & 1 == 1
    else:
        there = labels[:, None] == outputs
    if not (there.any(0) & ~there.all(0)).any():
        raise UserError(
            f"--fitness: found auroc, but of the {len(labels)} labelled validation "
            f"examples of {data.names[task]} that count, none has a label that another "
            "lacks; must be accuracy, or more --validation-batches"
        )
