"""GradDrop: gradient sign dropout (Chen et al. 2020, Algorithm 1).

On a representation: each task's gradient times the sign of the activation, summed over
the batch, has at every value a purity ``P = (1 + sum_t s_t / sum_t |s_t|) / 2``. With
``U`` uniform, positive ``s_t`` pass where ``P > U`` and negative ones where ``P < U``;
``leak`` of the others passes too.

As the paper and LibMTL, on representations alone. torchjd's works on any matrix, that
is on a batch of one with positive activations.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class GradDrop(Pytree):
    """At each value the gradients of one sign.

    Attributes:
      leak: what passes of the gradients that are dropped (fraction).
    """

    leak: float = 0.0

    traits: ClassVar[Traits] = BALANCING["graddrop"]

    def init(self, gradients: Any) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def aggregate(
        self, state: tuple[()], gradients: Float[Array, "T B *shape"], tasks: Tasks
    ) -> tuple[Float[Array, "B *shape"], tuple[()]]:
        """See ``GradientAggregator``."""
        signed = jnp.sum(gradients * jnp.sign(tasks.representation), axis=1)
        drawn = jax.random.uniform(tasks.key, signed.shape[1:])
        passed = self.leak + (1 - self.leak) * kept(signed, drawn)
        return jnp.sum(gradients * passed[:, None], 0), state


def kept(
    signed: Float[Array, "T *shape"], drawn: Float[Array, "*shape"]
) -> Float[Array, "T *shape"]:
    """1 where a task's value passes, by uniform numbers ``drawn``."""
    size = jnp.sum(jnp.abs(signed), 0)
    purity = (1 + jnp.sum(signed, 0) / jnp.where(size > 0, size, 1)) / 2
    up = (purity > drawn) & (signed > 0)
    down = (purity < drawn) & (signed < 0)
    return (up | down).astype(signed.dtype)
