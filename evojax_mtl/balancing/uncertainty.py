"""Uncertainty weighting (Kendall, Gal, Cipolla 2018, Eq. 7 with ``s = log sigma^2``).

``sum_t exp(-s_t) L_t / 2 + s_t / 2``, and ``s`` descends the same sum. As torchjd's
``UW``, ``s`` starts at 0; LibMTL starts at -0.5 (``initial``).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.learning import Learned, learn, start
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class UncertaintyWeighting(Pytree):
    """Losses over learned variances.

    Attributes:
      learning_rate: Adam's, of the log variances (per step).
      initial: log variance before the first step.
    """

    learning_rate: float = 1e-3
    initial: float = 0.0

    traits: ClassVar[Traits] = BALANCING["uncertainty"]

    def init(self, tasks: int) -> Learned:
        """Log variances."""
        return start(jnp.zeros(tasks) + self.initial)

    def combine(self, state: Learned, tasks: Tasks) -> tuple[Float[Array, ""], Learned]:
        """See ``LossBalancer``."""

        def scalar(log_variance):
            each = jnp.exp(-log_variance) * tasks.losses / 2 + log_variance / 2
            return jnp.sum(each, where=tasks.present)

        value, gradient = jax.value_and_grad(scalar)(state.values)
        return value, learn(state, gradient, self.learning_rate, tasks.present)
