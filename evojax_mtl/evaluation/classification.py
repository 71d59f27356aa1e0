"""Cross-entropy and accuracy of networks that classify for different tasks.

Shape legend: ``P`` networks, ``B`` examples, ``L`` outputs of the widest task.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.networks.supernet import finite_networks


def _within(logits: Array, classes: Array) -> Array:
    absent = jnp.arange(logits.shape[-1]) >= classes[:, None, None]
    return jnp.where(absent, -jnp.inf, logits)


def cross_entropy(
    logits: Float[Array, "P B L"],
    labels: Int[Array, "P B"],
    mask: Bool[Array, "P B"],
    classes: Int[Array, "P"],
) -> Float[Array, "P"]:
    """Mean cross-entropy (nats) of each network over its masked examples.

    A network whose logits are not finite has loss 0 and no gradient, so that it cannot
    spoil the weights it shares. Classes that a task lacks have probability 0.
    """
    finite = finite_networks(logits)
    logits = jnp.where(finite[:, None, None], logits, 0)
    log_probabilities = jax.nn.log_softmax(_within(logits, classes))
    picked = jnp.take_along_axis(log_probabilities, labels[..., None], -1)[..., 0]
    counted = mask & finite[:, None]
    total = -jnp.sum(jnp.where(counted, picked, 0), axis=1)
    return total / jnp.maximum(counted.sum(1), 1)


def correct(
    logits: Float[Array, "P B L"],
    labels: Int[Array, "P B"],
    mask: Bool[Array, "P B"],
    classes: Int[Array, "P"],
) -> Int[Array, "P"]:
    """Masked examples that each network classifies right."""
    right = jnp.argmax(_within(logits, classes), axis=-1) == labels
    return jnp.sum(right & mask, axis=1)
