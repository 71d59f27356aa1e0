"""Networks of evolved modules whose routings are each network's own (Liang 2018, 3.4).

Shape legend: ``T`` tasks, ``I`` individuals a task, ``P = T * I`` networks (network
``t * I + i`` is individual ``i`` of task ``t``), ``B`` examples a task, ``N`` nodes,
``E`` edges.

All networks have their modules' weights in common, one set that lies as the first
network says: the nodes that own weights are the same in every network. Soft merges and
decoders are each network's own. All run on one tape.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evojax_mtl.architectures.layers import Network
from evojax_mtl.architectures.schedule import schedule
from evojax_mtl.networks import layer_weights
from evojax_mtl.networks.assembled import AssembledNetworks, Lists
from evojax_mtl.networks.decoders import isolate
from evojax_mtl.networks.layer_tape import LayerPlan, execute_layers, numbers
from evojax_mtl.networks.soft_merge import merge_weights


@dataclass(frozen=True)
class RoutedModules(AssembledNetworks):
    """What all sets of modules of a search have in common.

    Attributes:
      individuals: networks of each task.
    """

    individuals: int = 2

    @property
    def networks(self) -> int:
        """Networks ``P``."""
        return self.tasks * self.individuals

    def init(self, key: Array, network: Network) -> dict[str, Any]:
        """Random weights of all networks, ``(P, ...)``; see ``AssembledNetworks``."""
        return super().init(key, jax.tree.map(lambda x: x[0], network))

    def lists(self, network: Network) -> Lists:
        """The work lists of all networks, ``(P, ...)``, whose weights are one set."""
        inputs = jnp.asarray(np.repeat(np.arange(self.tasks), self.individuals))
        work = schedule(
            network.architecture,
            inputs,
            self.rows,
            input_count=self.tasks,
            stems=False,
        )
        lies = jax.vmap(layer_weights.layout, (0, None))(network, self.kinds)
        first, of_first = jax.tree.map(lambda x: x[0], (network, lies))
        decay = layer_weights.decay_of(first, of_first, self.capacity)
        return Lists(network, work, lies, decay)

    def apply(
        self,
        params: dict[str, Any],
        lists: Lists,
        examples: Float[Array, "T B H W c"],
        key: Array,
        rate: Float[Array, ""] | float,
    ) -> Float[Array, "P B L"]:
        """Logits of every network; see ``AssembledNetworks.apply``."""
        architecture = lists.network.architecture
        merge, sound = isolate(params["merge"])
        nodes = architecture.operation.shape[1]
        target, edge = (
            x[:, : self.links] for x in (architecture.target, architecture.edge)
        )
        shares = jax.vmap(merge_weights, (0, 0, 0, None))(merge, target, edge, nodes)
        others = architecture.edge.shape[1] - self.links
        weights = jnp.concatenate([shares, jnp.ones((self.networks, others))], 1)
        of_one = partial(numbers, kinds=self.kinds)
        each = jax.vmap(of_one, (0, 0, None))(lists.network, lists.lies, rate)
        out = execute_layers(
            LayerPlan(self.kinds, self.rows),
            params["layers"],
            weights.reshape(-1, 1),
            examples,
            lists.schedule,
            jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), each),
            key,
        )
        return self.decoded(params, out, sound)
