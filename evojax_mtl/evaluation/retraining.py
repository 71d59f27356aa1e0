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

``decay`` and ``label_smoothing`` are for DARTS' ImageNet recipe: a learning rate that
falls by a factor each epoch, and in training the cross-entropy to the labels mixed with
the uniform distribution.

The examples may be larger than the device's memory: ``advance`` then gets an epoch's
examples part by part, and ``test`` those of the test, each part of the same shapes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, UInt8

from evojax_mtl.compiling import HASTY, on_cpu
from evojax_mtl.evaluation.optimizers import apply_gradients
from evojax_mtl.evaluation.retrain_config import RetrainConfig
from evojax_mtl.evaluation.retrain_data import examples
from evojax_mtl.evaluation.retrain_records import (
    Counts,
    EpochMetrics,
    Examples,
    Images,
    Retrained,
    Tally,
    Tested,
    Training,
    no_steps,
)
from evojax_mtl.tasks.task import Split

Augment = Callable[[Array, Images], Images]
Normalise = Callable[[Images], Images]


class Retraining:
    """The compiled parts of retraining, for loops that checkpoint between their calls.

    ``advance`` and ``test`` compile once each, whatever the epoch. ``advance`` gives
    the buffers of the state it is passed to the state that it returns.

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
        options = on_cpu() if config.optimize else on_cpu(HASTY)
        # the first weights are drawn once: never worth more than the least compilation
        self.init = jax.jit(self._init, compiler_options=on_cpu(HASTY))
        self.test = jax.jit(self._test, compiler_options=options)
        self.advance = jax.jit(
            self._advance, donate_argnums=0, compiler_options=options
        )

    def compile(self, key: Array, data: Examples, unseen: Examples) -> None:
        """Compiles for these examples, at once on several cores; later calls fit them.

        Without it each program is compiled when it is first called.
        """
        state = jax.eval_shape(self._init, key, data.images)
        count = np.int32(0)
        arguments = (
            ("advance", (state, data, count, count, count, key)),
            ("init", (key, data.images)),
            ("test", (state, unseen)),
        )
        with ThreadPoolExecutor() as pool:
            # the next is traced while the one before compiles, the longest first
            compiling = {
                name: pool.submit(getattr(self, name).lower(*words).compile)
                for name, words in arguments
            }
        for name, future in compiling.items():
            setattr(self, name, future.result())

    def _init(self, key: Array, images: UInt8[Array, "n H W c"]) -> Training:
        """New weights, for images of that shape."""
        seen = self.normalise(images[:1].astype(jnp.float32) / 255)
        variables = self.network.init(key, seen)
        params = variables["params"]
        momentum = self.transformation.init(ravel_pytree(params)[0])
        return Training(params, variables.get("batch_stats", {}), momentum, no_steps())

    def rates(self, epoch: Int[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Learning rate and drop-path rate of an epoch, counted from 0."""
        done = epoch / self.config.epochs
        if self.config.decay is None:
            share = (1 + jnp.cos(jnp.pi * done)) / 2
        else:
            share = jnp.float32(self.config.decay) ** epoch
        return self.config.learning_rate * share, self.config.drop_path * done

    def _cross_entropy(
        self, logits: Float[Array, "B L"], labels: Int[Array, "B"]
    ) -> Float[Array, ""]:
        """Mean of a training batch (nats), of smoothed labels if so wanted."""
        smoothing = self.config.label_smoothing
        own = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        if smoothing:
            uniform = jax.nn.logsumexp(logits, -1) - logits.mean(-1)
            own = (1 - smoothing) * own + smoothing * uniform
        return own.mean()

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
        own = total = self._cross_entropy(logits, labels)
        if auxiliary is not None:
            second = self._cross_entropy(auxiliary, labels)
            total += self.config.auxiliary_weight * second
        correct = (jnp.argmax(logits, -1) == labels).sum()
        return total, (own, correct, changed.get("batch_stats", {}))

    def _step(
        self, state: Training, images: Images, labels: Array, rates: Any, key: Array
    ) -> Training:
        """One step, or none where the gradient is not finite."""
        learning_rate, drop_path = rates
        augment_key, path_key = jax.random.split(key)
        images = self.augment(augment_key, images)
        slope = jax.value_and_grad(self._loss, has_aux=True)
        (_, (loss, correct, batch_stats)), gradients = slope(
            state.params, state.batch_stats, images, labels, drop_path, path_key
        )
        # One vector: with hundreds of leaves XLA repeats the norm's sum in each update.
        # Barriers: it would fuse the gradients' last sums into every use of the vector
        # and compile for ten minutes instead of one.
        gradients = jax.lax.optimization_barrier(gradients)
        gradient = jax.lax.optimization_barrier(ravel_pytree(gradients)[0])
        flat, unravel = ravel_pytree(state.params)
        flat, optimizer, taken = apply_gradients(
            self.transformation, gradient, state.optimizer, flat, learning_rate
        )
        flat = jax.lax.optimization_barrier(flat)
        batch_stats = jax.tree.map(
            lambda new, old: jnp.where(taken, new, old), batch_stats, state.batch_stats
        )
        tally = Tally(
            loss=state.tally.loss + jnp.where(taken, loss, 0),
            correct=state.tally.correct + jnp.where(taken, correct, 0),
            taken=state.tally.taken + taken,
        )
        return Training(unravel(flat), batch_stats, optimizer, tally)

    def steps(self, data: Examples) -> int:
        """Steps of a pass over ``data``."""
        return len(data.labels) // self._batch(data)

    def _batch(self, data: Examples) -> int:
        return min(self.config.batch, len(data.labels))

    def _advance(
        self,
        state: Training,
        data: Examples,
        epoch: Int[Array, ""],
        start: Int[Array, ""],
        stop: Int[Array, ""],
        key: Array,
    ) -> Training:
        """Steps ``start`` to ``stop`` of an epoch, in shuffled ``data``.

        ``data`` is the epoch's examples or, where they come in parts, those of the part
        that the steps are in, the ``start // steps(data)``-th. ``epoch`` counts from
        0; what is random depends on it, the step and ``key`` alone.
        """
        order_key, step_key = jax.random.split(jax.random.fold_in(key, epoch))
        examples = len(data.labels)
        batch, steps = self._batch(data), self.steps(data)
        order = jax.random.permutation(order_key, examples)[: steps * batch]
        rows = order.reshape(steps, batch)
        rates = self.rates(epoch)
        tally = jax.tree.map(
            lambda new, old: jnp.where(start == 0, new, old), no_steps(), state.tally
        )

        def step(index, state):
            key = jax.random.fold_in(step_key, index)
            return self._step(state, *data.take(rows[index % steps]), rates, key)

        return jax.lax.fori_loop(start, stop, step, state.replace(tally=tally))

    def epoch(
        self, state: Training, data: Examples, epoch: int, key: Array
    ) -> tuple[Training, EpochMetrics]:
        """A whole epoch, counted from 0 and not tested; uses ``state`` up."""
        stop = np.int32(self.steps(data))
        state = self.advance(state, data, np.int32(epoch), np.int32(0), stop, key)
        return state, self.metrics(state, data, epoch)

    def metrics(
        self, state: Training, data: Examples, epoch: int, parts: int = 1
    ) -> EpochMetrics:
        """The epoch, counted from 0, that ``state`` has come to the end of.

        ``data`` is all of its examples or any of its ``parts``.
        """
        tally = jax.device_get(state.tally)
        taken = int(tally.taken)
        seen = taken * self._batch(data)
        return EpochMetrics(
            epoch=epoch + 1,
            loss=float(tally.loss) / taken if taken else float("nan"),
            train_accuracy=int(tally.correct) / seen if seen else float("nan"),
            skipped=parts * self.steps(data) - taken,
        )

    def tested(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, is followed by a test."""
        done = epoch + 1
        return done % self.config.test_every == 0 or done == self.config.epochs

    def _test(self, state: Training, data: Examples) -> Counts:
        """The test on ``data``, in counts."""
        examples = len(data.labels)
        batch = min(self.config.test_batch, examples)
        variables = {"params": state.params, "batch_stats": state.batch_stats}

        def predict(index):
            position = index * batch + jnp.arange(batch)
            images, labels = data.take(jnp.minimum(position, examples - 1))
            logits, _ = self.network.apply(variables, self.normalise(images))
            classes = logits.shape[-1]
            labels = jnp.where(position < examples, labels, -1)
            # nothing is hot where the label is -1
            true = jax.nn.one_hot(labels, classes, dtype=jnp.int32)
            chosen = jax.nn.one_hot(jnp.argmax(logits, -1), classes, dtype=jnp.int32)
            among_five = None
            if classes > 5:
                likeliest = jax.lax.top_k(logits, 5)[1]
                among_five = (likeliest == labels[:, None]).sum()
            return Counts(true.T @ chosen, among_five)

        def add(index, counts):
            return jax.tree.map(jnp.add, counts, predict(index))

        shapes = jax.eval_shape(predict, jnp.int32(0))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        # summed as they come: a thousand classes' counts of every batch take gigabytes
        return jax.lax.fori_loop(0, -(-examples // batch), add, zeros)


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
        state, metrics = part.epoch(state, data, epoch, key)
        if part.tested(epoch):
            last = Tested.of(epoch + 1, part.test(state, unseen))
            best = last if best is None or last.accuracy > best.accuracy else best
            metrics = metrics._replace(accuracy=last.accuracy, top_five=last.top_five)
        history.append(metrics)
        if report is not None:
            report(metrics)
    assert last is not None
    assert best is not None
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return Retrained(variables, last, best, history)
