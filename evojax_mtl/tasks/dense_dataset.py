"""Scenes of dense tasks as one pytree of device arrays, sampled in the compiled step.

Shape legend: ``N`` scenes (all splits together), ``s`` scenes of the largest split,
``B`` scenes a batch, ``H`` x ``W`` pixels. What the labels mean is in ``dense``.

The same names as those of ``dataset.Dataset``: ``tasks``, ``names``, ``split_sizes``,
``batches``, ``only``, ``sample`` and ``batch_at``.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from evojax_mtl.pytrees import Pytree, static
from evojax_mtl.tasks.dataset import TRAIN, in_place_of_test, pack_splits, pass_of
from evojax_mtl.tasks.dense import IGNORED, DenseTask, outputs
from evojax_mtl.tasks.task import SPLITS


class DenseBatch(Pytree):
    """Some scenes.

    Attributes:
      images: in ``[0, 1]``.
      labels: by task: ``segmentation`` int32 ``(B, H, W)``, ``depth`` float32
        ``(B, H, W, 1)``, ``normals`` float32 ``(B, H, W, 3)``.
      masks: by task, bool ``(B, H, W)``: which pixels count. Those of a scene beyond
        the end of a split do not.
    """

    images: Float[Array, "B H W 3"]
    labels: dict[str, Array]
    masks: dict[str, Bool[Array, "B H W"]]


def valid_pixels(task: str, labels: Array) -> Bool[Array, "B H W"]:
    """Which pixels have a label: a class, or values whose sum is not 0 (MTAN)."""
    if task == "segmentation":
        return labels != IGNORED
    return jnp.sum(labels, axis=-1) != 0


class DenseDataset(Pytree):
    """All scenes, and which split each is in.

    Attributes:
      images: 0 to 255.
      labels: by task, as ``dense.Scenes`` has them.
      members: rows of each split's scenes.
      sizes: how many of ``members`` count, per split.
      names: of the tasks, in order; a subset of ``dense.METRICS``.
      classes: of the segmentation.
      split_sizes: ``sizes`` as host integers.
    """

    images: UInt8[Array, "N H W 3"]
    labels: dict[str, Array]
    members: Int[Array, "3 s"]
    sizes: Int[Array, "3"]
    names: tuple[str, ...] = static()
    classes: tuple[str, ...] = static()
    split_sizes: tuple[int, int, int] = static()

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.names)

    @property
    def outputs(self) -> dict[str, int]:
        """Channels that a network predicts at each pixel, by task."""
        return {name: outputs(name, len(self.classes)) for name in self.names}

    def batches(self, split: int, batch: int) -> int:
        """Batches that a pass over a split takes (host integer)."""
        return -(-self.split_sizes[split] // batch)

    def _take(self, rows: Int[Array, "B"], valid: Bool[Array, "B"]) -> DenseBatch:
        images = self.images[rows].astype(jnp.float32) / 255
        labels = {name: self.labels[name][rows] for name in self.names}
        masks = {
            name: valid_pixels(name, found) & valid[:, None, None]
            for name, found in labels.items()
        }
        if "segmentation" in labels:
            labels["segmentation"] = labels["segmentation"].astype(jnp.int32)
        return DenseBatch(images, labels, masks)

    def only(self, split: int) -> "DenseDataset":
        """The same with ``split`` in the test split's place; see ``Dataset.only``."""
        return in_place_of_test(self, split)

    def sample(self, key: Array, batch: int) -> DenseBatch:
        """``batch`` training scenes, uniformly with replacement."""
        position = jax.random.randint(key, (batch,), 0, self.sizes[TRAIN])
        return self._take(self.members[TRAIN][position], jnp.ones((batch,), bool))

    def batch_at(
        self, split: Int[Array, ""] | int, index: Array | int, batch: int
    ) -> DenseBatch:
        """The ``index``-th batch of a pass over ``split`` (traced); rest masked."""
        return self._take(
            *pass_of(self.members[split], self.sizes[split], index, batch)
        )


def stack_scenes(tasks: Sequence[DenseTask]) -> DenseDataset:
    """Tasks of one ``Scenes`` as a ``DenseDataset``."""
    scenes = tasks[0].scenes
    if any(task.scenes is not scenes for task in tasks):
        raise ValueError("stack_scenes: found several Scenes; allowed: one")
    members, sizes, split_sizes = pack_splits([scenes.splits[k] for k in SPLITS])
    return DenseDataset(
        images=jnp.asarray(scenes.images),
        labels={task.name: jnp.asarray(scenes.labels[task.name]) for task in tasks},
        members=members,
        sizes=sizes,
        names=tuple(task.name for task in tasks),
        classes=scenes.classes,
        split_sizes=split_sizes,
    )


class ResidentScenes:
    """All scenes, on the device all the time: a ``streaming.TaskData``."""

    def __init__(self, tasks: Sequence[DenseTask]) -> None:
        """Puts the scenes on the device."""
        self._data = stack_scenes(tasks)

    def dataset(self, generation: int) -> DenseDataset:
        """The one data set."""
        return self._data
