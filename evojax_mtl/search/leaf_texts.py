"""LEAF on texts (Liang 2019, 4.1): modules of Conv1D, LSTM, GRU and Dropout layers.

Shape legend: ``B`` texts, ``L`` words, ``D`` dimensions of a word's vector.

See ``leaf``. Fitness is the accuracy. Blueprints carry learning rate, optimiser,
preprocessing, width and scale of random weights. The best network is the result as it
was measured, as training it longer did not help.

Where the paper leaves room: words' vectors pass a linear layer first, decoders read the
mean over time. Words were preprocessed by FastText there, as those of ``wikidetox`` are
here; what else may be done to their vectors, ``networks.preprocessing``, is ours. The
fitness there was the test split's, here it is the validation split's.
"""

from optax import GradientTransformation as Transformation

from evojax_mtl.architectures.layers import (
    SEQUENCE_TYPES,
    Network,
    kernels_to,
    sequence_layers,
)
from evojax_mtl.compiling import Options, in_haste
from evojax_mtl.evaluation.optimizers import chosen_optimizer
from evojax_mtl.genomes import assembly
from evojax_mtl.genomes.hyperparameters import Choice
from evojax_mtl.genomes.layer_genes import typed_space
from evojax_mtl.leaf_configs import LEAFConfig
from evojax_mtl.networks.assembled_texts import AssembledTexts, Words
from evojax_mtl.networks.layer_weights import bucket_sizes
from evojax_mtl.networks.preprocessing import WORDS
from evojax_mtl.networks.sequence_layers import SequenceLayers
from evojax_mtl.search.codeepneat_populations import DECAY
from evojax_mtl.search.leaf import LEAF
from evojax_mtl.search.leaf_hyperparameters import EPOCHS, OPTIMIZERS
from evojax_mtl.tasks.text_dataset import TextBatch, TextDataset


class LEAFTexts(LEAF):
    """Coevolution of modules and blueprints of layers on sequences.

    Args:
      config: static choices.
      data: gives shapes, sizes and tasks; the arrays are passed to each call.
      mesh: see ``CoDeepNEAT``.
    """

    config: LEAFConfig
    epochs = EPOCHS
    ways = WORDS

    @property
    def compiler(self) -> Options:
        """In haste where little is trained."""
        return self.lanes.compiled(in_haste(self.config.networks * self.iterations))

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
        self.layers = typed_space(
            SEQUENCE_TYPES, taps, self.filters, config.most_dropout, DECAY
        )

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

    def trained_by(self, network: Network) -> str:
        """See ``LEAF.trained_by``."""
        return OPTIMIZERS[int(network.optimizer)]

    def at_the_edges(self, layer: int) -> int:
        """No more than a layer: both are linear."""
        return layer
