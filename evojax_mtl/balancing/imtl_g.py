"""IMTL-G, the gradient balance of impartial multi-task learning (Liu et al. 2021, 3.1).

Weights of sum 1 whose combination has equal projections on all tasks' directions:
``v = G^+ d``, ``d`` the norms, ``w = v / sum v``. For independent gradients that is the
paper's closed form, also LibMTL's; for dependent ones a pseudoinverse as in torchjd,
here of the gradients' directions, so that scales do not decide what counts as
dependent. Zero weights where ``v`` has no sum; a gradient of 0 has no weight.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.balancing.spectrum import solve_any_rank, unit_rows
from evojax_mtl.pytrees import Pytree

_NOTHING = 1e-6


class IMTLG(Pytree):
    """Equal projections on all gradients."""

    traits: ClassVar[Traits] = BALANCING["imtl-g"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        cosines, norms = unit_rows(gramian)
        moving = (jnp.diagonal(gramian) > 0).astype(jnp.float32)
        v = moving * solve_any_rank(cosines, moving) / norms
        total = jnp.sum(v)
        real = jnp.abs(total) > _NOTHING * jnp.sum(jnp.abs(v))
        return jnp.where(real, v / jnp.where(real, total, 1), 0), state
