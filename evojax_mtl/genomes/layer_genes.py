"""Hyperparameters of a layer that is of one of several types (Liang 2019, Table 3).

A gene each for the type, the window of a convolution, its activation, the width in
units or channels, the rate of a Dropout layer and the weight decay. Genes that a type
has no use for stay in the table, where they evolve unseen.

Where the paper leaves room: the rate is read as the Dropout layers' alone, and the
activation as the convolutions'. A Dropout layer is as wide as what it reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.architectures.layers import ACTIVATIONS, DROPOUT
from evojax_mtl.genomes.hyperparameters import Choice, Integer, Real, Space

_LINEAR = ACTIVATIONS.index("linear")


@dataclass(frozen=True)
class TypedSpace(Space):
    """Genes whose ``decode`` tells what ``assembly.embed`` reads.

    ``kernel`` is the number of a layer: convolutions by their windows, then the other
    types; ``passes`` marks the layers that pass on as many channels as they read.

    Attributes:
      types: of layers, the convolutions first.
      windows: of the convolutions: taps, on images the side of the kernel.
    """

    types: tuple[str, ...] = ()
    windows: tuple[int, ...] = ()

    def decode(self, values: Float[Array, "*n F"]) -> dict[str, Array]:
        """What the genes stand for, by name."""
        found = super().decode(values)
        kind, window = found.pop("type"), found.pop("window")
        convolves = kind == 0
        drops = kind == self.types.index(DROPOUT)
        return found | {
            "kernel": jnp.where(convolves, window, kind + len(self.windows) - 1),
            "activation": jnp.where(convolves, found["activation"], _LINEAR),
            "dropout": jnp.where(drops, found["dropout"], 0),
            "passes": drops,
        }


def typed_space(
    types: Sequence[str],
    windows: Sequence[int],
    filters: tuple[int, int],
    dropout: float,
    decay: tuple[float, float],
) -> TypedSpace:
    """The table of a layer.

    Args:
      types: what it may be, the convolution first; one is ``DROPOUT``.
      windows: that convolutions may have, ascending.
      filters: fewest and most units or channels.
      dropout: largest rate.
      decay: weakest and strongest L2 regularisation.
    """
    types, windows = tuple(types), tuple(windows)
    genes = (
        Choice("type", types),
        Choice("window", windows),
        Choice("activation", ACTIVATIONS),
        Integer("filters", *filters),
        Real("dropout", 0.0, dropout),
        Real("decay", *decay, "log"),
    )
    return TypedSpace(genes, types, windows)
