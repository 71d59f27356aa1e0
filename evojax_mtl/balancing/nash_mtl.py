"""Nash-MTL: multi-task learning as a bargaining game (Navon et al. 2022, Algorithm 1).

The weights solve ``G w = 1 / w`` (Claim 3.1), which makes an update of the norm
``sqrt(T)``; it is shortened to ``max_norm``, as in the authors' code, LibMTL and
torchjd. They linearise and call a conic solver for up to 20 rounds from the last
weights; here the equation is solved. Tasks without a gradient have no weight.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.fairness import fair_weights
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class NashMTL(Pytree):
    """The Nash bargaining solution.

    Attributes:
      max_norm: largest norm of the update.
    """

    max_norm: float = 1.0

    traits: ClassVar[Traits] = BALANCING["nash-mtl"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        weights = fair_weights(gramian, 1.0, tasks.present)
        # w' G w adds up 1 for each task that has a gradient
        norm = jnp.sqrt(jnp.sum(weights > 0).astype(jnp.float32))
        return weights * jnp.minimum(1, self.max_norm / jnp.maximum(norm, 1)), state
