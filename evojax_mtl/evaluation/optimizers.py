"""Optimisers whose learning rate is traced: a sweep of rates never recompiles."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

TRANSFORMATIONS = {
    "adam": optax.scale_by_adam,
    "adamw": lambda: optax.chain(
        optax.scale_by_adam(), optax.add_decayed_weights(1e-4)
    ),
    "sgd": lambda: optax.trace(decay=0.9, nesterov=True),
    "rmsprop": optax.scale_by_rms,
}


def optimizer(name: str) -> optax.GradientTransformation:
    """The transformation of gradients, before the learning rate.

    ``adam``; ``adamw`` with weight decay 1e-4; ``sgd`` with Nesterov momentum 0.9;
    ``rmsprop``.
    """
    return TRANSFORMATIONS[name]()


def chosen_optimizer(
    names: Sequence[str], choice: Int[Array, ""] | int
) -> optax.GradientTransformation:
    """The one of several optimisers that a traced index chooses.

    Its state holds the states of all; those of the others stay as they are.
    """
    every = [optimizer(name) for name in names]

    def init(params):
        return tuple(one.init(params) for one in every)

    def update(updates, state, params=None, **_):
        def by(index, gradients, state, params):
            updates, own = every[index].update(gradients, state[index], params)
            return updates, (*state[:index], own, *state[index + 1 :])

        branches = [partial(by, index) for index in range(len(every))]
        return jax.lax.switch(choice, branches, updates, state, params)

    return optax.GradientTransformation(init, update)


def apply_gradients(
    transformation: optax.GradientTransformation,
    gradients: Any,
    state: Any,
    params: Any,
    learning_rate: Array | float,
    wanted: Bool[Array, ""] | bool = True,
) -> tuple[Any, Any, Bool[Array, ""]]:
    """One step, or none where a gradient is not finite or none is wanted.

    Returns the weights, the optimiser's state, and whether the step was taken.
    """
    finite = jnp.asarray(wanted)
    for leaf in jax.tree.leaves(gradients):
        finite &= jnp.isfinite(jnp.sum(leaf))
    updates, new_state = transformation.update(gradients, state, params)

    def step(param, update):
        return jnp.where(finite, param - learning_rate * update, param)

    def keep(new, old):
        return jnp.where(finite, new, old)

    return (
        jax.tree.map(step, params, updates),
        jax.tree.map(keep, new_state, state),
        finite,
    )
