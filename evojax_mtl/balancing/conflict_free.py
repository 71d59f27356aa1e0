"""ConFIG: conflict-free inverse gradients (Liu, Chu, Thuerey 2025, Eqs. 2 and 3).

The direction ``x = U^+ 1`` that has one cosine with all gradients, ``U`` their
directions, and the length ``sum_t g_t' x / |x|``. From inner products: ``x = U' c``
with ``c = (U U')^+ 1``. As torchjd's; a gradient of 0 has no weight.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.balancing.spectrum import solve_any_rank, unit_rows
from evojax_mtl.pytrees import Pytree


class ConFIG(Pytree):
    """Equal cosines with all gradients."""

    traits: ClassVar[Traits] = BALANCING["config"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        cosines, norms = unit_rows(gramian)
        moving = (jnp.diagonal(gramian) > 0).astype(jnp.float32)
        parts = moving * solve_any_rank(cosines, moving)
        projections = cosines @ parts
        squared = parts @ projections
        length = jnp.sum(norms * moving * projections)
        weights = length * parts / norms / jnp.where(squared > 0, squared, 1)
        return jnp.where(squared > 0, weights, 0), state
