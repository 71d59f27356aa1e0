"""MoCo: multi-objective correction (Fernando et al. 2023, Algorithm 1).

At step ``k``, from ``y = 0`` and ``lambda = 1 / T``:

1. ``y_t -= beta_k (y_t - g_t)``, which tracks the gradients.
2. ``lambda = project(lambda - gamma_k (Y Y' + rho I) lambda)``, towards the least norm.
3. The update is ``sum_t lambda_t y_t``.

``beta_k = beta / k^beta_decay``, likewise ``gamma_k``. ``variant='paper'`` projects on
the simplex and tracks gradients as they are. ``variant='code'`` is the authors' code,
also LibMTL's: each gradient is first given the size of its loss, and a softmax stands
for the projection. A task that is left out keeps ``y_t`` and adds nothing.
"""

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.balancing.gradients import gramian_of, only, weighted
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree, static

_LEAST = 1e-8


class MoCoState(Pytree):
    """Steps taken, weights, tracked gradients."""

    step: Int[Array, ""]
    weights: Float[Array, "T"]
    tracked: Any


class MoCo(Pytree):
    """Tracked gradients and weights towards their least norm.

    Attributes:
      beta: rate of the tracked gradients (per step).
      beta_decay: power of the step that it falls with.
      gamma: rate of the weights (per step).
      gamma_decay: power of the step that it falls with.
      rho: ridge of the inner products.
      variant: ``'paper'`` or the authors' ``'code'``.
    """

    beta: float = 0.5
    beta_decay: float = 0.5
    gamma: float = 0.1
    gamma_decay: float = 0.5
    rho: float = 0.0
    variant: Literal["paper", "code"] = static(default="paper")

    traits: ClassVar[Traits] = BALANCING["moco"]

    def init(self, gradients: Any) -> MoCoState:
        """Gradients of 0, which take as much memory as the gradients."""
        zeros = jax.tree.map(lambda g: jnp.zeros(g.shape, jnp.float32), gradients)
        tasks = jax.tree.leaves(gradients)[0].shape[0]
        return MoCoState(jnp.zeros((), jnp.int32), jnp.full(tasks, 1 / tasks), zeros)

    def aggregate(
        self, state: MoCoState, gradients: Any, tasks: Tasks
    ) -> tuple[Any, MoCoState]:
        """See ``GradientAggregator``."""
        step = state.step + 1
        power = step.astype(jnp.float32)
        beta = self.beta / power**self.beta_decay
        gamma = self.gamma / power**self.gamma_decay
        sizes = jnp.ones_like(tasks.losses)
        if self.variant == "code":
            norms = jnp.sqrt(jnp.diagonal(gramian_of(jax.tree.leaves(gradients))))
            sizes = tasks.losses / (norms + _LEAST)

        def follow(y: Array, g: Array) -> Array:
            g = sizes.reshape(-1, *(1,) * (g.ndim - 1)) * g
            return y - only(tasks.present, beta * (y - g))

        tracked = jax.tree.map(follow, state.tracked, gradients)
        products = gramian_of(jax.tree.leaves(tracked))
        pull = products @ state.weights + self.rho * state.weights
        moved = state.weights - gamma * pull
        if self.variant == "code":
            weights = jax.nn.softmax(moved, where=tasks.present)
        else:
            weights = on_simplex(moved, tasks.present)
        update = jax.tree.map(lambda y: weighted(weights, y), tracked)
        kept = jnp.where(tasks.present, weights, state.weights)
        return update, MoCoState(step, kept / jnp.sum(kept), tracked)


def on_simplex(
    point: Float[Array, "T"], present: Bool[Array, "T"]
) -> Float[Array, "T"]:
    """The nearest weights of sum 1, at least 0, and 0 for absent tasks."""
    point = jnp.where(present, point, -jnp.inf)
    falling = jnp.sort(point, descending=True)
    counts = jnp.arange(1, len(point) + 1)
    offsets = (jnp.cumsum(falling) - 1) / counts
    inside = falling > offsets
    offset = offsets[jnp.maximum(jnp.sum(inside) - 1, 0)]
    return jnp.where(present, jnp.maximum(point - offset, 0), 0)
