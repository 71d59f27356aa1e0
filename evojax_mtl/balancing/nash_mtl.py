"""Nash-MTL: multi-task learning as a bargaining game (Navon et al. 2022, Algorithm 1).

The weights solve ``G w = 1 / w`` (Claim 3.1) for ``G`` over its Frobenius norm, and an
update longer than ``max_norm`` is shortened to it, as in the authors' code, LibMTL and
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
        largest = jnp.max(jnp.diagonal(gramian))
        largest = jnp.where(largest > 0, largest, 1)
        near_one = gramian / largest
        frobenius = jnp.sqrt(jnp.sum(near_one**2))
        frobenius = jnp.where(frobenius > 0, frobenius, 1)
        weights = fair_weights(near_one / frobenius, 1.0, tasks.present)
        squared = jnp.maximum(weights @ near_one @ weights, 0)
        norm = jnp.sqrt(squared) * jnp.sqrt(largest)
        over = norm > self.max_norm
        shorter = self.max_norm / jnp.where(over, norm, 1)
        return jnp.where(over, shorter, 1) * weights, state
