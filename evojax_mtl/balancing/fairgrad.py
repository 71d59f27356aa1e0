"""FairGrad: fair resource allocation (Ban, Ji 2024, Algorithm 1 and Eq. 4).

The weights solve ``G w = w^(-1 / alpha)``: ``alpha`` of 1 is proportional fairness
(Nash bargaining), and larger ones tend to max-min fairness. torchjd and LibMTL minimise
the squares of the residual; here the equation is solved. Tasks without a gradient have
no weight.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.fairness import fair_weights
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class FairGrad(Pytree):
    """Alpha-fair shares of the descent.

    Attributes:
      alpha: kind of fairness, above 0.
    """

    alpha: float = 1.0

    traits: ClassVar[Traits] = BALANCING["fairgrad"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        power = 1 / jnp.asarray(self.alpha, jnp.float32)
        return fair_weights(gramian, power, tasks.present), state
