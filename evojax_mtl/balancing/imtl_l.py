"""IMTL-L, the loss balance of impartial multi-task learning (Liu et al. 2021, 3.2).

``sum_t exp(s_t) L_t - s_t``, and ``s``, from 0, descends the same sum, so that all
``exp(s_t) L_t`` tend to 1. As torchjd's ``IMTLL``; LibMTL's ``IMTL`` joins it with
IMTL-G.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.learning import Learned, learn, start
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class IMTLL(Pytree):
    """Losses scaled to one size.

    Attributes:
      learning_rate: Adam's, of the log scales (per step).
    """

    learning_rate: float = 1e-3

    traits: ClassVar[Traits] = BALANCING["imtl-l"]

    def init(self, tasks: int) -> Learned:
        """Log scales of 0."""
        return start(jnp.zeros(tasks))

    def combine(self, state: Learned, tasks: Tasks) -> tuple[Float[Array, ""], Learned]:
        """See ``LossBalancer``."""

        def scalar(log_scale):
            each = jnp.exp(log_scale) * tasks.losses - log_scale
            return jnp.sum(each, where=tasks.present)

        value, gradient = jax.value_and_grad(scalar)(state.values)
        return value, learn(state, gradient, self.learning_rate, tasks.present)
