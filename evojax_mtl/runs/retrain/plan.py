"""One network to train: built, checked, and its images.

Shape legend: ``H`` x ``W`` pixels, ``c`` channels of an image.
"""

import zlib
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation import augmentation, photographs
from evojax_mtl.evaluation.retrain_data import Pool, TrainParts, UnseenParts
from evojax_mtl.evaluation.retrain_records import Tested, Training
from evojax_mtl.evaluation.retraining import Augment, Normalise, Retraining
from evojax_mtl.networks.cell_network import CellNetwork
from evojax_mtl.networks.darts_network import DartsNetwork
from evojax_mtl.runs.retrain.settings import (
    DartsNetworkConfig,
    DataConfig,
    Job,
    RetrainSettings,
    SearchNetworkConfig,
)
from evojax_mtl.tasks.task import Task


@dataclass(frozen=True)
class Plan:
    """What is needed to train the network of a job.

    Attributes:
      job: the job.
      task: its task.
      network: the plain network.
      part: the programs that train it.
      data: what is done to the images, and how many are on the device.
      pool: the training examples.
      mean: of each channel of the training images, 0 to 1, ``(c,)``.
      std: likewise, the standard deviation; 1 where a channel is constant.
    """

    job: Job
    task: Task
    network: nn.Module
    part: Retraining
    data: DataConfig
    pool: Pool
    mean: np.ndarray
    std: np.ndarray

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(H, W, c)`` of what the network sees."""
        height, width, channels = self.task.input_shape
        side = self.data.resized_crop
        return (side, side, channels) if side else (height, width, channels)

    @cached_property
    def steps(self) -> int:
        """Steps of an epoch."""
        parts = self._parts(0)
        return parts.count * (parts.size // min(self.part.config.batch, parts.size))

    def _parts(self, seed: int) -> TrainParts:
        batch = self.part.config.batch
        return TrainParts(self.pool, self.data.resident, batch, (seed, self._number))

    @property
    def _number(self) -> int:
        """The task in a number, which its name alone decides."""
        return zlib.crc32(self.task.name.encode())

    def keys(self, seed: int) -> tuple[jax.Array, jax.Array]:
        """Of the first weights and of training: they follow from seed and task."""
        number = np.uint32(self._number)
        key = jax.random.fold_in(jax.random.key(seed), number)
        first, second = jax.random.split(key)
        return first, second

    def abstract(self) -> Any:
        """Shapes of the state.

        Raises:
          UserError: if the network does not fit the images.
        """
        image = jax.ShapeDtypeStruct((1, *self.task.input_shape), jnp.uint8)
        return jax.eval_shape(self.part.init, jax.random.key(0), image)

    def load(self, seed: int) -> tuple[TrainParts, UnseenParts]:
        """Training and test examples; their order follows from seed and task."""
        unseen = UnseenParts(Pool([self.task.test]), self.data.resident)
        return self._parts(seed), unseen

    def tested(self, state: Training, unseen: UnseenParts, epoch: int) -> Tested:
        """The test after epoch ``epoch``, which counts from 1."""
        counts = (
            self.part.test(state, unseen.part(0, number))
            for number in range(unseen.count)
        )
        return Tested.of(
            epoch, reduce(lambda a, b: jax.tree.map(jnp.add, a, b), counts)
        )


def make_plan(settings: RetrainSettings, job: Job, task: Task) -> Plan:
    """The plan of a job.

    Raises:
      UserError: if the task cannot be trained so, or the network does not fit.
    """
    if task.loss != "cross_entropy":
        raise UserError(
            f"task {task.name}: found loss {task.loss}, must be cross_entropy"
        )
    data = settings.data
    splits = [task.train]
    if data.train_on == "train+validation":
        splits.append(task.validation)
    for name, parts in (("training", splits), ("test", [task.test])):
        if not any(part.mask.any() for part in parts):
            raise UserError(f"task {task.name}: has no labelled {name} example")
    _check_images(task, data)
    pool = Pool(splits)
    mean, std = channel_moments(pool, data.resident)
    network = build_network(settings.architecture, job.code, task.classes)

    def normalise(images):
        return augmentation.normalise(images, jnp.asarray(mean), jnp.asarray(std))

    def prepare(images):
        if data.resized_crop:
            images = photographs.centre_crop(images, data.resized_crop)
        return normalise(images)

    augment = _augment(data, normalise)
    part = Retraining(network, settings.training, augment, prepare)
    plan = Plan(job, task, network, part, data, pool, mean, std)
    plan.load(settings.seed)  # reads nothing, but tells a part that is too small
    return plan


def _check_images(task: Task, data: DataConfig) -> None:
    """Raises ``UserError`` for images that cannot be augmented so."""
    height, width, channels = task.input_shape
    if data.resized_crop > min(height, width):
        raise UserError(
            f"--resized-crop: found {data.resized_crop}, must be at most the "
            f"{min(height, width)} pixels that images of task {task.name} have a side"
        )
    for name in ("jitter", "hue"):
        if getattr(data, name) and channels != 3:
            raise UserError(
                f"--{name}: found {getattr(data, name)}, must be 0 for the "
                f"{channels}-channel images of task {task.name}"
            )


def build_network(
    config: SearchNetworkConfig | DartsNetworkConfig,
    code: tuple[int, ...],
    classes: int,
) -> nn.Module:
    """The plain network of a genotype."""
    if isinstance(config, DartsNetworkConfig):
        return DartsNetwork(
            code, config.channels, config.stack, classes, config.auxiliary
        )
    return CellNetwork(
        code,
        config.channels,
        config.stack,
        classes,
        config.dropout,
        config.shared,
        config.stem,
    )


def channel_moments(
    pool: Pool, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, 0 to 1, float32 ``(c,)``.

    Of all images or, so that a disk need not be read whole, of ``most`` spread evenly.
    From counts of the 256 values: exact, and without a copy of the images.
    """
    size = len(pool)
    rows = np.arange(size)
    if most is not None and most < size:
        rows = rows[:most] * size // most
    values = np.arange(256) / 255
    counts = np.zeros((pool.image_shape[-1], 256), np.int64)
    for block in np.array_split(rows, -(-len(rows) // 1000)):
        images = pool.images(block)
        for channel, count in enumerate(counts):
            count += np.bincount(images[..., channel].ravel(), minlength=256)
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _augment(data: DataConfig, normalise: Normalise) -> Augment:
    def augment(key, images):
        crop, flip, cut, resized, colours = jax.random.split(key, 5)
        if data.crop:
            images = augmentation.random_crop(crop, images, data.crop)
        if data.resized_crop:
            side = data.resized_crop
            images = photographs.random_resized_crop(resized, images, side)
        if data.flip:
            images = augmentation.random_flip(flip, images)
        if data.jitter or data.hue:
            amounts = (data.jitter, data.hue)
            images = photographs.colour_jitter(colours, images, *amounts)
        images = normalise(images)
        if data.cutout:
            images = augmentation.cutout(cut, images, data.cutout)
        return images

    return augment
