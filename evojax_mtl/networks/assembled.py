"""Networks assembled from modules: identity encoders, soft merges, linear decoders.

Shape legend: ``T`` tasks, ``B`` examples a task, ``N`` nodes, ``L`` links, ``E`` edges,
``F`` weights of kernels there is room for, ``...`` the axes of a map.

One network serves all tasks. Its mini-batch is all tasks' examples, one after the
other; the soft merges and the decoders are each task's own (Liang 2018, 3.1).
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from evojax_mtl.architectures.layers import MERGE, Network, weighted
from evojax_mtl.architectures.schedule import Schedule, schedule
from evojax_mtl.networks import layer_weights
from evojax_mtl.networks.decoders import LinearDecoders, isolate
from evojax_mtl.networks.layer_sets import LayerSet, Mask
from evojax_mtl.networks.layer_tape import LayerPlan, execute_layers, numbers
from evojax_mtl.networks.layer_weights import Layout
from evojax_mtl.networks.preprocessing import preprocessed_images
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
      kinds: what layers there are.
      rows: capacity of each resolution's buffer.
      weights: weights of kernels there is room for, ``F``.
      links: edges that are soft-merged, the first of a network's.
      tasks: number of tasks ``T``.
      classes: outputs of every decoder.
      size: height and width of an image, or the steps of a sequence.
      preprocessing: ways to preprocess examples that networks choose from; without any
        they read them as they are.
    """

    kinds: LayerSet
    rows: tuple[int, ...]
    weights: int
    links: int
    tasks: int
    classes: int
    size: tuple[int, ...]
    preprocessing: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def capacity(self) -> int:
        """Weights in use and the margin that the tape needs."""
        return self.weights + self.kinds.largest

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
        lies = layer_weights.layout(network, self.kinds)
        decay = layer_weights.decay_of(network, lies, self.capacity)
        return Lists(network, work, lies, decay)

    # What an input is.

    @property
    def features(self) -> tuple[int, ...]:
        """Shape of what a decoder reads of an example."""
        return (*self.kinds.spaces(self.size, len(self.rows))[-1], self.kinds.map)

    def encode(
        self, params: dict[str, Any], network: Network, examples: Any
    ) -> tuple[Array, Mask]:
        """What the tape reads, all tasks' examples as one input, and its mask."""
        images = examples.reshape(1, -1, *examples.shape[2:])
        chosen = network.preprocessing
        return preprocessed_images(self.preprocessing, chosen, images), None

    def read_out(self, out: Array, mask: Mask) -> Array:
        """Features ``(TB, ...)`` of the coarsest map."""
        return out

    def parameters(self, network: Network, outputs: int) -> Any:
        """Weights in use; NumPy where the network is.

        Args:
          network: one network.
          outputs: of all decoders together.
        """
        own = self.kinds.parameters(network) * weighted(network)
        heads = (int(np.prod(self.features)) + 1) * outputs
        return own.sum() + heads + self._scales(network)

    def multiply_adds(self, network: Network, outputs: int) -> Any:
        """Of one example of one task, its decoder included; as ``parameters``."""
        architecture = network.architecture
        runs = architecture.active & (architecture.operation > MERGE)
        own = self.kinds.multiply_adds(network, self.size) * runs
        return own.sum() + int(np.prod(self.features)) * outputs // self.tasks

    def _scales(self, network: Network) -> Any:
        """Scales of the soft merges of several inputs, of all tasks."""
        architecture = network.architecture
        edge, target = (
            x[: self.links] for x in (architecture.edge, architecture.target)
        )
        nodes = np.arange(network.module.shape[0])[:, None]
        degree = ((target == nodes) & edge).sum(1)
        return self.tasks * (degree * (degree > 1)).sum()

    def init(self, key: Array, network: Network) -> dict[str, Any]:
        """Random weights; all scales of soft merges are equal."""
        layer_key, head_key = jax.random.split(key)
        shape = self.networks, 1, *self.features
        heads = self.decoders.init(head_key, jnp.zeros(shape))["params"]
        lies = layer_weights.layout(network, self.kinds)
        layers = layer_weights.initial(
            layer_key, network, lies, self.kinds, self.capacity
        )
        merge = jnp.zeros((self.networks, self.links))
        return {"layers": layers, "merge": merge, "heads": heads}

    def apply(
        self,
        params: dict[str, Any],
        lists: Lists,
        examples: Any,
        key: Array,
        rate: Float[Array, ""] | float,
    ) -> Float[Array, "T B _"]:
        """Logits of every task; NaN where its own weights are not finite.

        Args:
          params: as ``init`` makes them.
          lists: of the network.
          examples: of every task: images ``(T, B, H, W, c)``.
          key: dropout's.
          rate: factor of the rates of dropout, 0 to evaluate.
        """
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
        weights = jnp.concatenate([shares.T, jnp.ones((others, self.tasks))])
        inputs, mask = self.encode(params, lists.network, examples)
        out = execute_layers(
            LayerPlan(self.kinds, self.rows),
            params["layers"],
            weights,
            inputs,
            lists.schedule,
            numbers(lists.network, lists.lies, rate, kinds=self.kinds),
            key,
            mask,
        )
        features = self.read_out(out[0], mask)
        features = features.reshape(self.tasks, -1, *features.shape[1:])
        return self.decoded(params, features, sound)

    def decoded(
        self,
        params: dict[str, Any],
        features: Float[Array, "P B *features"],
        sound: Bool[Array, "P"],
    ) -> Float[Array, "P B _"]:
        """Logits of the networks, NaN where they are not sound."""
        logits: Any = self.decoders.apply({"params": params["heads"]}, features)
        return jnp.where(sound[:, None, None], logits, jnp.nan)
