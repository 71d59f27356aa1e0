"""One network to train: built, checked, and its images.

Shape legend: ``H`` x ``W`` pixels, ``c`` channels of an image.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation import augmentation
from evojax_mtl.evaluation.retraining import (
    Augment,
    Examples,
    Normalise,
    Retraining,
    examples,
)
from evojax_mtl.networks.cell_network import CellNetwork
from evojax_mtl.networks.darts_network import DartsNetwork
from evojax_mtl.runs.retrain.settings import (
    DartsNetworkConfig,
    DataConfig,
    Job,
    RetrainSettings,
    SearchNetworkConfig,
)
from evojax_mtl.tasks.task import Split, Task


@dataclass(frozen=True)
class Plan:
    """What is needed to train the network of a job.

    Attributes:
      job: the job.
      task: its task.
      network: the plain network.
      part: the programs that train it.
      split: the training examples.
      mean: of each channel of the training images, 0 to 1, ``(c,)``.
      std: likewise, the standard deviation; 1 where a channel is constant.
    """

    job: Job
    task: Task
    network: nn.Module
    part: Retraining
    split: Split
    mean: np.ndarray
    std: np.ndarray

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        examples = int(self.split.mask.sum())
        return examples // min(self.part.config.batch, examples)

    def keys(self, seed: int) -> tuple[jax.Array, jax.Array]:
        """Of the first weights and of training: they follow from seed and task."""
        name = np.uint32(zlib.crc32(self.task.name.encode()))
        first, second = jax.random.split(jax.random.fold_in(jax.random.key(seed), name))
        return first, second

    def abstract(self) -> Any:
        """Shapes of the state.

        Raises:
          UserError: if the network does not fit the images.
        """
        image = jax.ShapeDtypeStruct((1, *self.task.input_shape), jnp.uint8)
        return jax.eval_shape(self.part.init, jax.random.key(0), image)

    def load(self) -> tuple[Examples, Examples]:
        """Training and test examples, on the device."""
        return examples(self.split), examples(self.task.test)


def make_plan(settings: RetrainSettings, job: Job, task: Task) -> Plan:
    """The plan of a job.

    Raises:
      UserError: if the task cannot be trained so, or the network does not fit.
    """
    if task.loss != "cross_entropy":
        raise UserError(
            f"task {task.name}: found loss {task.loss}, must be cross_entropy"
        )
    split = _training_split(task, settings.data)
    for name, part in (("training", split), ("test", task.test)):
        if not part.mask.any():
            raise UserError(f"task {task.name}: has no labelled {name} example")
    mean, std = channel_moments(split)
    network = build_network(settings.architecture, job.code, task.classes)

    def normalise(images):
        return augmentation.normalise(images, jnp.asarray(mean), jnp.asarray(std))

    augment = _augment(settings.data, normalise)
    part = Retraining(network, settings.training, augment, normalise)
    return Plan(job, task, network, part, split, mean, std)


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
        code, config.channels, config.stack, classes, config.dropout, config.shared
    )


def _training_split(task: Task, data: DataConfig) -> Split:
    if data.train_on == "train":
        return task.train
    both = (task.train, task.validation)
    return Split(
        images=np.concatenate([split.images for split in both]),
        labels=np.concatenate([split.labels for split in both]),
        mask=np.concatenate([split.mask for split in both]),
    )


def channel_moments(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, 0 to 1, float32 ``(c,)``.

    From counts of the 256 values: exact, and without a copy of the images.
    """
    values = np.arange(256) / 255
    moments = []
    for channel in range(split.images.shape[-1]):
        count = np.bincount(split.images[..., channel].ravel(), minlength=256)
        share = count / count.sum()
        mean = share @ values
        moments.append((mean, np.sqrt(share @ (values - mean) ** 2)))
    mean, std = np.array(moments, np.float32).T
    return mean, np.where(std > 0, std, np.float32(1))


def _augment(data: DataConfig, normalise: Normalise) -> Augment:
    def augment(key, images):
        crop, flip, cut = jax.random.split(key, 3)
        if data.crop:
            images = augmentation.random_crop(crop, images, data.crop)
        if data.flip:
            images = augmentation.random_flip(flip, images)
        images = normalise(images)
        if data.cutout:
            images = augmentation.cutout(cut, images, data.cutout)
        return images

    return augment
