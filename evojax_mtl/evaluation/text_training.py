"""Training and scoring of a network for texts whose hyperparameters are data.

Shape legend: ``T`` tasks, ``B`` texts, ``L`` outputs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.classification import correct, cross_entropy
from evojax_mtl.evaluation.optimizers import apply_gradients
from evojax_mtl.networks.supernet import finite_networks
from evojax_mtl.networks.text_network import TextNetwork, Traits
from evojax_mtl.pytrees import Pytree
from evojax_mtl.tasks.text_dataset import TextBatch, TextDataset


class TextTally(Pytree):
    """What is known of a network so far.

    Attributes:
      right: validation texts classified right.
      seen: validation texts with a label.
      finite: whether its outputs have all been finite.
      losses: sum over training iterations and tasks (nats).
      skipped: iterations that changed nothing.
    """

    right: Int[Array, "T"]
    seen: Int[Array, "T"]
    finite: Bool[Array, ""]
    losses: Float[Array, ""]
    skipped: Int[Array, ""]

    @property
    def scores(self) -> Float[Array, "T"]:
        """Accuracies; 0 where outputs are not finite."""
        found = self.right / jnp.maximum(self.seen, 1)
        return jnp.where(self.finite, found, 0)


def no_text_tally(tasks: int) -> TextTally:
    """Of nothing."""
    none = jnp.zeros(tasks, jnp.int32)
    return TextTally(
        right=none,
        seen=none,
        finite=jnp.array(True),
        losses=jnp.zeros((), jnp.float32),
        skipped=jnp.zeros((), jnp.int32),
    )


def _decayed(path: Any, gradient: Array, weights: Array, decay: Array) -> Array:
    """The gradient with that of ``decay`` times the sum of squares; biases keep it."""
    name = jax.tree_util.keystr(path[-1:], simple=True)
    return gradient if name == "bias" else gradient + 2 * decay * weights


def train_text(
    network: TextNetwork,
    transformation: optax.GradientTransformation,
    traits: Traits,
    rates: tuple[Array, Array],
    carry: tuple[Any, Any, TextTally],
    data: TextDataset,
    batch: TextBatch,
    key: Array,
) -> tuple[Any, Any, TextTally]:
    """One step of the optimiser on the sum of the tasks' losses and of L2.

    Args:
      network: the layers.
      transformation: the optimiser.
      traits: of the network.
      rates: learning rate, and factor of L2.
      carry: weights, the optimiser's state, the tally; returned changed.
      data: has the words' vectors, and what the labels mean.
      batch: texts of every task.
      key: dropout's.
    """
    weights, state, tally = carry
    learning_rate, decay = rates
    vectors, mask = data.vectors(batch.tokens), batch.tokens > 0

    def slopes(units, weights):
        def loss(weights):
            logits = network.apply(units, weights, traits, vectors, mask, key, 1.0)
            losses = cross_entropy(logits, batch.labels, batch.mask, data.targets)
            return jnp.sum(losses), finite_networks(logits).all()

        return jax.value_and_grad(loss, has_aux=True)(weights)

    (value, finite), gradients = network.in_bucket(traits, slopes, weights)
    gradients = jax.tree_util.tree_map_with_path(
        lambda path, g, w: _decayed(path, g, w, decay), gradients, weights
    )
    weights, state, taken = apply_gradients(
        transformation, gradients, state, weights, learning_rate
    )
    tally = tally.replace(
        losses=tally.losses + value,
        skipped=tally.skipped + ~taken,
        finite=tally.finite & finite,
    )
    return weights, state, tally


def text_logits(
    network: TextNetwork,
    traits: Traits,
    weights: Any,
    data: TextDataset,
    batch: TextBatch,
) -> Float[Array, "T B L"]:
    """What a trained network says of some texts."""
    vectors, mask = data.vectors(batch.tokens), batch.tokens > 0
    key = jax.random.key(0)

    def outputs(units, weights):
        return network.apply(units, weights, traits, vectors, mask, key, 0.0)

    return network.in_bucket(traits, outputs, weights)


def score_text(
    network: TextNetwork,
    traits: Traits,
    weights: Any,
    data: TextDataset,
    batch: TextBatch,
    tally: TextTally,
) -> TextTally:
    """The tally plus one batch of texts."""
    logits = text_logits(network, traits, weights, data, batch)
    right, seen = correct(logits, batch.labels, batch.mask, data.targets)
    return tally.replace(
        right=tally.right + right,
        seen=tally.seen + seen,
        finite=tally.finite & finite_networks(logits).all(),
    )
