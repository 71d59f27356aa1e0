"""A training iteration, or a validation batch, of one assembled network.

Where tasks have several networks each, of all networks of one set of modules.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from evojax_mtl.evaluation.classification import correct, cross_entropy
from evojax_mtl.evaluation.optimizers import apply_gradients
from evojax_mtl.evaluation.outputs import OutputTally
from evojax_mtl.evaluation.training import Tally
from evojax_mtl.networks.assembled import AssembledNetworks, Lists
from evojax_mtl.networks.supernet import finite_networks
from evojax_mtl.tasks.dataset import Batch, Targets
from evojax_mtl.tasks.text_dataset import TextBatch


class Training(NamedTuple):
    """What changes in a tick: weights, the optimiser's state, the tally."""

    params: Any
    optimizer: Any
    tally: Tally


def _labels(
    model: AssembledNetworks, batch: Batch | TextBatch, targets: Targets
) -> tuple[Array, Array, Targets]:
    """Labels, masks and targets of each network."""
    task = np.repeat(np.arange(model.tasks), model.networks // model.tasks)
    return batch.labels[task], batch.mask[task], targets.take(task)


def train_or_score(
    model: AssembledNetworks,
    transformation: optax.GradientTransformation,
    lists: Lists,
    learning_rate: Array | float,
    sofar: Training,
    examples: Any,
    batch: Batch | TextBatch,
    targets: Targets,
    key: Array,
    index: Int[Array, ""],
) -> Training:
    """One step of the optimiser on a batch, or its share of the accuracy.

    A step follows the sum of the tasks' losses and of L2. Both are one program: the
    forward pass is the same.

    Args:
      model: what all networks have in common.
      transformation: the optimiser.
      lists: of the network.
      learning_rate: of this step.
      sofar: before.
      examples: of every task, as the model reads them.
      batch: their labels.
      targets: what the labels mean.
      key: dropout's.
      index: number of the validation batch; below 0 it is a step.
    """
    params, state, tally = sofar
    trains = index < 0
    labels = _labels(model, batch, targets)

    def run(params):
        return model.apply(params, lists, examples, key, jnp.where(trains, 1.0, 0))

    logits, pull = jax.vjp(run, params)

    def loss(logits):
        return jnp.sum(cross_entropy(logits, *labels))

    value, wanted = jax.value_and_grad(loss)(logits)

    def step(params, state):
        (slopes,) = pull(wanted)
        kernels = params["layers"]["kernels"]
        decayed = slopes["layers"]["kernels"] + 2 * lists.decay * kernels
        slopes = slopes | {"layers": slopes["layers"] | {"kernels": decayed}}
        return apply_gradients(transformation, slopes, state, params, learning_rate)

    def rest(params, state):
        return params, state, jnp.array(True)

    params, state, taken = jax.lax.cond(trains, step, rest, params, state)
    right, seen = correct(logits, *labels)
    tally = tally.replace(
        loss=tally.loss + jnp.where(trains, value, 0),
        skipped=tally.skipped + ~taken,
        right=tally.right + jnp.where(trains, 0, right),
        seen=tally.seen + jnp.where(trains, 0, seen),
        finite=tally.finite & finite_networks(logits),
    )
    if isinstance(tally, OutputTally):
        tally = tally.kept(logits, index, ~trains)
    return Training(params, state, tally)


def score(
    model: AssembledNetworks,
    lists: Lists,
    params: Any,
    examples: Any,
    batch: Batch | TextBatch,
    targets: Targets,
    tally: Tally,
) -> Tally:
    """``tally`` plus one batch of every task."""
    logits = model.apply(params, lists, examples, jax.random.key(0), 0.0)
    right, seen = correct(logits, *_labels(model, batch, targets))
    return tally.replace(
        right=tally.right + right,
        seen=tally.seen + seen,
        finite=tally.finite & finite_networks(logits),
    )
