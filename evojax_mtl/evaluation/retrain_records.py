"""What retraining works on and tells: examples, state, metrics, result.

Shape legend: ``n`` examples, ``B`` examples a batch, ``H`` x ``W`` pixels, ``c``
channels, ``L`` classes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from evojax_mtl.pytrees import Pytree

Images = Float[Array, "B H W c"]


class Examples(Pytree):
    """Examples on the device.

    Attributes:
      images: 0 to 255.
      labels: in ``[0, L)``; -1, in a test alone, for one that does not count.
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


class Counts(Pytree):
    """A test in counts, which add up over parts of the examples.

    Attributes:
      confusion: examples by true class, then by the class chosen.
      among_five: examples whose class is among the five likeliest; None where there are
        no more than five classes.
    """

    confusion: Int[Array, "L L"]
    among_five: Int[Array, ""] | None


class EpochMetrics(NamedTuple):
    """An epoch in numbers.

    Attributes:
      epoch: from 1.
      loss: mean cross-entropy of the training batches (nats), without the auxiliary
        head's, of smoothed labels where they are smoothed; NaN if no step was finite.
      train_accuracy: share of the training examples that were classified right when
        their batch came, as augmented; NaN if no step was finite.
      skipped: steps whose gradient was not finite.
      accuracy: on the test examples, None where the epoch is not tested.
      top_five: share of the test examples whose class is among the five likeliest; None
        where the epoch is not tested or there are no more than five classes.
    """

    epoch: int
    loss: float
    train_accuracy: float
    skipped: int
    accuracy: float | None = None
    top_five: float | None = None


class Tested(NamedTuple):
    """A network on the test examples.

    Attributes:
      epoch: after which it was tested, from 1.
      accuracy: share classified right.
      top_five: share whose class is among the five likeliest; None where there are no
        more than five classes.
      confusion: ``(L, L)`` examples by true class, then by the class chosen.
    """

    epoch: int
    accuracy: float
    top_five: float | None
    confusion: np.ndarray

    @classmethod
    def of(cls, epoch: int, counts: Counts) -> "Tested":
        """What the counts of a whole test say."""
        confusion, among_five = jax.device_get((counts.confusion, counts.among_five))
        total = int(confusion.sum())
        top_five = None if among_five is None else int(among_five) / total
        return cls(epoch, int(np.trace(confusion)) / total, top_five, confusion)


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
