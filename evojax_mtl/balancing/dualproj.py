"""DualProj: gradient episodic memory's projection (Lopez-Paz, Ranzato 2017, Eq. 11).

The mean gradient, projected on the dual cone of all gradients, where it conflicts with
none. As torchjd's.
"""

from typing import ClassVar

from jaxtyping import Array, Float

from evojax_mtl.balancing.dual_cone import project, regularized
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class DualProj(Pytree):
    """The unconflicting projection of the mean.

    Attributes:
      ridge: added to the diagonal of the Gramian of trace 1.
    """

    ridge: float = 1e-4

    traits: ClassVar[Traits] = BALANCING["dualproj"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        definite = regularized(gramian, self.ridge)
        return project(definite, tasks.share, tasks.present), state
