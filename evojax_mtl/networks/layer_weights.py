"""Weights of networks of layers: one array for all kernels, whatever their shapes.

Shape legend: ``N`` nodes, ``F`` weights there is room for, ``C`` channels of a map,
``G`` biases of a channel.

Every slot of a network takes as much of the array as its layer needs, one after the
other, so that one capacity serves every mixture of layers. The array ends with room
for the largest layer, because kernels' gradients are added padded to that size.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.architectures.layers import INITIALIZERS, Network, weighted
from evojax_mtl.networks.layer_sets import LayerSet
from evojax_mtl.pytrees import Pytree

HE = INITIALIZERS.index("he")


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


def layout(network: Network, kinds: LayerSet) -> Layout:
    """Where a network's weights lie."""
    sizes = jnp.asarray(kinds.sizes)
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
    key: Array, network: Network, lies: Layout, kinds: LayerSet, capacity: int
) -> dict[str, Array]:
    """Random kernels and initial biases.

    Glorot uniform, or He uniform (deviation by inputs alone), as the network says;
    only channels that are not 0 count.

    Returns:
      ``kernels``, ``(F,)``, and ``biases``, ``(N, GC)``, by slot.
    """
    node = owner(lies, capacity)
    place = jnp.arange(capacity) - (jnp.cumsum(lies.size) - lies.size)[node]
    fan_in, fan_out = kinds.fans(network, node, place)
    fans = jnp.where(network.initializer == HE, fan_in, fan_in + fan_out)
    limit = jnp.sqrt(6 / jnp.maximum(fans, 1).astype(jnp.float32))
    draws = jax.random.uniform(key, (capacity,), minval=-1.0)
    return {"kernels": draws * limit, "biases": kinds.biases(network)}


def bucket_sizes(filters: int, buckets: int) -> tuple[int, ...]:
    """Widths of buckets, each about half of the next, the last ``filters``."""
    found = {max(1, -(-filters // 2**b)) for b in range(buckets)}
    return tuple(sorted(found))
