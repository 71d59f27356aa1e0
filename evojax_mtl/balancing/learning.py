"""Numbers that a method learns beside the network: Adam steps of its own.

Shape legend: ``T`` tasks.

The papers train such numbers with the network's optimiser or with one of their own;
here each method has its own, so that its update is the network's alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from evojax_mtl.pytrees import Pytree


class Learned(Pytree):
    """Values, and Adam's state."""

    values: Float[Array, "T *shape"]
    adam: Any


def start(values: Float[Array, "T *shape"]) -> Learned:
    """Before the first step."""
    return Learned(values, optax.scale_by_adam().init(values))


def learn(
    learned: Learned,
    gradient: Float[Array, "T *shape"],
    rate: Float[Array, ""] | float,
    present: Bool[Array, "T"],
    decay: Float[Array, ""] | float = 0.0,
) -> Learned:
    """One step of Adam; the values of absent tasks stay.

    Args:
      learned: values and Adam's state.
      gradient: of what falls.
      rate: learning rate.
      present: tasks to step.
      decay: added to the gradient, times the values, as in Kingma and Ba's L2.
    """
    mask = present.reshape(-1, *(1,) * (gradient.ndim - 1))
    gradient = jnp.where(mask, gradient + decay * learned.values, 0)
    step, adam = optax.scale_by_adam().update(gradient, learned.adam)
    values: Any = jax.tree.map(lambda x, dx: x - rate * dx, learned.values, step)
    return Learned(jnp.where(mask, values, learned.values), adam)
