"""CoNAL: tasks branch off a shared backbone where they conflict (Yue 2023).

Yue, Zhang, Liang 2023, "Learning Conflict-Noticed Architecture for Multi-Task
Learning", AAAI; a baseline of Tan 2024, Tables 1 and 2. Code: yuezhihong/CoNAL.

Shape legend: ``T`` tasks, ``L = 5`` stages.

1. ``searching`` generations train the network of ``networks.branching_network``: each
   task reads a sum of its ``L`` private tails and of the shared backbone, with shares
   that are a softmax of logits ``alpha`` ``(T, L + 1)``, all 1 at first. Before each
   training step ``alpha`` takes one on scenes of the validation split
   (``evaluation.relaxed_training``). ``balancing`` is of the shared stages; the
   paper's, ``conal``, leaves a stage as it is where any two tasks conflict. Private
   stages and heads follow their task's loss.
2. A task's branch is where its share is the largest. The network of these branches is
   trained anew, as ``search.retrained`` says, by the plain sum of the losses, to the
   end.

The authors' code never calls their rule for conflicts: ``--balancing equal`` is what it
does. Differs from it: no decay of weights, no clipping, and a fifth of the training
scenes there stands for the validation split here.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.dense_configs import CoNALConfig
from evojax_mtl.evaluation.relaxed_training import Relaxed, relaxed
from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.branching_network import POINTS, BranchingNetwork
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.dense import at_least_two
from evojax_mtl.search.dense_state import DenseState
from evojax_mtl.search.hps import balancer_of
from evojax_mtl.search.protocol import Metrics
from evojax_mtl.search.relaxed import RelaxedSearch
from evojax_mtl.search.retrained import RetrainedSearch
from evojax_mtl.tasks.dense_dataset import DenseDataset


class Branches(Pytree):
    """Where the tasks branch off.

    Attributes:
      choices: logits of the branching points.
      points: that were chosen: a stage, or ``L`` for none.
      chosen: whether they were.
    """

    choices: Relaxed
    points: Int[Array, "T"]
    chosen: Bool[Array, ""]


def chosen_points(architecture: Branches) -> Int[np.ndarray, "T"]:
    """The branching points, or what they would be now; on the host, in NumPy."""
    if architecture.chosen:
        return np.asarray(architecture.points)
    return np.argmax(np.asarray(architecture.choices.logits), 1)


class CoNAL(RetrainedSearch, RelaxedSearch):
    """The search protocol for CoNAL."""

    method = "conal"

    def __init__(self, config: CoNALConfig, data: DenseDataset) -> None:
        """Reads the shapes; raises ``UserError`` for a single task."""
        super().__init__(config, data)
        at_least_two(self.names)
        self.balancer = balancer_of(config, self.names)
        self.network = BranchingNetwork(self.backbone, self.outputs, self.image_shape)
        self.chooser = self.transformation
        self.initial = Branches(
            relaxed(jnp.ones((self.tasks, POINTS)), self.chooser),
            jnp.zeros((self.tasks,), jnp.int32),
            jnp.array(False),
        )

    def shown(self, architecture: Branches) -> Float[Array, "T _"]:
        """The shares of all tails."""
        soft = jax.nn.softmax(architecture.choices.logits)
        hard = jax.nn.one_hot(architecture.points, POINTS)
        return jnp.where(architecture.chosen, hard, soft)

    def plain(self, state: DenseState) -> Bool[Array, ""]:
        """Once the branches are found."""
        return state.architecture.chosen

    def filled(self, weights: Any) -> Any:
        """With private stages that begin as the shared ones."""
        return self.network.copied(weights)

    def found(self, state: DenseState) -> Branches:
        """The branches with the largest shares."""
        old = state.architecture
        points = jnp.argmax(old.choices.logits, 1).astype(jnp.int32)
        return old.replace(points=points, chosen=jnp.array(True))

    def _train(self, key, data, hyperparameters, tick, state):
        old = state.architecture
        learn = partial(
            self.learn,
            key,
            data,
            hyperparameters,
            tick,
            state,
            architecture=jax.nn.softmax,
            penalty=lambda logits: jnp.zeros(()),
        )
        choices = jax.lax.cond(old.chosen, lambda x: x, learn, old.choices)
        state = state.replace(architecture=old.replace(choices=choices))
        return super()._train(key, data, hyperparameters, tick, state)

    def told(self, state: DenseState) -> Metrics:
        """Shares ``(T (L + 1),)``, and branching points."""
        shares = self.shown(state.architecture)
        return {"shares": shares.ravel(), "branches": jnp.argmax(shares, 1)}

    def sizes(self, state: DenseState) -> dict[str, Any]:
        """Of what the branches take."""
        points = chosen_points(state.architecture)
        own = state.params["own"]
        return {
            "shared": [
                state.params["encoder"]["stages"][n] for n in STAGES[: max(points)]
            ],
            "private": [
                own[name]["private"][stage]
                for name, point in zip(self.names, points, strict=True)
                for stage in STAGES[point:]
            ],
            "heads": [part["head"] for part in own.values()],
        }

    def describe(self, state: DenseState) -> dict[str, Any]:
        """See ``Search.describe``; also the first private stage of each task."""
        points = chosen_points(state.architecture)
        ends = (*STAGES, None)
        branches = {n: ends[p] for n, p in zip(self.names, points, strict=True)}
        return super().describe(state) | {"branches": branches}
