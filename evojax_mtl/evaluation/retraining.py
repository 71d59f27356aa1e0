"""Retraining: a plain network trained from scratch, all of an epoch on the device.

Shape legend: ``n`` examples, ``B`` examples a batch, ``H`` x ``W`` pixels, ``c``
channels, ``L`` classes.

The defaults are those of KTNAS' authors' code (Zhang et al. 2026, whose paper takes
them from EMT-NAS): 600 epochs of SGD with batches of 64, cosine to 0 by the epoch,
gradients clipped to norm 5, then weight decay on every weight, drop-path rising
linearly by the epoch, the auxiliary head's loss at 0.4. Cutout belongs to the caller's
``augment``.

That code reads the test accuracy every epoch and reports the best, a choice by test
data; ``Retrained`` has it and the last epoch's, which is free of it. Differs besides:
examples that do not fill a batch wait for the next epoch's shuffle, and a step whose
gradient is not finite is skipped.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, UInt8

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.optimizers import apply_gradients
from evojax_mtl.pytrees import Pytree
from evojax_mtl.tasks.task import Split

Images = Float[Array, "B H W c"]
Augment = Callable[[Array, Images], Images]
Normalise = Callable[[Images], Images]


@dataclass(frozen=True)
class RetrainConfig:
    """What is done, and how long.

    Attributes:
      epochs: passes over the training examples.
      batch: examples of a step.
      learning_rate: of the first epoch.
      momentum: of SGD.
      nesterov: whether the momentum looks ahead.
      weight_decay: of every weight, those of batch norm too.
      clip: largest norm of the gradient.
      drop_path: rate that the last epoch comes close to.
      auxiliary_weight: of the auxiliary head's loss.
      test_batch: examples of a batch of the test.
      test_every: epochs between two tests; the last epoch is tested anyway.

    Raises:
      UserError: if a field is out of its bounds.
    """

    epochs: int = 600
    batch: int = 64
    learning_rate: float = 0.025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0
    drop_path: float = 0.3
    auxiliary_weight: float = 0.4
    test_batch: int = 256
    test_every: int = 1

    def __post_init__(self) -> None:
        """Checks the bounds."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("epochs", "batch", "test_batch", "test_every"):
                fits, bound = value >= 1, "1 or more"
            elif field.name in ("momentum", "drop_path"):
                fits, bound = 0 <= value < 1, "0 or more and below 1"
            elif field.name in ("learning_rate", "clip"):
                fits, bound = value > 0, "above 0"
            else:
                fits, bound = value >= 0, "0 or more"
            if not fits:
                raise UserError(f"{field.name}: found {value}, must be {bound}")


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


class Training(Pytree):
    """All that training changes.

    Attributes:
      params: weights.
      batch_stats: running statistics of batch norm.
      optimizer: momentum.
    """

    params: Any
    batch_stats: Any
    optimizer: Any


class EpochMetrics(NamedTuple):
    """An epoch in numbers.

    Attributes:
      epoch: from 1.
      loss: mean cross-entropy of the training batches (nats), without the auxiliary
        head's; NaN if no step was finite.
      skipped: steps whose gradient was not finite.
      accuracy: on the test examples, None where the epoch is not tested.
    """

    epoch: int
    loss: float
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


class Retraining:
    """The compiled parts of retraining, for loops that checkpoint between epochs.

    ``epoch`` and ``test`` compile once each, whatever the epoch. ``epoch`` gives the
    buffers of the state it is passed to the state that it returns.

    Args:
      network: a plain network, called as ``network(images, drop_path, train=...)``; it
        returns logits, and an auxiliary head's or None.
      config: how to train it.
      augment: makes a training batch from a key and images in ``[0, 1]``, normalised as
        the network shall see them; ``normalise`` if None.
      normalise: the same for test images; nothing if None.
    """

    def __init__(
        self,
        network: nn.Module,
        config: RetrainConfig,
        augment: Augment | None = None,
        normalise: Normalise | None = None,
    ) -> None:
        """Compiles nothing yet."""
        self.network = network
        self.config = config
        self.normalise = normalise or (lambda images: images)
        self.augment = augment or (lambda key, images: self.normalise(images))
        self.transformation = optax.chain(
            optax.clip_by_global_norm(config.clip),
            optax.add_decayed_weights(config.weight_decay),
            optax.trace(config.momentum, config.nesterov),
        )
        self.epoch = jax.jit(self._epoch, donate_argnums=0)
        self.test = jax.jit(self._test)
        self.init = jax.jit(self._init)

    def _init(self, key: Array, images: UInt8[Array, "n H W c"]) -> Training:
        """New weights, for images of that shape."""
        seen = self.normalise(images[:1].astype(jnp.float32) / 255)
        variables = self.network.init(key, seen)
        params = variables["params"]
        momentum = self.transformation.init(ravel_pytree(params)[0])
        return Training(params, variables.get("batch_stats", {}), momentum)

    def rates(self, epoch: Int[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Learning rate and drop-path rate of an epoch, counted from 0."""
        done = epoch / self.config.epochs
        cosine = (1 + jnp.cos(jnp.pi * done)) / 2
        return self.config.learning_rate * cosine, self.config.drop_path * done

    def _loss(self, params, batch_stats, images, labels, drop_path, key):
        """Loss to minimise; the classifier's own loss and new running statistics."""
        (logits, auxiliary), changed = self.network.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            drop_path,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        own = total = cross_entropy(logits, labels).mean()
        if auxiliary is not None:
            second = cross_entropy(auxiliary, labels).mean()
            total += self.config.auxiliary_weight * second
        return total, (own, changed.get("batch_stats", {}))

    def _step(
        self, state: Training, images: Images, labels: Array, rates: Any, key: Array
    ) -> tuple[Training, Float[Array, ""], Bool[Array, ""]]:
        """One step; its loss, and whether it was taken."""
        learning_rate, drop_path = rates
        augment_key, path_key = jax.random.split(key)
        images = self.augment(augment_key, images)
        slope = jax.value_and_grad(self._loss, has_aux=True)
        (_, (loss, batch_stats)), gradients = slope(
            state.params, state.batch_stats, images, labels, drop_path, path_key
        )
        # one vector: with hundreds of leaves XLA repeats the norm's sum in each update
        flat, unravel = ravel_pytree(state.params)
        flat, optimizer, taken = apply_gradients(
            self.transformation,
            ravel_pytree(gradients)[0],
            state.optimizer,
            flat,
            learning_rate,
        )
        batch_stats = jax.tree.map(
            lambda new, old: jnp.where(taken, new, old), batch_stats, state.batch_stats
        )
        return Training(unravel(flat), batch_stats, optimizer), loss, taken

    def _epoch(
        self, state: Training, data: Examples, epoch: Int[Array, ""], key: Array
    ) -> tuple[Training, Float[Array, ""], Int[Array, ""]]:
        """One pass over shuffled ``data``; mean loss and skipped steps.

        ``epoch`` counts from 0; what is random depends on it and ``key`` alone.
        """
        order_key, step_key = jax.random.split(jax.random.fold_in(key, epoch))
        examples = len(data.labels)
        batch = min(self.config.batch, examples)
        steps = examples // batch
        order = jax.random.permutation(order_key, examples)[: steps * batch]
        rates = self.rates(epoch)

        def step(state, inputs):
            rows, index = inputs
            key = jax.random.fold_in(step_key, index)
            state, loss, taken = self._step(state, *data.take(rows), rates, key)
            return state, (jnp.where(taken, loss, 0), taken)

        rows = order.reshape(steps, batch)
        state, (losses, taken) = jax.lax.scan(step, state, (rows, jnp.arange(steps)))
        count = taken.sum()
        return state, losses.sum() / count, steps - count

    def _test(
        self, state: Training, data: Examples
    ) -> tuple[Float[Array, ""], Int[Array, "L L"]]:
        """Accuracy and confusion matrix on ``data``."""
        examples = len(data.labels)
        batch = min(self.config.test_batch, examples)
        variables = {"params": state.params, "batch_stats": state.batch_stats}

        def predict(index):
            position = index * batch + jnp.arange(batch)
            images, labels = data.take(jnp.minimum(position, examples - 1))
            logits, _ = self.network.apply(variables, self.normalise(images))
            classes = logits.shape[-1]
            true = jax.nn.one_hot(labels, classes, dtype=jnp.int32)
            true = true * (position < examples)[:, None]
            chosen = jax.nn.one_hot(jnp.argmax(logits, -1), classes, dtype=jnp.int32)
            return true.T @ chosen

        batches = jnp.arange(-(-examples // batch))
        confusion = jax.lax.map(predict, batches).sum(0)
        return jnp.trace(confusion) / examples, confusion


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


def retrain(
    network: nn.Module,
    train: Split,
    test: Split,
    config: RetrainConfig,
    key: Array,
    *,
    augment: Augment | None = None,
    normalise: Normalise | None = None,
    report: Callable[[EpochMetrics], None] | None = None,
) -> Retrained:
    """Trains a plain network from scratch and tests it.

    Args:
      network: a ``CellNetwork``, a ``DartsNetwork``, or another as ``Retraining`` says.
      train: examples to train on.
      test: examples to test on.
      config: how to train.
      key: of all that is random.
      augment: makes a training batch, see ``Retraining``.
      normalise: makes a test batch, see ``Retraining``.
      report: called after every epoch.

    Raises:
      UserError: if a split has no labelled examples, or the network does not fit the
        images.
    """
    part = Retraining(network, config, augment, normalise)
    data, unseen = examples(train), examples(test)
    init_key, key = jax.random.split(key)
    state = part.init(init_key, data.images)
    history: list[EpochMetrics] = []
    best = last = None
    for epoch in range(config.epochs):
        state, loss, skipped = part.epoch(state, data, np.int32(epoch), key)
        accuracy = None
        if (epoch + 1) % config.test_every == 0 or epoch + 1 == config.epochs:
            share, confusion = jax.device_get(part.test(state, unseen))
            accuracy = float(share)
            last = Tested(epoch + 1, accuracy, confusion)
            best = last if best is None or accuracy > best.accuracy else best
        metrics = EpochMetrics(epoch + 1, float(loss), int(skipped), accuracy)
        history.append(metrics)
        if report is not None:
            report(metrics)
    assert last is not None
    assert best is not None
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return Retrained(variables, last, best, history)
