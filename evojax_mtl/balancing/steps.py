"""The parts of a balanced step that all of its forms share.

Shape legend: ``T`` tasks, ``K`` groups of weights.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.gradients import all_finite
from evojax_mtl.balancing.protocol import GramianWeighting, LossBalancer, Tasks


class Balanced(NamedTuple):
    """What a step gives.

    Attributes:
      update: a pytree like the weights, to be used as their gradient.
      state: the method's.
      metrics: ``losses`` ``(T,)``, ``left_out`` (tasks), ``skipped``; ``weights`` of
        the tasks where the method has them, ``(T,)``, or ``(K, T)`` for several groups;
        ``conflicts``, pairs of tasks whose gradients oppose each other, where inner
        products are known.
    """

    update: Any
    state: Any
    metrics: dict[str, Array]


def stacked(state: Any, count: int) -> Any:
    """``count`` copies of a state, one a group."""
    return strong(jax.tree.map(lambda x: jnp.stack([x] * count), state))


def strong(state: Any) -> Any:
    """Without weak types, which would compile the second step anew."""
    return jax.tree.map(lambda x: jnp.asarray(x, x.dtype), state)


def weights_of_losses(
    method: LossBalancer, state: Any, tasks: Tasks
) -> tuple[Float[Array, "T"], Any]:
    """The scalar's derivative in each loss, and the new state."""

    def scalar(losses):
        return method.combine(state, tasks.replace(losses=losses))

    weights, new = jax.grad(scalar, has_aux=True)(tasks.losses)
    return jnp.where(tasks.present, weights, 0), new


def weigh(
    method: GramianWeighting, state: Any, gramians: Float[Array, "K T T"], tasks: Tasks
) -> tuple[Float[Array, "K T"], Any]:
    """The weights of each group."""

    def one(state, gramian, key):
        weights, new = method.weigh(state, gramian, tasks.replace(key=key))
        return jnp.where(tasks.present, weights, 0), new

    return jax.vmap(one)(state, gramians, jax.random.split(tasks.key, len(gramians)))


def leave_out(
    tasks: Tasks, gramians: Float[Array, "K T T"]
) -> tuple[Tasks, Float[Array, "K T T"]]:
    """Without the tasks whose gradient is not finite."""
    norms = jnp.sum(jnp.diagonal(gramians, axis1=1, axis2=2), 0)
    good = tasks.present & jnp.isfinite(norms)
    tasks = tasks.replace(present=good, losses=jnp.where(good, tasks.losses, 0))
    return tasks, jnp.where(good[:, None] & good[None, :], gramians, 0)


def conflicts(gramian: Float[Array, "T T"]) -> Array:
    """Pairs of tasks with a negative inner product."""
    return jnp.sum(jnp.triu(gramian < 0, 1))


def finish(
    update: Any, old: Any, new: Any, tasks: Tasks, extra: dict[str, Array]
) -> Balanced:
    """Applies the rule for steps that come to nothing."""
    taken = jnp.any(tasks.present) & all_finite(update)
    metrics = {
        "losses": tasks.losses,
        "left_out": jnp.sum(~tasks.present),
        "skipped": ~taken,
    }
    return Balanced(
        jax.tree.map(lambda x: jnp.where(taken, x, jnp.zeros_like(x)), update),
        jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old),
        metrics | extra,
    )
