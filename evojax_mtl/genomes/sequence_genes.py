"""Hyperparameters of a layer on sequences (Liang 2019, Table 3).

A gene each for the type, the taps of a convolution, its activation, the width in units,
the rate of a Dropout layer and the weight decay. Genes that a type has no use for stay
in the table, where they evolve unseen.

Where the paper leaves room: the rate is read as the Dropout layers' alone, and the
activation as the convolutions'. A Dropout layer is as wide as what it reads.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.architectures.layers import ACTIVATIONS, SEQUENCE_TYPES
from evojax_mtl.genomes.hyperparameters import Choice, Integer, Real, Space

_LINEAR = ACTIVATIONS.index("linear")
_CONVOLUTION, _DROPOUT = (SEQUENCE_TYPES.index(n) for n in ("conv1d", "dropout"))


@dataclass(frozen=True)
class SequenceSpace(Space):
    """Genes whose ``decode`` tells what ``assembly.embed`` reads.

    ``kernel`` is the number of a layer in ``architectures.layers.sequence_layers``;
    ``passes`` marks the layers that pass on as many channels as they read.

    Attributes:
      taps: how many the convolutions may have.
    """

    taps: tuple[int, ...] = ()

    def decode(self, values: Float[Array, "*n F"]) -> dict[str, Array]:
        """What the genes stand for, by name."""
        found = super().decode(values)
        kind, taps = found.pop("type"), found.pop("taps")
        convolves = kind == _CONVOLUTION
        drops = kind == _DROPOUT
        return found | {
            "kernel": jnp.where(convolves, taps, kind + len(self.taps) - 1),
            "activation": jnp.where(convolves, found["activation"], _LINEAR),
            "dropout": jnp.where(drops, found["dropout"], 0),
            "passes": drops,
        }


def sequence_space(
    taps: tuple[int, ...],
    units: tuple[int, int],
    dropout: float,
    decay: tuple[float, float],
) -> SequenceSpace:
    """The table of a layer.

    Args:
      taps: how many convolutions may have, ascending.
      units: fewest and most.
      dropout: largest rate.
      decay: weakest and strongest L2 regularisation.
    """
    genes = (
        Choice("type", SEQUENCE_TYPES),
        Choice("taps", taps),
        Choice("activation", ACTIVATIONS),
        Integer("filters", *units),
        Real("dropout", 0.0, dropout),
        Real("decay", *decay, "log"),
    )
    return SequenceSpace(genes, taps)
