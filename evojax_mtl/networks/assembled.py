"""Networks assembled from modules: identity encoders, soft merges, linear decoders.

Shape legend: ``T`` tasks, ``B`` examples a task, ``N`` nodes, ``L`` links, ``E`` edges,
``F`` weights of kernels there is room for.

One network serves all tasks. Its mini-batch is all tasks' examples, one after the
other; the soft merges and the decoders are each task's own (Liang 2018, 3.1).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.architectures.layers import Network
from evojax_mtl.architectures.schedule import Schedule, schedule
from evojax_mtl.networks import layer_weights
from evojax_mtl.networks.decoders import LinearDecoders, isolate
from evojax_mtl.networks.layer_tape import LayerPlan, execute_layers, numbers
from evojax_mtl.networks.layer_weights import Channels, Layout
from evojax_mtl.networks.soft_merge import merge_weights
from evojax_mtl.pytrees import Pytree


class Lists(Pytree):
    """What one network is run by.

    Attributes:
      network: the network.
      schedule: its work lists.
      lies: where its weights lie.
      decay: L2 regularisation of each weight.
    """

    network: Network
    schedule: Schedule
    lies: Layout
    decay: Float[Array, "F"]


@dataclass(frozen=True)
class AssembledNetworks:
    """What all networks of a search have in common.

    Attributes:
      channels: widths.
      rows: capacity of each resolution's buffer.
      weights: weights of kernels there is room for, ``F``.
      links: edges that are soft-merged, the first of a network's.
      tasks: number of tasks ``T``.
      classes: outputs of every decoder.
      size: height and width of an image.
    """

    channels: Channels
    rows: tuple[int, ...]
    weights: int
    links: int
    tasks: int
    classes: int
    size: tuple[int, int]

    @property
    def capacity(self) -> int:
        """Weights in use and the margin that the tape needs."""
        return self.weights + self.channels.largest

    @property
    def networks(self) -> int:
        """Networks with merges and decoders of their own."""
        return self.tasks

    @cached_property
    def decoders(self) -> LinearDecoders:
        """One a network."""
        return LinearDecoders(self.networks, self.classes)

    def lists(self, network: Network) -> Lists:
        """The work lists of a network."""
        one = jax.tree.map(lambda x: x[None], network.architecture)
        inputs = jnp.zeros(1, jnp.int32)
        work = schedule(one, inputs, self.rows, input_count=1, stems=False)
        lies = layer_weights.layout(network, self.channels)
        decay = layer_weights.decay_of(network, lies, self.capacity)
        return Lists(network, work, lies, decay)

    def init(self, key: Array, network: Network) -> dict[str, Any]:
        """Random weights; all scales of soft merges are equal."""
        layer_key, head_key = jax.random.split(key)
        last = len(self.rows) - 1
        height, width = (side >> last for side in self.size)
        shape = self.networks, 1, height, width, self.channels.map
        heads = self.decoders.init(head_key, jnp.zeros(shape))["params"]
        lies = layer_weights.layout(network, self.channels)
        layers = layer_weights.initial(
            layer_key, network, lies, self.channels, self.capacity
        )
        merge = jnp.zeros((self.networks, self.links))
        return {"layers": layers, "merge": merge, "heads": heads}

    def apply(
        self,
        params: dict[str, Any],
        lists: Lists,
        images: Float[Array, "T B H W c"],
        key: Array,
        rate: Float[Array, ""] | float,
    ) -> Float[Array, "T B L"]:
        """Logits of every task; NaN where its own weights are not finite.

        Args:
          params: as ``init`` makes them.
          lists: of the network.
          images: examples of every task.
          key: dropout's.
          rate: factor of the rates of dropout, 0 to evaluate.
        """
        tasks, batch = images.shape[:2]
        architecture = lists.network.architecture
        merge, sound = isolate(params["merge"])
        nodes = architecture.operation.shape[0]
        target, edge = (
            x[: self.links] for x in (architecture.target, architecture.edge)
        )
        shares = jax.vmap(merge_weights, (0, None, None, None))(
            merge, target, edge, nodes
        )
        others = architecture.edge.shape[0] - self.links
        weights = jnp.concatenate([shares.T, jnp.ones((others, tasks))])
        out = execute_layers(
            LayerPlan(self.channels, self.rows),
            params["layers"],
            weights,
            images.reshape(1, tasks * batch, *images.shape[2:]),
            lists.schedule,
            numbers(lists.network, lists.lies, rate),
            key,
        )
        features = out.reshape(tasks, batch, *out.shape[2:])
        return self.decoded(params, features, sound)

    def decoded(
        self,
        params: dict[str, Any],
        features: Float[Array, "P B h w C"],
        sound: Bool[Array, "P"],
    ) -> Float[Array, "P B L"]:
        """Logits of the networks, NaN where they are not sound."""
        logits: Any = self.decoders.apply({"params": params["heads"]}, features)
        return jnp.where(sound[:, None, None], logits, jnp.nan)
