"""A small problem of three tasks that conflict, and a step of any method on it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.registry import BALANCING
from evojax_mtl.pytrees import Pytree
from tests.balancing.toys import names

FIELDS = {
    # short epochs and warm-ups, so that 20 steps see the methods at work
    "dwa": {"epoch": 4},
    "stch": {"warmup": 4, "averaged": 2},
    "excess-mtl": {"step_size": 0.5},
    "uncertainty": {"learning_rate": 0.02},
    "rotograd": {"learning_rate": 0.01},
}
BATCH, INPUTS, WIDTH = 6, 5, 4


def build(name):
    return BALANCING[name].build(**FIELDS.get(name, {}))


class Problem(Pytree):
    """An encoder of two layers, and linear heads.

    Attributes:
      x: inputs.
      heads: ``(T, WIDTH)``.
      targets: ``(T, BATCH)``.
      size: of each task's loss.
      params: the encoder's first weights.
    """

    x: Any
    heads: Any
    targets: Any
    size: Any
    params: Any

    @property
    def tasks(self):
        return len(self.heads)

    def take(self, order):
        """The same with these tasks."""
        return self.replace(
            heads=self.heads[order], targets=self.targets[order], size=self.size[order]
        )

    def encode(self, params):
        hidden = jnp.tanh(self.x @ params["first"]["kernel"] + params["first"]["bias"])
        return jnp.tanh(hidden @ params["second"]["kernel"])

    def scores(self, heads, views):
        errors = jnp.einsum("tbd,td->tb", views, heads) - self.targets
        return self.size * jnp.mean(errors**2, 1) + 0.01

    def losses(self, params, scale=1.0, offset=0.0):
        z = self.encode(params)
        views = jnp.broadcast_to(z, (self.tasks, *z.shape))
        return scale * self.scores(self.heads, views) + offset

    def start(self, name, **use):
        """A balancer and its state."""
        balancer = Balancer(build(name), names(self.tasks), **use)
        if BALANCING[name].representation == "required":
            shape = jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.float32)
            return balancer, balancer.init_through(shape)
        return balancer, balancer.init(self.params)

    def step(self, balancer, params, state, key, present=None, scale=1.0, offset=0.0):
        """``Balanced`` of the encoder; the heads stay."""
        if balancer.method.traits.representation == "required":
            found = balancer.update_through(
                self.encode,
                lambda heads, views: scale * self.scores(heads, views) + offset,
                (params, self.heads),
                state,
                key=key,
                present=present,
            )
            return found._replace(update=found.update[0])
        losses = partial(self.losses, scale=scale, offset=offset)
        return balancer.update(losses, params, state, key=key, present=present)


def three_tasks():
    """Each conflicts with the two others."""
    draw = np.random.default_rng(11)
    x = draw.normal(size=(BATCH, INPUTS))
    heads = draw.normal(size=(3, WIDTH))
    a, b = heads[:2]
    heads = np.stack([a, 0.8 * b - 0.5 * a, -0.8 * b - 0.5 * a])
    targets = 0.3 * draw.normal(size=(3, BATCH)) + 1.5
    first = draw.normal(size=(INPUTS, 7)) / 2
    second = draw.normal(size=(7, WIDTH)) / 3
    params = {
        "first": {"kernel": jnp.asarray(first, jnp.float32), "bias": jnp.zeros(7)},
        "second": {"kernel": jnp.asarray(second, jnp.float32)},
    }
    arrays = (jnp.asarray(a, jnp.float32) for a in (x, heads, targets))
    return Problem(*arrays, size=jnp.asarray([1.0, 3.0, 0.3]), params=params)
