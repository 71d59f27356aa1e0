"""UPGrad: Jacobian descent (Quinton, Rey 2024, Definition 3).

Each task's gradient is projected on the dual cone of all gradients, where it conflicts
with none; the update is the mean of the projections. As torchjd's and LibMTL's, whose
QP solver is called on the host.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.dual_cone import project, regularized
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class UPGrad(Pytree):
    """The mean of unconflicting projections.

    Attributes:
      ridge: added to the diagonal of the Gramian of trace 1.
    """

    ridge: float = 1e-4

    traits: ClassVar[Traits] = BALANCING["upgrad"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        definite = regularized(gramian, self.ridge)
        each = jax.vmap(project, in_axes=(None, 0, None))
        rows = each(definite, jnp.diag(tasks.share), tasks.present)
        return jnp.sum(rows, 0), state
