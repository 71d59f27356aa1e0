"""What retraining works on and tells: examples, state, metrics, result.

Shape legend: ``n`` examples, ``B`` examples a batch, ``H`` x ``W`` pixels, ``c``
channels, ``L`` classes.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from evojax_mtl.errors import UserError
from evojax_mtl.pytrees import Pytree
from evojax_mtl.tasks.task import Split

Images = Float[Array, "B H W c"]


class Examples(Pytree):
    """Examples on the device, all of them with a label.

    Attributes:
      images: 0 to 255.
      labels: in ``[0, L)``.
    """

    images: UInt8[Array, "n H W c"]
    labels: Int[Array, "n"]

    def take(self, rows: Int[Array, "B"]) -> tuple[Images, Int[Array, "B"]]:
        """Images in ``[0, 1]`` and labels of ``rows``."""
        return self.images[rows].astype(jnp.float32) / 255, self.labels[rows]


class Tally(Pytree):
    """Sums over the steps of an epoch that were taken.

    Attributes:
      loss: of the batches' mean cross-entropies (nats).
      correct: training examples classified right, as augmented and before the step.
      taken: the steps.
    """

    loss: Float[Array, ""]
    correct: Int[Array, ""]
    taken: Int[Array, ""]


class Training(Pytree):
    """All that training changes.

    Attributes:
      params: weights.
      batch_stats: running statistics of batch norm.
      optimizer: momentum.
      tally: of the epoch so far.
    """

    params: Any
    batch_stats: Any
    optimizer: Any
    tally: Tally


class EpochMetrics(NamedTuple):
    """An epoch in numbers.

    Attributes:
      epoch: from 1.
      loss: mean cross-entropy of the training batches (nats), without the auxiliary
        head's; NaN if no step was finite.
      train_accuracy: share of the training examples that were classified right when
        their batch came, as augmented; NaN if no step was finite.
      skipped: steps whose gradient was not finite.
      accuracy: on the test examples, None where the epoch is not tested.
    """

    epoch: int
    loss: float
    train_accuracy: float
    skipped: int
    accuracy: float | None


class Tested(NamedTuple):
    """A network on the test examples.

    Attributes:
      epoch: after which it was tested, from 1.
      accuracy: share classified right.
      confusion: ``(L, L)`` examples by true class, then by the class chosen.
    """

    epoch: int
    accuracy: float
    confusion: np.ndarray


class Retrained(NamedTuple):
    """What retraining gives.

    Attributes:
      variables: ``params`` and ``batch_stats`` after the last epoch.
      last: the test after the last epoch.
      best: the best test, the first of equals.
      history: every epoch.
    """

    variables: dict[str, Any]
    last: Tested
    best: Tested
    history: list[EpochMetrics]


def no_steps() -> Tally:
    """The tally that an epoch begins with."""
    return Tally(jnp.float32(0), jnp.int32(0), jnp.int32(0))


def examples(split: Split) -> Examples:
    """The labelled examples of a split, on the device.

    Raises:
      UserError: if there are none.
    """
    rows = np.flatnonzero(split.mask)
    if not len(rows):
        raise UserError("examples: found none with a label, must be 1 or more")
    labels = np.asarray(split.labels)[rows].astype(np.int32)
    return Examples(jnp.asarray(np.asarray(split.images)[rows]), jnp.asarray(labels))
