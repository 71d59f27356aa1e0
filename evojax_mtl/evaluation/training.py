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
_NETWORKS = (_PARAMS, TASKS, TASKS, TASKS, TASKS)


def _spread(
    function: Callable[..., Any], mesh: Mesh, in_specs: tuple, out_specs: tuple
) -> Callable[..., Any]:
    """``function`` on each device's own tasks; the third argument is its schedule."""

    def local(params, architecture, lists, *rest):
        return function(
            params, architecture, jax.tree.map(lambda x: x[0], lists), *rest
        )

    # ``function`` adds up what devices share itself, which the check cannot see
    return jax.shard_map(
        local, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


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

    def evaluate(params, architecture, lists, batch, targets, key, rate):
        def loss(params):
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

        (value, finite), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return value, finite, gradients

    def evaluate_and_add(*arguments):
        value, finite, gradients = evaluate(*arguments)
        total, shared = jax.lax.psum((value, gradients[SHARED]), "tasks")
        return total, finite, gradients | {SHARED: shared}

    if mesh is None:
        call = batchable(evaluate)
    else:
        call = _spread(
            evaluate_and_add,
            mesh,
            (*_NETWORKS, EVERYWHERE, EVERYWHERE),
            (EVERYWHERE, TASKS, _PARAMS),
        )

    def named(params, batch, targets, key, rate, *, architecture, lists):
        rate = jnp.asarray(rate, jnp.float32)
        return call(params, architecture, lists, batch, targets, key, rate)

    return named


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
) -> Tally:
    """``tally`` plus the networks that ``lists`` enables on ``batch``.

    ``model``, ``inputs`` and ``mesh`` are as in ``loss_and_gradients``.
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

    if mesh is None:
        call = batchable(evaluate)
    else:
        call = _spread(evaluate, mesh, (*_NETWORKS, EVERYWHERE), (TASKS,) * 3)
    unused = jax.random.key(0)
    right, seen, finite = call(params, architecture, lists, batch, data.targets, unused)
    enabled = lists.enabled.reshape(-1)
    return tally.replace(
        right=tally.right + jnp.where(enabled, right, 0),
        seen=tally.seen + jnp.where(enabled, seen, 0),
        finite=tally.finite & (finite | ~enabled),
    )
