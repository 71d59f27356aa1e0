"""CoNAL's rule for conflicts (Yue, Zhang, Liang 2023), a baseline of MAMO (Tan 2024).

In each layer: where any two tasks' gradients have a negative inner product, the update
of the layer is 0 for all; elsewhere it is their mean. The authors' code defines it and
then does not call it; their groups of layers are the network's stages
(``Balancer.grouping``).
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class ConflictZeroing(Pytree):
    """The mean where no tasks conflict, else nothing."""

    traits: ClassVar[Traits] = BALANCING["conal"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        return jnp.where(jnp.any(gramian < 0), 0, tasks.share), state
