"""Weights of networks of layers: one array for all kernels, whatever their shapes.

Shape legend: ``N`` nodes, ``F`` weights there is room for, ``C`` channels of a map,
``M`` weights of the largest kernel.

Every slot of a network takes as much of the array as its kernel needs, one after the
other, so that one capacity serves every mixture of kernels. The array ends with room
for the largest kernel, because kernels' gradients are added padded to that size.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.architectures.layers import (
    INITIALIZERS,
    KERNELS,
    Network,
    convolutions,
    weighted,
)
from evojax_mtl.pytrees import Pytree

HE = INITIALIZERS.index("he")


@dataclass(frozen=True)
class Channels:
    """Widths of what convolutions read and make.

    Attributes:
      image: channels of an image.
      kernels: sides of the kernels that layers may have.
      buckets: output channels, ascending; the last is that of every map.
      padded: whether what reads an image reads all channels of a map, as those do that
        are applied to maps elsewhere.
    """

    image: int
    kernels: tuple[int, ...]
    buckets: tuple[int, ...]
    padded: bool = False

    @property
    def map(self) -> int:
        """Channels ``C`` of every map."""
        return self.buckets[-1]

    @property
    def largest(self) -> int:
        """Weights of the largest kernel, ``M``."""
        return max(self.kernels) ** 2 * self.map**2

    @property
    def operations(self) -> list[tuple[int, int, int]]:
        """Kernel side, input and output channels, by operation after the merge."""
        found = convolutions(self.kernels, self.buckets)
        if self.padded:
            return [(k, self.map, o) for k, o, image in found if not image]
        return [(k, self.image if image else self.map, o) for k, o, image in found]

    @property
    def of_maps(self) -> list[tuple[int, int, int]]:
        """The first of the ``operations``: those that do not read an image alone."""
        return self.operations[: len(self.kernels) * len(self.buckets)]


class Layout(Pytree):
    """Where the weights of a network lie.

    Attributes:
      begin: first weight of each node's kernel.
      size: weights that each node brings: 0 for those that share another's.
      total: weights in use.
    """

    begin: Int[Array, "N"]
    size: Int[Array, "N"]
    total: Int[Array, ""]


def layout(network: Network, channels: Channels) -> Layout:
    """Where a network's weights lie."""
    sizes = jnp.asarray([0, *(k * k * i * o for k, i, o in channels.operations)])
    size = jnp.where(weighted(network), sizes[network.architecture.operation], 0)
    ends = jnp.cumsum(size)
    begin = (ends - size)[network.architecture.slot]
    return Layout(begin.astype(jnp.int32), size.astype(jnp.int32), ends[-1])


def owner(lies: Layout, capacity: int) -> Int[Array, "F"]:
    """The node that each weight belongs to; beyond those in use the last node."""
    ends = jnp.cumsum(lies.size)
    found = jnp.searchsorted(ends, jnp.arange(capacity), side="right")
    return jnp.minimum(found, ends.shape[0] - 1)


def decay_of(network: Network, lies: Layout, capacity: int) -> Float[Array, "F"]:
    """L2 regularisation of each weight; 0 beyond those in use."""
    found = network.layers.decay[owner(lies, capacity)]
    return jnp.where(jnp.arange(capacity) < lies.total, found, 0)


def initial(
    key: Array, network: Network, lies: Layout, channels: Channels, capacity: int
) -> dict[str, Array]:
    """Random kernels and zero biases.

    Glorot uniform, or He uniform (deviation by inputs alone), as the network says;
    only channels that are not 0 count.

    Returns:
      ``kernels``, ``(F,)``, and ``biases``, ``(N, C)``, by slot.
    """
    layers = network.layers
    window = jnp.asarray(np.array(KERNELS) ** 2)[layers.kernel]
    fan_in, fan_out = window * layers.inputs, window * layers.filters
    fans = jnp.where(network.initializer == HE, fan_in, fan_in + fan_out)
    limit = jnp.sqrt(6 / jnp.maximum(fans, 1).astype(jnp.float32))
    draws = jax.random.uniform(key, (capacity,), minval=-1.0)
    nodes = layers.kernel.shape[0]
    return {
        "kernels": draws * limit[owner(lies, capacity)],
        "biases": jnp.zeros((nodes, channels.map)),
    }


def bucket_sizes(filters: int, buckets: int) -> tuple[int, ...]:
    """Widths of buckets, each about half of the next, the last ``filters``."""
    found = {max(1, -(-filters // 2**b)) for b in range(buckets)}
    return tuple(sorted(found))
