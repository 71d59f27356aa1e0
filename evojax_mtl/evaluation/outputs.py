"""What networks say of a whole split, and what accuracy and area come to on it.

Shape legend: ``P`` networks, ``T`` tasks, ``B`` examples a batch, ``n`` examples of a
split, ``L`` outputs of the widest task.

Accuracy adds up over batches; an area under the ROC curve needs all examples at once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.auroc import mean_auroc
from evojax_mtl.evaluation.classification import correct
from evojax_mtl.evaluation.training import Tally, no_tally
from evojax_mtl.networks.supernet import finite_networks
from evojax_mtl.tasks.dataset import TEST


class OutputTally(Tally):
    """A tally that keeps what networks say of validation examples.

    Attributes:
      logits: in the order of the pass.
    """

    logits: Float[Array, "P n L"]

    def kept(
        self,
        logits: Float[Array, "P B L"],
        batch: Int[Array, ""],
        told: Bool[Array, ""],
    ) -> "OutputTally":
        """With those of one batch of the pass, by its number, if they are ``told``."""
        size = logits.shape[1]
        first = jnp.where(told, batch * size, self.logits.shape[1])
        rows = first + jnp.arange(size)
        return self.replace(logits=self.logits.at[:, rows].set(logits, mode="drop"))


def no_outputs(networks: int, examples: int, outputs: int) -> OutputTally:
    """Of nothing."""
    logits = jnp.zeros((networks, examples, outputs))
    return OutputTally(**vars(no_tally(networks)), logits=logits)


def measure_outputs(
    logits_of: Callable[[Any], Array], data: Any, size: int
) -> dict[str, Float[Array, "T"]]:
    """Each task's ``accuracy`` and ``auroc`` on the test split.

    Both 0 where an output is not finite; the area is NaN where no label or class has
    examples of both kinds.

    Args:
      logits_of: what a network says of a batch, ``(T, B, L)``.
      data: has the examples.
      size: of a batch (examples a task).
    """

    def outputs(index):
        batch = data.batch_at(TEST, index, size)
        return logits_of(batch), batch.labels, batch.mask

    batches = jax.lax.map(outputs, jnp.arange(data.batches(TEST, size)))

    def joined(parts):
        parts = jnp.moveaxis(parts, 0, 1)
        return parts.reshape(parts.shape[0], -1, *parts.shape[3:])

    logits, labels, mask = map(joined, batches)
    right, seen = correct(logits, labels, mask, data.targets)
    accuracy = jnp.where(finite_networks(logits), right / jnp.maximum(seen, 1), 0)
    return {
        "accuracy": accuracy,
        "auroc": mean_auroc(logits, labels, mask, data.targets),
    }
