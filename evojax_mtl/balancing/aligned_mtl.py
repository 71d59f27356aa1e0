"""Aligned-MTL: independent component alignment (Senushkin et al. 2023, Algorithm 1).

With ``G = V diag(lambda) V'`` (eigenvalues that are not noise), the weights are
``sqrt(scale) V diag(lambda)^(-1/2) V' / T``: the principal components of the gradients
get one size. ``scale`` is the least eigenvalue (``min``, the paper), the lower median
or the mean (``rmse``, the authors' first code).

Over ``T`` as torchjd, so that equal orthogonal gradients give their mean; LibMTL's is
``T`` times as large. A gradient of 0 has no weight.
"""

from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.balancing.spectrum import eigen
from evojax_mtl.pytrees import Pytree, static


class AlignedMTL(Pytree):
    """Principal components of one size.

    Attributes:
      scale: the eigenvalue that gives the size.
    """

    scale: Literal["min", "median", "rmse"] = static(default="min")

    traits: ClassVar[Traits] = BALANCING["aligned-mtl"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        largest = jnp.max(jnp.diagonal(gramian))
        values, vectors, real = eigen(gramian / jnp.where(largest > 0, largest, 1))
        rank = jnp.sum(real)
        if self.scale == "min":
            scale = jnp.min(values, where=real, initial=jnp.inf)
        elif self.scale == "median":
            first = len(values) - rank
            scale = values[jnp.minimum(first + (rank - 1) // 2, len(values) - 1)]
        else:
            scale = jnp.sum(values, where=real) / jnp.maximum(rank, 1)
        roots = jnp.where(real, jnp.sqrt(scale / jnp.where(real, values, 1)), 0)
        return vectors @ (roots * (vectors.T @ tasks.share)), state
