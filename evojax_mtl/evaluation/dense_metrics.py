"""Metrics of dense tasks over a whole split: sums that grow batch by batch.

Shape legend: ``T`` tasks, ``L`` classes, ``B`` scenes, ``H`` x ``W`` pixels, ``A``
angle bins.

* ``mean_iou``, ``pixel_accuracy``: of one confusion matrix of all valid pixels;
* ``absolute_error``, ``relative_error``: means over all valid pixels of ``|p - g|`` (m)
  and of that over ``g`` (fraction);
* ``mean_angle``, ``median_angle``: of the angles between prediction and label at all
  valid pixels (degrees), and the shares of them below 11.25, 22.5 and 30 degrees.

As LibMTL's, but: the median comes from a histogram of ``A`` bins and is exact to half
a bin, 0.005 degrees; classes that neither labels nor predictions hold are left out of
``mean_iou``, which LibMTL makes NaN; a split without a valid pixel gives NaN.
"""

from typing import Protocol

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.dense_losses import unit
from evojax_mtl.pytrees import Pytree
from evojax_mtl.tasks.dense import METRICS
from evojax_mtl.tasks.dense_dataset import DenseBatch, DenseDataset

_BINS = 18_000
_LIMITS = (11.25, 22.5, 30.0)
HIGHER = {
    "mean_iou": True,
    "pixel_accuracy": True,
    "absolute_error": False,
    "relative_error": False,
    "mean_angle": False,
    "median_angle": False,
    "within_11.25": True,
    "within_22.5": True,
    "within_30": True,
}
"""All metrics in the papers' order, and whether higher is better."""

OF_TASK = {
    "segmentation": ("mean_iou", "pixel_accuracy"),
    "depth": ("absolute_error", "relative_error"),
    "normals": tuple(HIGHER)[4:],
}
"""Metrics of each task."""

_SCORES = {
    "segmentation": "mean_iou",
    "depth": "absolute_error",
    "normals": "within_11.25",
}


def _count(place: Array, mask: Array, length: int) -> Int[Array, "_"]:
    """How many pixels of ``mask`` are at each place."""
    found = jnp.bincount(jnp.where(mask, place, length).ravel(), length=length + 1)
    return found[:-1].astype(jnp.int32)


class Sums(Protocol):
    """What a task adds up."""

    def add(
        self, predicted: Array, labels: Array, mask: Bool[Array, "B H W"]
    ) -> "Sums":
        """With the pixels of a batch."""
        ...

    def measures(self) -> tuple[Array, ...]:
        """The metrics of ``OF_TASK``."""
        ...


class Confusion(Pytree):
    """Pixels by class, and by predicted class."""

    pixels: Int[Array, "L L"]

    def add(
        self, predicted: Array, labels: Array, mask: Bool[Array, "B H W"]
    ) -> "Confusion":
        """See ``Sums``."""
        count = len(self.pixels)
        place = labels * count + jnp.argmax(predicted, axis=-1)
        found = _count(place, mask, count * count)
        return Confusion(self.pixels + found.reshape(count, count))

    def measures(self) -> tuple[Array, ...]:
        """See ``Sums``."""
        pixels = self.pixels.astype(jnp.float32)
        right = jnp.diagonal(pixels)
        either = pixels.sum(0) + pixels.sum(1) - right
        shares = jnp.where(either > 0, right / jnp.where(either > 0, either, 1), 0)
        return shares.sum() / (either > 0).sum(), right.sum() / pixels.sum()


class DepthErrors(Pytree):
    """Sums over valid pixels (m; fraction), and how many there are."""

    absolute: Float[Array, ""]
    relative: Float[Array, ""]
    count: Int[Array, ""]

    def add(
        self, predicted: Array, labels: Array, mask: Bool[Array, "B H W"]
    ) -> "DepthErrors":
        """See ``Sums``."""
        error = jnp.where(mask, jnp.abs(predicted - labels)[..., 0], 0)
        share = error / jnp.where(mask, labels[..., 0], 1)
        return DepthErrors(
            self.absolute + jnp.sum(error),
            self.relative + jnp.sum(share),
            self.count + jnp.sum(mask),
        )

    def measures(self) -> tuple[Array, ...]:
        """See ``Sums``."""
        return self.absolute / self.count, self.relative / self.count


class Angles(Pytree):
    """Sum over valid pixels (degrees), how many are below limits and in each bin."""

    total: Float[Array, ""]
    within: Int[Array, "3"]
    bins: Int[Array, "A"]

    def add(
        self, predicted: Array, labels: Array, mask: Bool[Array, "B H W"]
    ) -> "Angles":
        """See ``Sums``."""
        cosine = jnp.clip(jnp.sum(unit(predicted) * labels, axis=-1), -1, 1)
        angle = jnp.where(mask, jnp.degrees(jnp.arccos(cosine)), jnp.inf)
        place = jnp.minimum(angle * (_BINS / 180), _BINS - 1).astype(jnp.int32)
        return Angles(
            self.total + jnp.sum(jnp.where(mask, angle, 0)),
            self.within + jnp.stack([jnp.sum(angle < limit) for limit in _LIMITS]),
            self.bins + _count(place, mask, _BINS),
        )

    def measures(self) -> tuple[Array, ...]:
        """See ``Sums``; the median is of the bins' middles."""
        upto, count = jnp.cumsum(self.bins), self.bins.sum()
        middle = jnp.stack([(count + 1) // 2, count // 2 + 1])
        places = jnp.mean(jnp.searchsorted(upto, middle)) + 0.5
        return self.total / count, places * (180 / _BINS), *(self.within / count)


class DenseTally(Pytree):
    """Sums over the batches so far.

    Attributes:
      sums: by task.
      finite: by task, whether all predictions at valid pixels were finite.
    """

    sums: dict[str, Sums]
    finite: dict[str, Bool[Array, ""]]


def no_dense_tally(data: DenseDataset) -> DenseTally:
    """Of nothing."""
    zero, none = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
    count, bins = len(data.classes), jnp.zeros((_BINS,), jnp.int32)
    empty: dict[str, Sums] = {
        "segmentation": Confusion(jnp.zeros((count, count), jnp.int32)),
        "depth": DepthErrors(zero, zero, none),
        "normals": Angles(zero, jnp.zeros((3,), jnp.int32), bins),
    }
    return DenseTally(
        sums={name: empty[name] for name in data.names},
        finite={name: jnp.ones((), bool) for name in data.names},
    )


def add_batch(
    tally: DenseTally, predicted: dict[str, Array], batch: DenseBatch
) -> DenseTally:
    """The tally with the predictions of a batch; jit it, or scan it.

    Args:
      tally: of the batches before.
      predicted: by task, ``(B, H, W, C)``: logits, depth (m), vectors of any length.
      batch: labels, and which pixels count.
    """
    sums, finite = {}, {}
    for name, old in tally.sums.items():
        values, mask = predicted[name].astype(jnp.float32), batch.masks[name]
        good = jnp.isfinite(values).all(axis=-1) | ~mask
        finite[name] = tally.finite[name] & jnp.all(good)
        sums[name] = old.add(values, batch.labels[name], mask)
    return DenseTally(sums, finite)


def dense_metrics(tally: DenseTally) -> dict[str, Float[Array, ""]]:
    """The metrics of all tasks by name; NaN where predictions were not finite."""
    found = {}
    for task, sums in tally.sums.items():
        for name, value in zip(OF_TASK[task], sums.measures(), strict=True):
            found[name] = jnp.where(tally.finite[task], value, jnp.nan)
    return found


def scores(tally: DenseTally) -> Float[Array, "T"]:
    """The metric of each task that ``tasks.dense.METRICS`` names, in its order."""
    found = dense_metrics(tally)
    names = [_SCORES[task] for task in METRICS if task in tally.sums]
    return jnp.stack([found[name] * (1 if HIGHER[name] else -1) for name in names])
