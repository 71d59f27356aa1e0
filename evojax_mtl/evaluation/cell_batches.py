"""Mini-batches of one task: their order, and what happens to the images.

Shape legend: ``T`` tasks, ``B`` images, ``H`` x ``W`` pixels, ``c`` image channels.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.augmentation import normalise, random_crop, random_flip
from evojax_mtl.tasks.dataset import TRAIN, Dataset, Targets


class Minibatch(NamedTuple):
    """Examples of one task.

    Attributes:
      images: normalised.
      labels: class indices, or bits of several labels.
      mask: which examples count.
      targets: what the task's labels mean, once an example.
    """

    images: Float[Array, "B H W c"]
    labels: Int[Array, "B"]
    mask: Bool[Array, "B"]
    targets: Targets


@dataclass(frozen=True)
class Pipeline:
    """What happens to images on their way.

    Attributes:
      mean: of each task's channels, in ``[0, 1]``, ``(T, c)``.
      deviation: likewise.
      crop: padding of random crops in training (pixels).
      flip: whether training images are flipped at random.
    """

    mean: Any
    deviation: Any
    crop: int
    flip: bool

    def plain(
        self, images: Float[Array, "B H W c"], task: Int[Array, ""]
    ) -> Float[Array, "B H W c"]:
        """Normalised."""
        mean, deviation = jnp.asarray(self.mean), jnp.asarray(self.deviation)
        return normalise(images, mean[task], deviation[task])

    def augmented(
        self, key: Array, images: Float[Array, "B H W c"], task: Int[Array, ""]
    ) -> Float[Array, "B H W c"]:
        """Cropped, flipped, normalised."""
        crop_key, flip_key = jax.random.split(key)
        if self.crop:
            images = random_crop(crop_key, images, self.crop)
        if self.flip:
            images = random_flip(flip_key, images)
        return self.plain(images, task)


def epoch_rows(
    key: Array,
    data: Dataset,
    split: int,
    task: Int[Array, ""],
    index: Int[Array, ""] | int,
    batch: int,
) -> tuple[Int[Array, "B"], Bool[Array, "B"]]:
    """Rows of a mini-batch in an epoch's random order, and which are no repetition.

    The last batch of an epoch is filled up with its first examples, so that every step
    normalises over ``batch`` images.
    """
    size = data.sizes[split, task]
    most = data.members.shape[-1]
    draws = jnp.where(jnp.arange(most) < size, jax.random.uniform(key, (most,)), 2.0)
    order = jnp.argsort(draws)
    position = index * batch + jnp.arange(batch)
    return data.members[split, task, order[position % size]], position < size


def minibatch(data: Dataset, task: Array, rows: Int[Array, "B"]) -> Minibatch:
    """Examples of a task, images in ``[0, 1]``."""
    return Minibatch(
        images=data.images[task, rows].astype(jnp.float32) / 255,
        labels=data.labels[task, rows],
        mask=data.mask[task, rows],
        targets=data.targets.take(jnp.full_like(rows, task)),
    )


def scored_minibatch(
    data: Dataset,
    split: int,
    task: Int[Array, ""],
    index: Int[Array, ""],
    batch: int,
    key: Array | None = None,
    ordered: Bool[Array, ""] | bool = True,
) -> Minibatch:
    """Batch ``index`` of a pass over a split of a task; a random one by ``key``.

    ``ordered`` says that it is of the pass, whatever the key.
    Each batch of a pass takes examples from all over the split, which may be sorted by
    class: batch norms may use the batch's statistics.
    """
    size = data.sizes[split, task]
    position = index + data.batches(split, batch) * jnp.arange(batch)
    valid = position < size
    rows = data.members[split, task, position % size]
    if key is not None:
        drawn, fresh = epoch_rows(key, data, split, task, 0, batch)
        rows = jnp.where(ordered, rows, drawn)
        valid = jnp.where(ordered, valid, fresh)
    examples = minibatch(data, task, rows)
    return examples._replace(mask=examples.mask & valid)


def turns(sizes: np.ndarray, batches: int | None, batch: int) -> tuple[Any, Any]:
    """Task and number of each mini-batch of a generation, the tasks mixed evenly."""
    counts = [batches or -(-int(size) // batch) for size in sizes]
    order = [
        ((i + 0.5) / count, task, i)
        for task, count in enumerate(counts)
        for i in range(count)
    ]
    numbers = np.array([turn[1:] for turn in sorted(order)], np.int32)
    return numbers[:, 0], numbers[:, 1]


def image_moments(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each task's training images, ``(T, c)``."""
    images, members = np.asarray(data.images), np.asarray(data.members[TRAIN])
    means, deviations = [], []
    for t, size in enumerate(np.asarray(data.sizes[TRAIN])):
        own = images[t, members[t, :size]].reshape(-1, images.shape[-1]) / 255.0
        means.append(own.mean(0))
        deviations.append(np.maximum(own.std(0), 1e-3))
    return np.array(means, np.float32), np.array(deviations, np.float32)
