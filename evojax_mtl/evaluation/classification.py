"""Loss and accuracy of networks that classify for different tasks.

Shape legend: ``P`` networks, ``B`` examples, ``L`` outputs of the widest task.

Where an example has one label, the loss is cross-entropy and an example is classified
right or not. Where it may have several, each output decides on one of them by itself:
the loss is the mean of their binary cross-entropies, and each decision is counted.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.networks.supernet import finite_networks
from evojax_mtl.tasks.dataset import Targets


def present_outputs(outputs: int, targets: Targets) -> Bool[Array, "P 1 L"]:
    """Which outputs a task has."""
    return jnp.arange(outputs) < targets.classes[:, None, None]


def label_bits(labels: Int[Array, "P B"], outputs: int) -> Int[Array, "P B L"]:
    """Each label of examples that may have several, 0 or 1."""
    return labels[..., None] >> jnp.arange(outputs) & 1


def cross_entropy(
    logits: Float[Array, "P B L"],
    labels: Int[Array, "P B"],
    mask: Bool[Array, "P B"],
    targets: Targets,
) -> Float[Array, "P"]:
    """Mean loss (nats) of each network over its masked examples.

    A network whose logits are not finite has loss 0 and no gradient, so that it cannot
    spoil the weights it shares. Classes that a task lacks have probability 0.
    """
    finite = finite_networks(logits)
    logits = jnp.where(finite[:, None, None], logits, 0)
    outputs = logits.shape[-1]
    present = present_outputs(outputs, targets)
    several = targets.several[:, None]
    log_probabilities = jax.nn.log_softmax(jnp.where(present, logits, -jnp.inf))
    index = jnp.where(several, 0, labels)[..., None]
    one = -jnp.take_along_axis(log_probabilities, index, -1)[..., 0]
    each = optax.sigmoid_binary_cross_entropy(logits, label_bits(labels, outputs))
    many = jnp.where(present, each, 0).sum(-1) / targets.classes[:, None]
    counted = mask & finite[:, None]
    total = jnp.sum(jnp.where(counted, jnp.where(several, many, one), 0), axis=1)
    return total / jnp.maximum(counted.sum(1), 1)


def correct(
    logits: Float[Array, "P B L"],
    labels: Int[Array, "P B"],
    mask: Bool[Array, "P B"],
    targets: Targets,
) -> tuple[Int[Array, "P"], Int[Array, "P"]]:
    """Masked examples that each network classifies right, and how many there are.

    Where an example may have several labels, decisions on labels: an output above 0
    says that it has the label.
    """
    outputs = logits.shape[-1]
    present = present_outputs(outputs, targets)
    one = jnp.argmax(jnp.where(present, logits, -jnp.inf), axis=-1) == labels
    each = ((logits > 0) == label_bits(labels, outputs)) & present
    right = jnp.where(targets.several[:, None], each.sum(-1), one)
    decisions = jnp.where(targets.several, targets.classes, 1)
    return jnp.sum(right * mask, axis=1), mask.sum(1) * decisions
