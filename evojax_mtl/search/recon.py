"""Recon: layers in which tasks conflict the most are made each task's own (Shi 2023).

Shi, Li, Zhang, Chen, Wu 2023, "Recon: Reducing Conflicting Gradients from the Root for
Multi-Task Learning", ICLR. Code: moukamisama/Recon.

Shape legend: ``T`` tasks, ``P`` pairs of tasks, ``N`` layers.

1. ``searching`` generations train the network with all layers shared. In each step and
   for each pair of tasks the cosine of their gradients at each layer counts as a
   conflict where it is below ``severity``; the sums are the layers' scores.
2. The ``layers`` layers with the highest scores, the first of equals and none without a
   conflict, become each task's own. The network is trained anew, as
   ``search.retrained`` says, to the end.

Both phases balance the gradients of shared layers by ``balancing``; layers that are a
task's own, and heads, follow its loss (``networks.layered_network``). The authors'
``severity`` is 0 (Cityscapes, SegNet) and -0.02 (NYUv2, MTAN), their number of layers
25 and 15 on networks of other layers than these. Copies begin as the shared layers do.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from evojax_mtl.dense_configs import ReconConfig
from evojax_mtl.evaluation.conflicts import no_conflicts
from evojax_mtl.networks.layered_network import LayeredNetwork
from evojax_mtl.networks.mediative_network import task_pairs
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.dense import at_least_two
from evojax_mtl.search.dense_state import DenseState, DenseSums
from evojax_mtl.search.hps import balancer_of
from evojax_mtl.search.protocol import Metrics
from evojax_mtl.search.retrained import RetrainedSearch
from evojax_mtl.tasks.dense_dataset import DenseDataset


class Layers(Pytree):
    """What is known of the layers.

    Attributes:
      scores: conflicts in all generations of the search.
      specific: whether each task has its own.
    """

    scores: Int[Array, "N"]
    specific: Bool[Array, "N"]


class Recon(RetrainedSearch):
    """The search protocol for Recon."""

    method = "recon"
    looks = True

    def __init__(self, config: ReconConfig, data: DenseDataset) -> None:
        """Reads the shapes; raises ``UserError`` for a single task."""
        super().__init__(config, data)
        at_least_two(self.names)
        self.balancer = balancer_of(config, self.names)
        self.network = LayeredNetwork(self.backbone, self.outputs, self.image_shape)
        self.pairs = task_pairs(self.tasks)
        count = len(self.network.layers)
        self.initial = Layers(jnp.zeros((count,), jnp.int32), jnp.zeros((count,), bool))

    def shown(self, architecture: Layers) -> Bool[Array, "N"]:
        """The layers that are a task's own."""
        return architecture.specific

    def filled(self, weights: Any) -> Any:
        """With copies of the backbone's layers."""
        return self.network.copied(weights)

    def inspect(self, gradients: Any) -> Array:
        """Cosines of the pairs at each layer, ``(P, N)``."""
        return self.network.cosines(gradients["stages"], self.pairs)

    def no_sums(self, data: DenseDataset) -> DenseSums:
        """Of nothing."""
        sums = super().no_sums(data)
        none = no_conflicts(len(self.pairs), len(self.network.layers))
        return sums.replace(conflicts=none)

    def note(self, sums: DenseSums, seen: Array) -> DenseSums:
        """With the conflicts of one more mini-batch."""
        assert sums.conflicts is not None
        return sums.replace(conflicts=sums.conflicts.add(seen, self.config.severity))

    def observed(self, state: DenseState) -> DenseState:
        """With the conflicts of the current generation in the scores."""
        assert state.sums.conflicts is not None
        old = state.architecture
        scores = old.scores + jnp.sum(state.sums.conflicts.counts, 0)
        return state.replace(architecture=old.replace(scores=scores))

    def found(self, state: DenseState) -> Layers:
        """The layers with the highest scores."""
        scores = state.architecture.scores
        rank = jnp.argsort(jnp.argsort(-scores, stable=True))
        specific = (rank < self.config.layers) & (scores > 0)
        return state.architecture.replace(specific=specific)

    def told(self, state: DenseState) -> Metrics:
        """Scores and layers ``(N,)``."""
        known = state.architecture
        return {
            "scores": known.scores,
            "specific": known.specific.astype(jnp.int32),
            "specific_layers": jnp.sum(known.specific),
        }

    def sizes(self, state: DenseState) -> dict[str, Any]:
        """Of layers that are shared, and of the tasks' own in use."""
        specific = np.asarray(state.architecture.specific)
        masks = {stage: specific[p] for stage, p in self.network.places.items()}
        stages, own = state.params["encoder"]["stages"], state.params["own"]
        return {
            "shared": [stages[stage][~mask] for stage, mask in masks.items()],
            "layers": [
                part["layers"][stage][mask]
                for part in own.values()
                for stage, mask in masks.items()
            ],
            "heads": [part["head"] for part in own.values()],
        }

    def describe(self, state: DenseState) -> dict[str, Any]:
        """See ``Search.describe``; also the layers and their scores."""
        specific = np.asarray(state.architecture.specific)
        scores = np.asarray(state.architecture.scores).tolist()
        names = self.network.layers
        return super().describe(state) | {
            "specific": [names[i] for i in np.flatnonzero(specific)],
            "scores": dict(zip(names, scores, strict=True)),
        }
