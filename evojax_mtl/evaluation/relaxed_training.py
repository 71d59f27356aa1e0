"""Learning an architecture by gradients: choices that are relaxed to shares.

An architecture that is chosen so is a function of *logits*, which follow the gradient
of the summed losses on scenes that the weights are not trained on, by Adam (Liu et al.
2019, DARTS, first order).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from evojax_mtl.evaluation.dense_losses import dense_losses, present
from evojax_mtl.networks.dense_network import DenseNetwork, Weights
from evojax_mtl.pytrees import Pytree
from evojax_mtl.tasks.dense_dataset import DenseBatch


class Relaxed(Pytree):
    """Logits of the choices, and Adam's moments of them."""

    logits: Float[Array, "*choices"]
    moments: Any


def relaxed(
    logits: Float[Array, "*choices"], transformation: optax.GradientTransformation
) -> Relaxed:
    """Before the first step."""
    return Relaxed(logits, transformation.init(logits))


def relaxed_step(
    network: DenseNetwork,
    transformation: optax.GradientTransformation,
    weights: Weights,
    batch: DenseBatch,
    choices: Relaxed,
    rate: Float[Array, ""],
    *,
    architecture: Callable[[Float[Array, "*choices"]], Any],
    penalty: Callable[[Float[Array, "*choices"]], Float[Array, ""]],
    key: Array,
) -> Relaxed:
    """One step of the logits, with fixed weights; none if it is not finite.

    Args:
      network: whose architecture is chosen.
      transformation: of the gradient, before the rate.
      weights: of the network; its batch norms use the statistics of the batch.
      batch: tasks without labels are left out.
      choices: as they are.
      rate: of this step.
      architecture: from logits to what the network reads.
      penalty: from logits to what is added to the losses.
      key: of dropout.
    """
    tasks, size = len(network.outputs), batch.images.shape[1:3]

    def total(logits):
        shown = architecture(logits)
        representation, _ = network.encode(
            weights.encoder,
            weights.statistics["encoder"],
            batch.images,
            shown,
            train=True,
        )
        views = jax.tree.map(
            lambda x: jnp.broadcast_to(x, (tasks, *x.shape)), representation
        )
        predictions, _ = network.decode(
            weights.own,
            weights.statistics["own"],
            views,
            shown,
            (size[0], size[1]),
            key=key,
            train=True,
        )
        losses = dense_losses(predictions, batch)
        return jnp.sum(jnp.where(present(batch), losses, 0)) + penalty(logits)

    gradient = jax.grad(total)(choices.logits)
    changes, moments = transformation.update(gradient, choices.moments)
    new = Relaxed(choices.logits - rate * jnp.asarray(changes), moments)
    good = jnp.isfinite(gradient).all()
    return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, choices)
