"""Losses of dense tasks, over the pixels that count.

Shape legend: ``B`` scenes, ``H`` x ``W`` pixels, ``C`` channels, ``T`` tasks.

* segmentation: cross-entropy of ``C`` logits (nats);
* depth: absolute difference (m);
* normals: 1 less the cosine of the angle between prediction and label.

Each is a mean over pixels, as in LibMTL; with no pixel it is 0, where LibMTL's is NaN.
A prediction of normals is brought to unit length; 0, 0, 0 stays.

Sums over channels run with the channels first: XLA for CPU computes them with the
processor's vectors along a row of pixels, and one by one along few channels.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.tasks.dense import METRICS
from evojax_mtl.tasks.dense_dataset import DenseBatch

_LEAST = 1e-12
"""Length below which a normal counts as 0."""


def unit(vectors: Float[Array, "*n"], axis: int = -1) -> Float[Array, "*n"]:
    """Vectors of length 1 along ``axis``; 0, 0, 0 stays, with a gradient of 0."""
    squared = jnp.sum(jnp.square(vectors), axis=axis, keepdims=True)
    there = squared > _LEAST**2
    return jnp.where(there, vectors, 0) * jax.lax.rsqrt(jnp.where(there, squared, 1))


def _channels_first(pixels: Float[Array, "B H W C"]) -> Float[Array, "B C H W"]:
    return jnp.moveaxis(pixels, -1, 1)


def _segmentation(logits: Array, labels: Array) -> Array:
    logits = _channels_first(logits)
    chosen = labels[:, None] == jnp.arange(logits.shape[1])[:, None, None]
    picked = jnp.sum(jnp.where(chosen, logits, 0), axis=1)
    return jax.nn.logsumexp(logits, axis=1) - picked


def _depth(predicted: Array, labels: Array) -> Array:
    return jnp.abs(predicted - labels)[..., 0]


def _normals(predicted: Array, labels: Array) -> Array:
    predicted = unit(_channels_first(predicted), axis=1)
    return 1 - jnp.sum(predicted * _channels_first(labels), axis=1)


_PIXEL_LOSSES = {
    "segmentation": _segmentation,
    "depth": _depth,
    "normals": _normals,
}


def dense_loss(
    task: str,
    predicted: Float[Array, "B H W C"],
    labels: Array,
    mask: Bool[Array, "B H W"],
) -> Float[Array, ""]:
    """The mean over the pixels of ``mask``, in float32.

    Args:
      task: a key of ``tasks.dense.METRICS``.
      predicted: logits, depth or vectors; as many channels as ``DenseTask.outputs``.
      labels: as in ``DenseBatch``.
      mask: which pixels count.
    """
    each = _PIXEL_LOSSES[task](predicted.astype(jnp.float32), labels)
    return jnp.sum(jnp.where(mask, each, 0)) / jnp.maximum(jnp.sum(mask), 1)


def dense_losses(predicted: dict[str, Array], batch: DenseBatch) -> Float[Array, "T"]:
    """The loss of every task that is predicted, in the order of ``METRICS``."""
    return jnp.stack(
        [
            dense_loss(name, predicted[name], batch.labels[name], batch.masks[name])
            for name in METRICS
            if name in predicted
        ]
    )


def present(batch: DenseBatch) -> Bool[Array, "T"]:
    """Which tasks have a label at any pixel of the batch, in the order of ``METRICS``.

    What a ``Balancer`` takes as ``present``.
    """
    masks = [batch.masks[name] for name in METRICS if name in batch.masks]
    return jnp.stack([jnp.any(mask) for mask in masks])
