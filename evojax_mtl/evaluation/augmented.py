"""Images that are augmented in training, and averages over augmented copies in tests.

Shape legend: ``N`` copies, ``P`` networks, ``T`` tasks, ``B`` examples a batch, ``H`` x
``W`` pixels, ``c`` channels, ``L`` outputs of the widest task.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.evaluation import augmentation
from evojax_mtl.evaluation.classification import present_outputs
from evojax_mtl.pytrees import static
from evojax_mtl.tasks.dataset import Batch, Dataset, Targets


@dataclass(frozen=True)
class Augmentation:
    """What is done to an image at random.

    Attributes:
      flip: whether half of the images are mirrored.
      rotation: largest angle (degrees).
      translation: largest shift along each side (parts of the side).
    """

    flip: bool = False
    rotation: float = 0.0
    translation: float = 0.0

    def __bool__(self) -> bool:
        """Whether anything is done."""
        return self != Augmentation()

    def __call__(
        self, key: Array, images: Float[Array, "T B H W c"]
    ) -> Float[Array, "T B H W c"]:
        """The images of every task, each changed by itself."""
        flip, move = jax.random.split(key)
        flat = images.reshape(-1, *images.shape[2:])
        if self.flip:
            flat = augmentation.random_flip(flip, flat)
        if self.rotation or self.translation:
            amounts = self.rotation, self.translation
            flat = augmentation.random_move(move, flat, *amounts)
        return flat.reshape(images.shape)


class AugmentedDataset(Dataset):
    """A data set whose training examples are augmented as they are sampled.

    Attributes:
      augmentation: what is done to them.
    """

    augmentation: Augmentation = static()

    def sample(self, key: Array, batch: int) -> Batch:
        """See ``Dataset.sample``; another change of an image each time."""
        drawn, changed = jax.random.split(key)
        examples = super().sample(drawn, batch)
        return examples.replace(images=self.augmentation(changed, examples.images))


def average(logits: Float[Array, "N P B L"], targets: Targets) -> Float[Array, "P B L"]:
    """Logits of the mean of the probabilities that several copies are given.

    Of the classes where an example has one, else of each label by itself. Outputs that
    a task lacks are 0.
    """
    several = targets.several[:, None, None]
    present = present_outputs(logits.shape[-1], targets)
    shares = jax.nn.log_softmax(jnp.where(present, logits, -jnp.inf))
    classes = jax.nn.logsumexp(shares, axis=0) - jnp.log(logits.shape[0])
    there, absent = (
        jax.nn.logsumexp(jax.nn.log_sigmoid(sign * logits), axis=0) for sign in (1, -1)
    )
    return jnp.where(present, jnp.where(several, there - absent, classes), 0)
