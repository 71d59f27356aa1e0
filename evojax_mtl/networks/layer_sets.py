"""What a tape of layers asks of the kinds of layers that its nodes may be.

Shape legend: ``B`` examples, ``...`` the axes of a map (height and width, or steps),
``C`` channels, ``F`` weights, ``M`` weights of the largest layer, ``G`` biases of a
channel, ``N`` nodes.

A node's kind is its operation (``architectures.layers``): 0 merges, the others are
numbered by type and bucket. Weights of all kinds lie in one flat array, biases in rows
of ``G`` parts of ``C``. What every kind has in common is the tape's: bias, activation,
dropout, the mask of channels.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.layers import Network

Map = Float[Array, "B *space C"]
Mask = Any
"""The steps that are there, ``(B, L)``; None where all are."""


class Call(NamedTuple):
    """The node that is run, traced.

    Attributes:
      kind: its operation.
      begin: first weight.
      filters: output channels that are not masked.
      passes: whether what it reads has a gradient.
    """

    kind: Int[Array, ""]
    begin: Int[Array, ""]
    filters: Int[Array, ""]
    passes: Bool[Array, ""]


@runtime_checkable
class LayerSet(Protocol):
    """Kinds of layers, static; the parts are pure functions."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the types of layers, in the order of ``Layers.kernel``."""
        ...

    @property
    def map(self) -> int:
        """Channels ``C`` of every map."""
        ...

    @property
    def largest(self) -> int:
        """Weights of the largest layer, ``M``."""
        ...

    @property
    def gates(self) -> int:
        """Biases of a channel, ``G``."""
        ...

    @property
    def sizes(self) -> list[int]:
        """Weights of each operation, 0 for the merge."""
        ...

    @property
    def learned_input(self) -> bool:
        """Whether what networks read gets a gradient."""
        ...

    def spaces(self, size: tuple[int, ...], resolutions: int) -> list[tuple[int, ...]]:
        """Axes of the map at each resolution."""
        ...

    def masks(self, mask: Mask, resolutions: int) -> list[Mask]:
        """The steps that are there at each resolution; None where all are."""
        ...

    def biased(self, network: Network) -> Bool[Array, "N"]:
        """The nodes whose bias the tape adds."""
        ...

    def forward(
        self,
        resolution: int,
        kernels: Float[Array, "F"],
        bias: Float[Array, "GC"],
        call: Call,
        x: Map,
        mask: Mask,
    ) -> Map:
        """What the tape adds a bias to; ``x`` itself for a merge."""
        ...

    def backward(
        self,
        resolution: int,
        kernels: Float[Array, "F"],
        bias: Float[Array, "GC"],
        call: Call,
        x: Map,
        mask: Mask,
        gradient: Map,
    ) -> tuple[Float[Array, "M"], Float[Array, "GC"] | None, Map]:
        """Gradients of the weights, of biases the tape does not add, of ``x``."""
        ...

    def pool(self, x: Map, mask: Mask) -> Map:
        """``x`` one resolution coarser."""
        ...

    def pool_gradient(self, x: Map, y: Map, gradient: Map, mask: Mask) -> Map:
        """The gradient of what ``pool`` read; ``y`` is what it gave."""
        ...

    def fans(
        self, network: Network, node: Int[Array, "F"], place: Int[Array, "F"]
    ) -> tuple[Array, Array]:
        """Numbers that set the scale of random weights, by inputs and by outputs.

        ``place`` counts a weight from the first of its node's.
        """
        ...

    def biases(self, network: Network) -> Float[Array, "N GC"]:
        """Initial biases, by slot."""
        ...

    def parameters(self, network: Network) -> Any:
        """Weights and biases of each node, ``(N,)``; NumPy or traced."""
        ...

    def multiply_adds(self, network: Network, size: tuple[int, ...]) -> Any:
        """Of each node for one example, ``(N,)``; NumPy or traced."""
        ...


def namespace(array: Any) -> Any:
    """NumPy for what is on the host, where JAX would compile; else ``jax.numpy``."""
    return np if isinstance(array, np.ndarray | np.generic) else jnp


def volumes(network: Network, spaces: list[tuple[int, ...]]) -> Any:
    """Positions of the map that each node computes, ``(N,)``."""
    xp = namespace(network.module)
    counts = xp.asarray([int(np.prod(space)) for space in spaces])
    return counts[network.architecture.resolution]
