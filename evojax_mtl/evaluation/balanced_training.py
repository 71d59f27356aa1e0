"""A training iteration of routed networks whose tasks are balanced.

Shape legend: ``T`` tasks, ``P`` networks, ``I`` a task.

The networks of one task are run at a time, each task with its own schedule and buffers:
that gives its loss (the sum over its networks) and the gradients of the weights that
all tasks share, at the cost of one pass over all networks. The balancing method then
gets losses that are linear in the weights and have these values and gradients, so that
what it takes for its ``T`` backward passes are sums of what is there already.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.evaluation.optimizers import apply_gradients
from evojax_mtl.evaluation.training import (
    EVERYWHERE,
    NETWORKS,
    SHARED,
    TASKS,
    Tally,
    by_task,
    named,
    network_gradients,
    network_loss,
    spread,
)
from evojax_mtl.networks.batching import batchable
from evojax_mtl.networks.supernet import RoutedNetworks
from evojax_mtl.pytrees import Pytree
from evojax_mtl.tasks.dataset import Batch, Dataset


class Balance(Pytree):
    """What balancing changes.

    Attributes:
      method: the method's state.
      left_out: tasks left out, summed over the iterations of the generation.
      conflicts: pairs of tasks whose gradients oppose each other, likewise; of methods
        that look at gradients.
    """

    method: Any
    left_out: Int[Array, ""]
    conflicts: Int[Array, ""]

    def add(self, method: Any, metrics: dict[str, Array]) -> "Balance":
        """With a step's new state and metrics."""
        return Balance(
            method=method,
            left_out=self.left_out + metrics["left_out"],
            conflicts=self.conflicts + metrics.get("conflicts", 0),
        )

    def cleared(self) -> "Balance":
        """Before the first iteration of a generation."""
        zero = jnp.zeros((), jnp.int32)
        return Balance(self.method, zero, zero)

    def metrics(self, iterations: Array) -> dict[str, Array]:
        """Tasks left out so far, and conflicting pairs an iteration."""
        return {"left_out": self.left_out, "conflicts": self.conflicts / iterations}


def begin_balance(balancer: Balancer | None, params: Any) -> Balance | None:
    """Before the first generation; None without balancing."""
    if balancer is None:
        return None
    zero = jnp.zeros((), jnp.int32)
    return Balance(balancer.init(params), zero, zero)


def is_shared(path: tuple[str, ...]) -> bool:
    """Whether all tasks use the weights that these keys lead to."""
    return path[0] == SHARED


class TaskGradients(NamedTuple):
    """Of every task.

    Attributes:
      losses: ``(T,)``.
      finite: which networks are, of all tasks.
      slopes: leaves lead with tasks: ``(T, ...)`` of shared weights, ``(T, I, ...)`` of
        the networks' own.
    """

    losses: Float[Array, "T"]
    finite: Bool[Array, "P"]
    slopes: Any


def _over_tasks(
    function: Callable[..., Any], mesh: Mesh | None, results: Any
) -> Callable[..., Any]:
    function = by_task(function)
    if mesh is None:
        return named(batchable(function))
    places = (*NETWORKS, EVERYWHERE, EVERYWHERE)
    return named(spread(function, mesh, places, results))


def task_gradients(
    model: RoutedNetworks, inputs: np.ndarray, mesh: Mesh | None = None
) -> Callable[..., TaskGradients]:
    """A function that returns ``TaskGradients``.

    Args:
      model: the networks of one task.
      inputs: zeros, one a network of the task.
      mesh: devices that the tasks are spread over, an axis ``tasks``.
    """
    results = (TASKS, TASKS, TASKS)
    call = _over_tasks(network_gradients(model, inputs), mesh, results)

    def function(*arguments, **tables):
        losses, finite, slopes = call(*arguments, **tables)
        return TaskGradients(losses, finite.reshape(-1), slopes)

    return function


def task_losses(
    model: RoutedNetworks, inputs: np.ndarray, mesh: Mesh | None = None
) -> Callable[..., Float[Array, "T"]]:
    """A function that returns the losses of tasks; see ``task_gradients``."""
    call = _over_tasks(network_loss(model, inputs), mesh, (TASKS, TASKS))
    return lambda *arguments, **tables: call(*arguments, **tables)[0]


def linear_losses(
    found: TaskGradients, params: Any, shared: Callable[[tuple[str, ...]], bool]
) -> Callable[[Any], Float[Array, "T"]]:
    """Losses with the values and gradients ``found`` at ``params``.

    A task with a gradient that is not finite has the loss NaN and the gradient 0: it is
    left out.

    Args:
      found: of every task.
      params: weights; those that are not shared lead with tasks, or with the networks
        of the first task, then of the second, and so on.
      shared: tells from the keys that lead to a leaf whether the tasks share it.
    """
    tasks = len(found.losses)

    def flat(leaf):
        return leaf.reshape(tasks, -1)

    sums = [jnp.sum(flat(leaf), axis=1) for leaf in jax.tree.leaves(found.slopes)]
    finite = jnp.isfinite(jnp.stack(sums)).all(axis=0)
    values = jnp.where(finite, found.losses, jnp.nan)

    def losses(at: Any) -> Float[Array, "T"]:
        def rise(path, slope, weight, here):
            # a merge scale may be minus infinity, and broken decoders anything
            moved = jnp.where(jnp.isfinite(here), weight - here, 0)
            all_tasks = shared(tuple(key.key for key in path))
            rows = moved.reshape(-1) if all_tasks else flat(moved)
            slope = jnp.where(finite[:, None], flat(slope), 0)
            return jnp.sum(slope * rows, axis=1)

        rises = jax.tree_util.tree_map_with_path(rise, found.slopes, at, params)
        return values + sum(jax.tree.leaves(rises))

    return losses


def balanced_iteration(
    gradients: Callable[..., TaskGradients],
    losses: Callable[..., Float[Array, "T"]],
    balancer: Balancer,
    transformation: optax.GradientTransformation,
    hyperparameters: dict[str, Any],
    carry: tuple[Any, Any, Tally, Balance],
    batch: Batch,
    data: Dataset,
    key: Array,
) -> tuple[Any, Any, Tally, Balance]:
    """One step of the optimiser with the balanced update.

    Args:
      gradients: ``task_gradients`` with architecture and schedules bound.
      losses: ``task_losses``, likewise; for methods that observe.
      balancer: the method; its ``shared`` is ``is_shared``.
      transformation: the optimiser.
      hyperparameters: ``learning_rate`` and ``dropout``.
      carry: weights, the optimiser's state, the tally, the method's; returned changed.
      batch: examples of every task.
      data: tells what labels mean.
      key: dropout's and the method's.
    """
    params, state, tally, balance = carry
    rest = (batch, data.targets, key, hyperparameters["dropout"])
    found = gradients(params, *rest)
    update, method, metrics = balancer.update(
        linear_losses(found, params, is_shared),
        params,
        balance.method,
        # dropout has the key as it is: equal weights then are no balancing at all
        key=jax.random.fold_in(key, 0),
        present=jnp.any(batch.mask, axis=1),
    )
    params, state, taken = apply_gradients(
        transformation,
        update,
        state,
        params,
        hyperparameters["learning_rate"],
        wanted=~metrics["skipped"],
    )
    if balancer.method.traits.observes:
        seen = balancer.observe(method, losses(params, *rest))
        method = jax.tree.map(lambda a, b: jnp.where(taken, a, b), seen, method)
    tally = tally.replace(
        loss=tally.loss + jnp.sum(metrics["losses"]),
        skipped=tally.skipped + ~taken,
        finite=tally.finite & found.finite,
    )
    balance = balance.add(method, metrics)
    return params, state, tally, balance
