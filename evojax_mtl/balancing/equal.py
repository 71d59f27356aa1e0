"""Equal weighting: the sum of the losses, as LibMTL's ``EW`` and torchjd's ``Sum``."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class EqualWeighting(Pytree):
    """``sum_t L_t``."""

    traits: ClassVar[Traits] = BALANCING["equal"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def combine(
        self, state: tuple[()], tasks: Tasks
    ) -> tuple[Float[Array, ""], tuple[()]]:
        """See ``LossBalancer``."""
        return jnp.sum(tasks.losses), state
