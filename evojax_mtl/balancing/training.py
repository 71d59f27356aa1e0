"""A training step with a balancing method and an optimiser of optax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.pytrees import Pytree


class Training(Pytree):
    """Everything that changes: weights, the optimiser's state, the method's."""

    params: Any
    optimizer: Any
    balancing: Any


def begin(
    balancer: Balancer, optimizer: optax.GradientTransformation, params: Any
) -> Training:
    """Before the first step."""
    return Training(params, optimizer.init(params), balancer.init(params))


def training_step(
    balancer: Balancer,
    losses: Callable[[Any, Any], Float[Array, "T"]],
    optimizer: optax.GradientTransformation,
    training: Training,
    batch: Any,
    *,
    key: Array,
    present: Bool[Array, "T"] | None = None,
) -> tuple[Training, dict[str, Array]]:
    """One step; a skipped one changes nothing.

    Args:
      balancer: the method.
      losses: from weights and batch to the losses of the tasks.
      optimizer: gets the balanced update in the place of a gradient.
      training: as ``begin`` or the last step gave it.
      batch: what ``losses`` takes.
      key: randomness of this step.
      present: tasks that have labels in the batch; all where None.

    Returns:
      The new ``Training`` and ``Balanced.metrics``.
    """
    params = training.params
    update, state, metrics = balancer.update(
        lambda params: losses(params, batch),
        params,
        training.balancing,
        key=key,
        present=present,
    )
    changes, moments = optimizer.update(update, training.optimizer, params)
    changed: Any = optax.apply_updates(params, changes)
    if balancer.method.traits.observes:
        state = balancer.observe(state, losses(changed, batch))
    new = Training(changed, moments, state)
    skipped = metrics["skipped"]
    new = jax.tree.map(lambda a, b: jnp.where(skipped, b, a), new, training)
    return new, metrics
