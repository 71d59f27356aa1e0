"""GradNorm (Chen et al. 2018, Algorithm 1).

1. ``w = T softmax(s)``; the update is ``sum_t w_t g_t``.
2. With ``G_t = |w_t g_t|``, their mean ``M``, and the relative inverse training rate
   ``r_t = (L_t / L_t(0)) / mean``, ``s`` takes an Adam step down
   ``sum_t |G_t - M r_t^alpha|`` with ``M r^alpha`` held.

``L_t(0)`` is the first loss seen, as in the paper; LibMTL takes the mean of the first
epoch and starts after it. The softmax keeps the sum at ``T``, as LibMTL; the paper
rescales after each step.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.learning import Learned, learn, start
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class GradNormState(Pytree):
    """Logits of the weights, first losses (0 before)."""

    logits: Learned
    first: Float[Array, "T"]


class GradNorm(Pytree):
    """Gradient norms that follow the training rates; losses must be above 0.

    Attributes:
      alpha: how strongly slow tasks are pulled along.
      learning_rate: Adam's, of the logits (per step).
    """

    alpha: float = 1.5
    learning_rate: float = 0.025

    traits: ClassVar[Traits] = BALANCING["gradnorm"]

    def init(self, tasks: int) -> GradNormState:
        """Equal weights."""
        return GradNormState(start(jnp.zeros(tasks)), jnp.zeros(tasks))

    def weigh(
        self, state: GradNormState, gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], GradNormState]:
        """See ``GramianWeighting``."""
        norms = jnp.sqrt(jnp.diagonal(gramian))
        first = jnp.where(state.first > 0, state.first, tasks.losses)
        weights = self._weights(state.logits.values, tasks)
        slope = jax.grad(self._imbalance)(state.logits.values, norms, first, tasks)
        logits = learn(state.logits, slope, self.learning_rate, tasks.present)
        return weights, GradNormState(logits, first)

    def _weights(self, logits: Array, tasks: Tasks) -> Float[Array, "T"]:
        return tasks.count * jax.nn.softmax(logits, where=tasks.present)

    def _imbalance(
        self, logits: Array, norms: Array, first: Array, tasks: Tasks
    ) -> Float[Array, ""]:
        sizes = self._weights(logits, tasks) * norms
        rates = jnp.where(tasks.present, tasks.losses / jnp.maximum(first, 1e-30), 0)
        mean_rate = jnp.sum(rates) / tasks.count
        relative = jnp.where(tasks.present, rates / jnp.maximum(mean_rate, 1e-30), 1)
        mean = jnp.sum(sizes, where=tasks.present) / tasks.count
        target = jax.lax.stop_gradient(mean * relative**self.alpha)
        return jnp.sum(jnp.abs(sizes - target), where=tasks.present)
