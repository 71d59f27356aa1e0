"""FAMO, fast adaptive multitask optimisation (Liu et al. 2023, Algorithm 2).

1. ``c sum_t z_t log D_t``, ``z = softmax(w)``, ``D_t = L_t - b_t``,
   ``c = 1 / sum_t (z_t / D_t)``: the update is a convex combination of the gradients.
2. After the update, ``w`` takes an Adam step by ``d z / d w (log D - log D')``, with
   ``D'`` from the losses of the same batch (``observe``), and weight decay.

As torchjd's and LibMTL's: decay 1e-3 of the paper, not the 1e-5 of the authors' code.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.learning import Learned, learn, start
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree

_LEAST = 1e-8


class FAMOState(Pytree):
    """Logits of the weights, and the losses before the update."""

    logits: Learned
    before: Float[Array, "T"]
    present: Bool[Array, "T"]


class FAMO(Pytree):
    """Log losses that fall at one rate; losses must be above ``bound``.

    Attributes:
      learning_rate: Adam's, of the logits (per step).
      decay: of the logits.
      bound: least value of the losses.
    """

    learning_rate: float = 0.025
    decay: float = 1e-3
    bound: float = 0.0

    traits: ClassVar[Traits] = BALANCING["famo"]

    def init(self, tasks: int) -> FAMOState:
        """Equal weights."""
        zeros = jnp.zeros(tasks)
        return FAMOState(start(zeros), zeros + 1, jnp.ones(tasks, bool))

    def combine(
        self, state: FAMOState, tasks: Tasks
    ) -> tuple[Float[Array, ""], FAMOState]:
        """See ``LossBalancer``."""
        weights = jax.nn.softmax(state.logits.values, where=tasks.present)
        above = self._above(tasks.losses, tasks.present)
        scale = 1 / jax.lax.stop_gradient(jnp.sum(weights / above))
        value = scale * jnp.sum(weights * jnp.log(above))
        before = jax.lax.stop_gradient(tasks.losses)
        return value, state.replace(before=before, present=tasks.present)

    def observe(self, state: FAMOState, losses: Float[Array, "T"]) -> FAMOState:
        """See ``protocol``; tasks whose loss is now out of bounds take no step."""
        fine = state.present & jnp.isfinite(losses) & (losses > self.bound)
        before = jnp.log(self._above(state.before, fine))
        fall = before - jnp.log(self._above(losses, fine))

        def change(logits):
            return jnp.sum(jax.nn.softmax(logits, where=state.present) * fall)

        slope = jax.grad(change)(state.logits.values)
        logits = learn(state.logits, slope, self.learning_rate, fine, self.decay)
        return state.replace(logits=logits)

    def _above(self, losses: Array, present: Array) -> Array:
        return jnp.where(present, losses - self.bound + _LEAST, 1)
