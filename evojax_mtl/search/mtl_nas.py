"""MTL-NAS: edges between the tasks' own backbones, learned by gradients (Gao 2020).

Gao, Bai, Jie, Ma, Jia, Liu 2020, "MTL-NAS: Task-Agnostic Neural Architecture Search
towards General-Purpose Multi-Task Learning", CVPR; a baseline of Tan 2024, Tables 1 and
2. Code: bhpfelix/MTLNAS.

Shape legend: ``T`` tasks, ``L = 5`` stages.

1. Each task has a backbone; after each stage it may fuse its map with those of the
   others (``networks.fused_network``). Every edge has a logit ``alpha``, 0 at first,
   and while the network is trained its gate is the sigmoid of it.
2. Before each training step, ``alpha`` takes one on scenes of the validation split
   (``evaluation.relaxed_training``): down the sum of the losses and of
   ``entropy_weight`` times the mean entropy of the gates, which drives them to 0 or 1.
3. What is evaluated has the edges whose gates are above a half, and nothing is trained
   anew: the search is the training.

Differs from the authors' code: the gates are not drawn at random while weights train;
tasks have equal weight; Adam for all, where the weights have SGD with rates of their
own for fusions and heads; a half of the training scenes there stands for the validation
split here. The backbones begin untrained unless ``pretrained``, where theirs begin as
those of single-task learning.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.equal import EqualWeighting
from evojax_mtl.dense_configs import MTLNASConfig
from evojax_mtl.evaluation.relaxed_training import Relaxed, relaxed
from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.fused_network import FusedNetwork
from evojax_mtl.search.dense import at_least_two
from evojax_mtl.search.dense_state import DenseState
from evojax_mtl.search.protocol import Metrics
from evojax_mtl.search.relaxed import RelaxedSearch
from evojax_mtl.tasks.dense_dataset import DenseDataset

Logits = Float[Array, "T _ L"]


def entropy(logits: Logits) -> Float[Array, ""]:
    """Mean entropy of the gates (nats): 0 where all are open or shut."""
    share = jax.nn.sigmoid(logits)
    return -jnp.mean(
        share * jax.nn.log_sigmoid(logits) + (1 - share) * jax.nn.log_sigmoid(-logits)
    )


class MTLNAS(RelaxedSearch):
    """The search protocol for MTL-NAS."""

    method = "mtl-nas"

    def __init__(self, config: MTLNASConfig, data: DenseDataset) -> None:
        """Reads the shapes; raises ``UserError`` for a single task."""
        super().__init__(config, data)
        at_least_two(self.names)
        self.balancer = Balancer(EqualWeighting(), self.names)
        self.network = FusedNetwork(self.backbone, self.outputs, self.image_shape)
        # the authors' first moment of the logits
        self.chooser = optax.scale_by_adam(b1=0.5)
        edges = jnp.zeros((self.tasks, self.tasks - 1, len(STAGES)))
        self.initial = relaxed(edges, self.chooser)

    def shown(self, architecture: Relaxed) -> Float[Array, "T _ L"]:
        """The gates, while the network is trained."""
        return jax.nn.sigmoid(architecture.logits)

    def evaluated(self, architecture: Relaxed) -> Float[Array, "T _ L"]:
        """The gates, 0 or 1."""
        return (architecture.logits > 0).astype(jnp.float32)

    def _train(self, key, data, hyperparameters, tick, state):
        weight = hyperparameters["entropy_weight"]
        choices = self.learn(
            key,
            data,
            hyperparameters,
            tick,
            state,
            state.architecture,
            architecture=jax.nn.sigmoid,
            penalty=lambda logits: weight * entropy(logits),
        )
        state = state.replace(architecture=choices)
        return super()._train(key, data, hyperparameters, tick, state)

    def told(self, state: DenseState) -> Metrics:
        """Gates ``(T (T - 1) L,)``, their entropy, and the edges kept."""
        logits = state.architecture.logits
        return {
            "gates": jax.nn.sigmoid(logits).ravel(),
            "entropy": entropy(logits),
            "edges": jnp.sum(logits > 0),
        }

    def kept(self, state: DenseState) -> Any:
        """Which edges are kept, bool ``(T, T - 1, L)``; on the host, in NumPy."""
        return np.asarray(state.architecture.logits) > 0

    def sizes(self, state: DenseState) -> dict[str, Any]:
        """Of backbones, fusions without the edges that are shut, and heads."""
        encoder, kept = state.params["encoder"], self.kept(state)
        fusions = 0
        for i, stage in enumerate(self.network.stages):
            channels = stage.output[-1]
            fusions += (self.tasks + int(kept[:, :, i].sum())) * channels**2
            fusions += 2 * self.tasks * channels
        return {
            "backbones": encoder["stages"],
            "fusions": np.broadcast_to(np.int8(0), fusions),
            "heads": state.params["own"],
        }

    def describe(self, state: DenseState) -> dict[str, Any]:
        """See ``Search.describe``; also the edges."""
        edges = [
            {
                "stage": STAGES[i],
                "from": self.names[self.network.order[task, 1 + other]],
                "to": self.names[task],
            }
            for task, other, i in np.argwhere(self.kept(state))
        ]
        return super().describe(state) | {"edges": edges}
