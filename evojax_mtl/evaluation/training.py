"""One training iteration, one validation batch, of all networks together.

Shape legend: ``P`` networks, ``T`` tasks, ``B`` examples a task, ``L`` classes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.schedule import Schedule
from evojax_mtl.architectures.table import Architecture
from evojax_mtl.evaluation.classification import correct, cross_entropy
from evojax_mtl.evaluation.optimizers import apply_gradients
from evojax_mtl.networks.batching import batchable
from evojax_mtl.networks.supernet import RoutedNetworks, finite_networks
from evojax_mtl.pytrees import Pytree
from evojax_mtl.tasks.dataset import Batch, Dataset


class Tally(Pytree):
    """Sums over the generation so far.

    Attributes:
      loss: sum of the networks' losses over iterations (nats).
      skipped: iterations whose gradient was not finite, which changed nothing.
      right: examples classified right.
      seen: examples with a label.
      finite: networks whose outputs have all been finite.
    """

    loss: Float[Array, ""]
    skipped: Int[Array, ""]
    right: Int[Array, "P"]
    seen: Int[Array, "P"]
    finite: Bool[Array, "P"]


def no_tally(networks: int) -> Tally:
    """Of nothing."""
    zeros = jnp.zeros((networks,), jnp.int32)
    return Tally(
        loss=jnp.zeros((), jnp.float32),
        skipped=jnp.zeros((), jnp.int32),
        right=zeros,
        seen=zeros,
        finite=jnp.ones((networks,), bool),
    )


TASKS = PartitionSpec("tasks")
EVERYWHERE = PartitionSpec()
SHARED = "supernet"
"""The weights that all tasks use; every other leaf leads with tasks or networks."""
_PARAMS = {"merge": TASKS, "decoders": TASKS, SHARED: EVERYWHERE}
NETWORKS = (_PARAMS, TASKS, TASKS, TASKS, TASKS)
"""Where weights, architectures, schedules, batch and targets lie."""


def alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` for a device with one schedule, its third argument."""

    def local(params, architecture, lists, *rest):
        return function(
            params, architecture, jax.tree.map(lambda x: x[0], lists), *rest
        )

    return local


def by_task(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of one task's networks on each task, one after the other.

    Every result has a leading axis of tasks. The schedules, one a task, have it too;
    of the weights each call gets the shared ones and the task's own.
    """

    def mapped(params, architecture, lists, batch, targets, *rest):
        tasks = len(targets.classes)
        own = {name: leaf for name, leaf in params.items() if name != SHARED}
        leading = jax.tree.map(
            lambda x: x.reshape(tasks, -1, *x.shape[1:]),
            (own, architecture, batch, targets),
        )

        def one(part):
            (own, architecture, batch, targets), lists = part
            params_of_task = own | {SHARED: params[SHARED]}
            return function(params_of_task, architecture, lists, batch, targets, *rest)

        return jax.lax.map(one, (leading, lists))

    return mapped


def spread(
    function: Callable[..., Any], mesh: Mesh, in_specs: tuple, out_specs: tuple
) -> Callable[..., Any]:
    """``function`` on each device's own tasks."""
    # ``function`` adds up what devices share itself, which the check cannot see
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def network_loss(model: RoutedNetworks, inputs: np.ndarray) -> Callable[..., Any]:
    """A function that returns the sum of losses, and which networks are finite.

    Its arguments are those that ``model`` and its losses depend on; see ``named``.
    """

    def loss(params, architecture, lists, batch, targets, key, rate):
        logits: Any = model.apply(
            {"params": params},
            batch.images,
            architecture,
            lists,
            train=True,
            key=key,
            rate=rate,
        )
        labels, mask = batch.labels[inputs], batch.mask[inputs]
        losses = cross_entropy(logits, labels, mask, targets.take(inputs))
        return jnp.sum(losses), finite_networks(logits)

    return loss


def network_gradients(model: RoutedNetworks, inputs: np.ndarray) -> Callable[..., Any]:
    """``network_loss`` and its gradients."""
    loss = network_loss(model, inputs)

    def evaluate(*arguments):
        found = jax.value_and_grad(loss, has_aux=True)(*arguments)
        (value, finite), gradients = found
        return value, finite, gradients

    return evaluate


def named(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` as the loop of a generation uses it."""

    def function(params, batch, targets, key, rate, *, architecture, lists):
        rate = jnp.asarray(rate, jnp.float32)
        return call(params, architecture, lists, batch, targets, key, rate)

    return function


def loss_and_gradients(
    model: RoutedNetworks, inputs: np.ndarray, mesh: Mesh | None = None
) -> Callable[..., tuple[Array, Array, Any]]:
    """A function that returns loss, which networks are finite, and gradients.

    The losses of all networks are summed. Under ``jax.vmap`` the whole of it runs once
    a member on CPU, so that the members share one set of buffers.

    Args:
      model: the networks; with a mesh those of one device.
      inputs: task of each of these networks, ``(P,)``.
      mesh: devices that the tasks are spread over, an axis ``tasks``; the schedules
        then have a leading axis of devices.
    """
    evaluate = network_gradients(model, inputs)

    def evaluate_and_add(*arguments):
        value, finite, gradients = evaluate(*arguments)
        total, shared = jax.lax.psum((value, gradients[SHARED]), "tasks")
        return total, finite, gradients | {SHARED: shared}

    if mesh is None:
        call = batchable(evaluate)
    else:
        call = spread(
            alone(evaluate_and_add),
            mesh,
            (*NETWORKS, EVERYWHERE, EVERYWHERE),
            (EVERYWHERE, TASKS, _PARAMS),
        )
    return named(call)


def train_iteration(
    gradients: Callable[..., tuple[Array, Array, Any]],
    transformation: optax.GradientTransformation,
    hyperparameters: dict[str, Any],
    carry: tuple[Any, Any, Tally],
    batch: Batch,
    data: Dataset,
    key: Array,
) -> tuple[Any, Any, Tally]:
    """One step of the optimiser.

    Args:
      gradients: ``loss_and_gradients`` with architecture and schedule bound.
      transformation: the optimiser.
      hyperparameters: ``learning_rate`` and ``dropout``.
      carry: weights, the optimiser's state, the tally; returned changed.
      batch: examples of every task.
      data: tells what labels mean.
      key: dropout's.
    """
    params, state, tally = carry
    rate = hyperparameters["dropout"]
    value, finite, slopes = gradients(params, batch, data.targets, key, rate)
    params, state, taken = apply_gradients(
        transformation, slopes, state, params, hyperparameters["learning_rate"]
    )
    tally = tally.replace(
        loss=tally.loss + value,
        skipped=tally.skipped + ~taken,
        finite=tally.finite & finite,
    )
    return params, state, tally


def score_batch(
    model: RoutedNetworks,
    inputs: np.ndarray,
    params: Any,
    architecture: Architecture,
    lists: Schedule,
    batch: Batch,
    data: Dataset,
    tally: Tally,
    mesh: Mesh | None = None,
    *,
    separate: bool = False,
) -> Tally:
    """``tally`` plus the networks that ``lists`` enables on ``batch``.

    ``model``, ``inputs`` and ``mesh`` are as in ``loss_and_gradients``, or as in
    ``balanced_training.task_gradients`` where tasks are ``separate``.
    """

    def evaluate(params, architecture, lists, batch, targets, key):
        logits: Any = model.apply(
            {"params": params},
            batch.images,
            architecture,
            lists,
            train=False,
            key=key,
            rate=0.0,
        )
        labels, mask = batch.labels[inputs], batch.mask[inputs]
        right, seen = correct(logits, labels, mask, targets.take(inputs))
        return right, seen, finite_networks(logits)

    if separate:
        evaluate = by_task(evaluate)
    if mesh is None:
        call = batchable(evaluate)
    else:
        local = evaluate if separate else alone(evaluate)
        call = spread(local, mesh, (*NETWORKS, EVERYWHERE), (TASKS,) * 3)
    unused = jax.random.key(0)
    found = call(params, architecture, lists, batch, data.targets, unused)
    right, seen, finite = (part.reshape(-1) for part in found)
    enabled = lists.enabled.reshape(-1)
    return tally.replace(
        right=tally.right + jnp.where(enabled, right, 0),
        seen=tally.seen + jnp.where(enabled, seen, 0),
        finite=tally.finite & (finite | ~enabled),
    )
