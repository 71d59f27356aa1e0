"""A training step of one supernet on all tasks at once, their gradients balanced.

Shape legend: ``T`` tasks.

Each task has a mini-batch and a genome of its own, and so uses other weights of the
supernet; its gradient is 0 in the others. The tasks are run one after the other, in one
compiled body. Weights that no task uses neither decay nor drift.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.evaluation.balanced_training import (
    Balance,
    TaskGradients,
    linear_losses,
)
from evojax_mtl.evaluation.cell_batches import Minibatch
from evojax_mtl.evaluation.cell_training import (
    Rates,
    System,
    Tree,
    batch_gradients,
    nesterov,
    put,
    take,
    used,
    wirings,
)

_SUPERNETS = "supernets"
_THE_ONE = 0
"""The supernet that all tasks share."""

Draw = Callable[[Int[Array, ""]], tuple[Int[Array, "2 5 4"], Minibatch, Array]]
"""From a task to its genome, its mini-batch and the key of its dropout."""


def is_shared(path: tuple[str, ...]) -> bool:
    """Whether all tasks use the weights that these keys lead to."""
    return path[0] == _SUPERNETS


class _Sweep(NamedTuple):
    """What a pass over the tasks finds."""

    found: TaskGradients
    statistics: Tree
    moving: Tree


def _sweep(
    system: System, draw: Draw, rates: Rates, tasks: int, repeats: int, mesh: Any
) -> _Sweep:
    """Gradients of all tasks at the same weights; running statistics move on."""
    shared = {_SUPERNETS: system.params[_SUPERNETS]}
    zeros = jax.tree.map(jnp.zeros_like, shared)
    nowhere = jax.tree.map(lambda x: jnp.zeros(x.shape, bool), shared)

    def one(carry, task):
        statistics, moving = carry
        genome, batch, key = draw(task)
        wiring = wirings(genome, repeats)
        place = (wiring, _THE_ONE, task)
        weights, moments = take(system.params, *place), take(statistics, *place)
        found = batch_gradients(weights, moments, wiring, batch, key, rates, mesh)
        flags = jax.tree.map(lambda x: x & found.finite, used(weights, wiring))
        slopes = put(zeros, found.slopes, *place)
        slopes["decoder"] = found.slopes["decoder"]
        moving = jax.tree.map(jnp.logical_or, moving, put(nowhere, flags, *place))
        carry = put(statistics, found.statistics, *place), moving
        loss = jnp.where(found.finite, found.loss, jnp.nan)
        return carry, TaskGradients(loss, found.finite, slopes)

    carry = (system.statistics, nowhere)
    (statistics, moving), found = jax.lax.scan(one, carry, jnp.arange(tasks))
    return _Sweep(found, statistics, moving)


def train_together(
    system: System,
    draw: Draw,
    rates: Rates,
    balancer: Balancer,
    balance: Balance,
    key: Array,
    *,
    repeats: int,
    mesh: Mesh | None = None,
) -> tuple[System, Balance, Float[Array, ""], Bool[Array, ""]]:
    """One step of SGD with Nesterov momentum on what the tasks' genomes use.

    Args:
      system: one supernet, a decoder a task.
      draw: gives each task's genome and mini-batch.
      rates: learning rate and so on.
      balancer: of the tasks; its ``shared`` is ``is_shared``.
      balance: its state.
      key: of the method.
      repeats: normal cells in a row.
      mesh: devices, those of an axis ``data`` share each batch; None for one device.

    Returns:
      The system, the method's state, the mean loss (nats) and whether a step was taken.
    """
    sweep = _sweep(system, draw, rates, balancer.tasks, repeats, mesh)
    found = sweep.found
    update, method, metrics = balancer.update(
        linear_losses(found, system.params, is_shared),
        system.params,
        balance.method,
        key=key,
    )
    taken = ~metrics["skipped"]
    own = jax.tree.map(
        lambda x: found.finite.reshape(-1, *(1,) * (x.ndim - 1)),
        system.params["decoder"],
    )
    moving = jax.tree.map(lambda x: x & taken, {**sweep.moving, "decoder": own})
    params, momentum = nesterov(system.params, update, system.momentum, moving, rates)
    system = System(params, momentum, sweep.statistics)
    if balancer.method.traits.observes:
        again = _sweep(system, draw, rates, balancer.tasks, repeats, mesh).found
        seen = balancer.observe(method, again.losses)
        well = taken & jnp.isfinite(again.losses).all()
        method = jax.tree.map(lambda a, b: jnp.where(well, a, b), seen, method)
    balance = balance.add(method, metrics)
    return system, balance, jnp.mean(metrics["losses"]), taken
