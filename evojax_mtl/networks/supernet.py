"""The supernet: weights for every slot, and any architecture over them.

Shape legend: ``P`` networks, ``N`` nodes, ``E`` edges, ``T`` inputs, ``B`` examples,
``C`` channels, ``L`` classes.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.architectures.schedule import Schedule
from evojax_mtl.architectures.table import Architecture
from evojax_mtl.networks.decoders import LinearDecoders, isolate
from evojax_mtl.networks.executor import execute
from evojax_mtl.networks.operations import Operation
from evojax_mtl.networks.soft_merge import merge_weights
from evojax_mtl.networks.tape import Plan


class Supernet(nn.Module):
    """Stacked weights of an operation set, run by the executor.

    Attributes:
      operations: the operation set.
      slots: weight slots of each operation.
      channels: channels ``C`` of every map.
    """

    operations: tuple[Operation, ...]
    slots: int
    channels: int

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "T B H W c"],
        weights: Float[Array, "P E"],
        schedule: Schedule,
        *,
        train: bool,
        key: Array,
        rate: Float[Array, ""] | float,
    ) -> Float[Array, "P B h w C"]:
        """What the networks' outputs read; see ``execute``."""
        params = tuple(
            self.param(f"operation_{i}", operation.init, self.slots, self.channels)
            for i, operation in enumerate(self.operations)
        )
        capacities = tuple(source.shape[0] for source in schedule.import_source)
        plan = Plan(self.operations, capacities, self.channels, train)
        return execute(plan, params, weights, images, schedule, key, rate)


class RoutedNetworks(nn.Module):
    """Complete networks: identity encoders, supernet, soft merges, linear decoders.

    Attributes:
      supernet: the shared weights.
      networks: networks ``P``, each with a decoder of its own.
      classes: outputs ``L`` of every decoder (those a task lacks are masked by the
        loss).
      merge_shape: shape of the learned scales.
      edge_logits: scales of all edges ``(P, E)`` from the learned ones.
    """

    supernet: Supernet
    networks: int
    classes: int
    merge_shape: tuple[int, ...]
    edge_logits: Callable[[Any], Any]

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "T B H W c"],
        architecture: Architecture,
        schedule: Schedule,
        *,
        train: bool,
        key: Array,
        rate: Float[Array, ""] | float,
    ) -> Float[Array, "P B L"]:
        """Logits of every network's task; NaN where its own weights are not finite."""
        merge = self.param("merge", nn.initializers.zeros, self.merge_shape)
        merge, sound = isolate(merge)
        nodes = architecture.operation.shape[-1]
        weights = jax.vmap(merge_weights, (0, 0, 0, None))(
            self.edge_logits(merge), architecture.target, architecture.edge, nodes
        )
        x = self.supernet(images, weights, schedule, train=train, key=key, rate=rate)
        decoders = LinearDecoders(self.networks, self.classes, name="decoders")
        return jnp.where(sound[:, None, None], decoders(x), jnp.nan)


def finite_networks(logits: Float[Array, "P B L"]) -> Bool[Array, "P"]:
    """The networks whose logits are all finite."""
    return jnp.isfinite(logits).all(axis=(1, 2))
