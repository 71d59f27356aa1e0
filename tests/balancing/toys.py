"""Losses whose gradients are given, and short ways to run a method on them."""

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.protocol import Tasks

KEY = jax.random.key(0)


def names(tasks):
    return tuple(f"task{t}" for t in range(tasks))


def tasks_of(losses, present=None, key=KEY):
    losses = jnp.asarray(losses, jnp.float32)
    if present is None:
        present = jnp.ones(losses.shape, bool)
    return Tasks(losses=losses, present=jnp.asarray(present), key=key)


def gramian(jacobian):
    rows = np.asarray(jacobian, np.float64)
    return jnp.asarray(rows @ rows.T, jnp.float32)


@jax.jit
def _weigh(method, state, g, tasks):
    return method.weigh(state, g, tasks)


def weigh(method, jacobian, losses=None, state=None, **given):
    """Weights and new state of a Gramian weighting."""
    count = len(jacobian)
    tasks = tasks_of(np.ones(count) if losses is None else losses, **given)
    state = method.init(count) if state is None else state
    return _weigh(method, state, gramian(jacobian), tasks)


def updated(method, jacobian, losses=None, **given):
    """The combination of the gradients that a Gramian weighting makes."""
    weights, _ = weigh(method, jacobian, losses, **given)
    return np.asarray(weights, np.float64) @ np.asarray(jacobian, np.float64)


def linear(jacobian, losses):
    """Losses with these gradients and, at 0, these values; and the point 0."""
    jacobian = jnp.asarray(jacobian, jnp.float32)
    losses = jnp.asarray(losses, jnp.float32)
    return lambda x: jacobian @ x + losses, jnp.zeros(jacobian.shape[1])


def stepped(method, jacobian, losses, state=None, key=KEY, **use):
    """``Balancer.update`` at the point 0 of ``linear``."""
    balancer = Balancer(method, names(len(jacobian)), **use)
    function, point = linear(jacobian, losses)
    state = balancer.init(point) if state is None else state
    return balancer.update(function, point, state, key=key)
