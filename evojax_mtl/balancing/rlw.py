"""Random loss weighting (Lin et al. 2022, Algorithm 2), with normal weights.

``softmax`` of ``T`` normal numbers, drawn anew at every step, as torchjd's ``Random``
and LibMTL's ``RLW`` with its default distribution.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class RLW(Pytree):
    """Random weights."""

    traits: ClassVar[Traits] = BALANCING["rlw"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def combine(
        self, state: tuple[()], tasks: Tasks
    ) -> tuple[Float[Array, ""], tuple[()]]:
        """See ``LossBalancer``."""
        drawn = jax.random.normal(tasks.key, tasks.losses.shape)
        weights = jax.nn.softmax(drawn, where=tasks.present)
        return jnp.sum(weights * tasks.losses), state
