"""Geometric loss strategy (Chennupati et al. 2019): ``(prod_t L_t)^(1 / T)``.

By logarithms, as torchjd's ``GeometricMean``; LibMTL multiplies, which underflows.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class GLS(Pytree):
    """The geometric mean of the losses, which must be above 0."""

    traits: ClassVar[Traits] = BALANCING["gls"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def combine(
        self, state: tuple[()], tasks: Tasks
    ) -> tuple[Float[Array, ""], tuple[()]]:
        """See ``LossBalancer``."""
        logs = jnp.log(jnp.where(tasks.present, tasks.losses, 1))
        return jnp.exp(jnp.sum(logs) / tasks.count), state
