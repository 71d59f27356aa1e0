"""MGDA: multiple-gradient descent (Sener, Koltun 2018, Algorithm 2; Desideri 2012).

The weights of the least norm in the convex hull of the tasks' gradients, each first
divided by a normaliser: 1, its norm (``l2``), its loss (``loss``), or both (``loss+``).
On a representation (``Balancer.update_through``) this is MGDA-UB; the batch stays a
dimension of the gradients, as in the authors' code.

The weights multiply the gradients as they are, as in the paper and its code; LibMTL's
multiply the normalised ones (``rescaled``). torchjd has no normalisers. The solver is
exact, theirs are not: see ``min_norm``. Where a task has no gradient, or 0 lies in the
hull, the update is 0: the point is Pareto stationary.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.min_norm import min_norm
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree, static

Normalizer = Literal["none", "l2", "loss", "loss+"]


class MGDA(Pytree):
    """The least norm in the hull.

    Attributes:
      normalizer: what each gradient is divided by before the search; with ``loss`` and
        ``loss+`` losses must be above 0.
      rescaled: whether the update combines the normalised gradients.
    """

    normalizer: Normalizer = static(default="none")
    rescaled: bool = static(default=False)

    @property
    def traits(self) -> Traits:
        """Those of ``mgda``."""
        by_loss = self.normalizer in ("loss", "loss+")
        return dataclasses.replace(BALANCING["mgda"], positive=by_loss)

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        sizes = jnp.ones_like(tasks.losses)
        if self.normalizer in ("l2", "loss+"):
            sizes *= jnp.sqrt(jnp.diagonal(gramian))
        if self.normalizer in ("loss", "loss+"):
            sizes *= tasks.losses
        sizes = jnp.where(sizes > 0, sizes, 1)
        normal = gramian / sizes[:, None] / sizes[None, :]
        weights = min_norm(normal, tasks.present)
        return (weights / sizes if self.rescaled else weights), state
