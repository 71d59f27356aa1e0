"""MAMO: kernels that mediate where gradients conflict (Tan 2024, Algorithm 1).

Shape legend: ``T`` tasks, ``P`` pairs of tasks, ``S`` streams, ``L = 5`` stages.

1. ``pretraining`` generations train the shared backbone and the heads by the plain sum
   of the losses (line 1).
2. ``detections`` times, at the end of the last of these and then every ``interval``
   generations: conflicts of each pair at each stage, counted over the mini-batches of
   the generation that ends there (lines 3, 4; ``evaluation.conflicts``), and kernels
   where they are frequent (line 5; ``networks.mediative_network``). A new kernel is a
   copy of the stage it mediates, as it now is, with Adam's moments and the statistics
   of batch norms; an old one stays.
3. All other generations train shared weights and kernels by MGDA (lines 6, 7; Eq. 14)
   or ``balancing``, heads by their own losses.

The paper tells neither the length of the pre-training nor the interval, the
mini-batches of a detection, how kernels and fusion weights begin, nor MGDA's
normaliser: all are fields, or stand in ``networks.mediative_network``. Counting needs
no further pass: the tasks' gradients are there in every step.

``--balancing equal`` is MAMO without multi-objective optimisation, ``--kernels
exclusive`` MAMO without its kernels (Table 4), ``--balancing cagrad`` and ``pcgrad``
MAMO integrated with these (Fig. 5).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool

from evojax_mtl.dense_configs import MAMOConfig
from evojax_mtl.evaluation.conflicts import gradient_cosines, indicated, no_conflicts
from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.mediative_network import MediativeNetwork, task_pairs
from evojax_mtl.search.dense import DenseSearch, at_least_two
from evojax_mtl.search.dense_state import DenseState, DenseSums
from evojax_mtl.search.hps import balancer_of
from evojax_mtl.search.protocol import Metrics
from evojax_mtl.tasks.dense_dataset import DenseDataset


class MAMO(DenseSearch):
    """The search protocol for MAMO and its ablations."""

    method = "mamo"
    looks = True
    config: Any

    def __init__(self, config: MAMOConfig, data: DenseDataset) -> None:
        """Reads the shapes; raises ``UserError`` for a single task."""
        super().__init__(config, data)
        at_least_two(self.names)
        self.balancer = balancer_of(config, self.names)
        self.network = MediativeNetwork(
            self.backbone,
            self.outputs,
            self.image_shape,
            config.kernels,
            config.fusion,
        )
        self.initial = self.network.idle()
        self.pairs = task_pairs(self.tasks)

    def plain(self, state: DenseState) -> Bool[Array, ""]:
        """During the pre-training."""
        return state.generation < self.config.pretraining

    def inspect(self, gradients: Any) -> Array:
        """Cosines of the pairs at each stage, ``(P, L)``."""
        kernels = []
        if self.config.kernels == "mediative":
            kernels = [gradients["kernels"][name] for name in STAGES]
        stages = [gradients["stages"][name] for name in STAGES]
        return gradient_cosines(stages, kernels, self.pairs)

    def no_sums(self, data: DenseDataset) -> DenseSums:
        """Of nothing."""
        sums = super().no_sums(data)
        return sums.replace(conflicts=no_conflicts(len(self.pairs), len(STAGES)))

    def note(self, sums: DenseSums, seen: Array) -> DenseSums:
        """With the conflicts of one more mini-batch."""
        assert sums.conflicts is not None
        return sums.replace(conflicts=sums.conflicts.add(seen))

    def detects(self, state: DenseState) -> Bool[Array, ""]:
        """Whether the current generation ends with a detection."""
        c = self.config
        since = state.generation + 1 - c.pretraining
        number, rest = since // c.interval, since % c.interval
        return (since >= 0) & (rest == 0) & (number < c.detections)

    def restructure(self, key: Array, state: DenseState) -> DenseState:
        """Makes the kernels that the conflicts ask for, where it is time."""
        return jax.lax.cond(
            self.detects(state), self.activate, lambda state: state, state
        )

    def activate(self, state: DenseState) -> DenseState:
        """One detection, by the conflicts of the current generation."""
        assert state.sums.conflicts is not None
        found = indicated(
            state.sums.conflicts.counts, self.config.threshold, self.config.top
        )
        if self.config.kernels == "exclusive":
            members = np.zeros((self.tasks, len(self.pairs)), bool)
            for p, pair in enumerate(self.pairs):
                members[list(pair), p] = True
            found = jnp.asarray(members, jnp.int32) @ found.astype(jnp.int32) > 0
        return self.add_kernels(state, found)

    def add_kernels(self, state: DenseState, found: Bool[Array, "S L"]) -> DenseState:
        """With these kernels, and those there were."""
        network, before = self.network, state.architecture
        after = before | found
        new = after & ~before
        # a stream's statistics begin where it does, kernel or not
        begins = running(after) & ~running(before)
        weights, moments = state.system.weights, state.system.moments
        statistics = weights.statistics
        grown = statistics | {
            "encoder": network.grow(
                statistics["encoder"], new | begins, statistics=True
            )
        }
        weights = weights.replace(
            encoder=network.grow(weights.encoder, new),
            own=network.begin_fusion(weights.own, before, after),
            statistics=grown,
        )
        moments = moments._replace(
            mu=self._grown(moments.mu, new), nu=self._grown(moments.nu, new)
        )
        system = state.system.replace(weights=weights, moments=moments)
        return state.replace(system=system, architecture=after)

    def _grown(self, moments: Any, new: Bool[Array, "S L"]) -> Any:
        return moments | {"encoder": self.network.grow(moments["encoder"], new)}

    def told(self, state: DenseState) -> Metrics:
        """Conflicts and kernels, ``(P L,)`` and ``(S L,)``: a row's stages together."""
        conflicts = state.sums.conflicts
        assert conflicts is not None
        batches = jnp.maximum(conflicts.batches, 1)
        fusion = [w["fusion"] for w in state.system.weights.own.values()]
        return {
            "conflicts": conflicts.counts.ravel(),
            "cosines": (conflicts.cosines / batches).ravel(),
            "active": state.architecture.astype(jnp.int32).ravel(),
            "active_kernels": jnp.sum(state.architecture),
            "fusion_weights": jnp.stack(fusion).ravel(),
        }

    def sizes(self, state: DenseState) -> dict[str, Any]:
        """Of shared stages, kernels in use, and heads."""
        encoder = state.params["encoder"]
        active = np.asarray(state.architecture)
        kernels = [encoder["kernels"][n][active[:, i]] for i, n in enumerate(STAGES)]
        own = state.params["own"]
        return {
            "shared": encoder["stages"],
            "kernels": kernels,
            "heads": [weights["head"] for weights in own.values()],
            "fusion": np.zeros(int(self.network.members[active.any(1)].sum())),
        }

    def describe(self, state: DenseState) -> dict[str, Any]:
        """See ``Search.describe``; also kernels, and what the idle ones take."""
        active = np.asarray(state.architecture)
        members = self.network.members
        streams = [
            {
                "tasks": [self.names[t] for t in np.flatnonzero(members[s])],
                "kernels": [STAGES[i] for i in np.flatnonzero(active[s])],
            }
            for s in range(len(active))
        ]
        described = super().describe(state)
        allocated = optax.tree.size(state.params["encoder"]["kernels"])
        idle = allocated - described["parameters_of"]["kernels"]
        return described | {
            "streams": streams,
            "idle_kernel_parameters": idle,
            # weights and Adam's two moments
            "idle_kernel_bytes": 3 * 4 * idle,
        }


def running(active: Bool[Array, "S L"]) -> Bool[Array, "S L"]:
    """The stages that each stream passes: from its first kernel on."""
    return jnp.cumsum(active, 1) > 0
