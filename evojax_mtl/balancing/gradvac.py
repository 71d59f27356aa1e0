"""Gradient vaccine (Wang et al. 2021, Algorithm 1).

For each task ``i`` and the others ``j`` in random order: where the cosine ``phi`` of
``i``'s gradient, as changed so far, with ``j``'s is below its moving average
``target[i, j]``, ``g_j`` is added so that it equals the average (Eq. 2). The average
then moves by ``beta`` towards ``phi``; the update is the sum.

As the paper and torchjd the average always moves; LibMTL moves it only where a gradient
was changed. Tasks that are left out, or have no gradient, move nothing.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.balancing.pcgrad import random_orders
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree

_LEAST = 1e-8


class GradVac(Pytree):
    """Gradients turned towards each other's usual similarity.

    Attributes:
      beta: how fast the averages move (per step).
    """

    beta: float = 0.5

    traits: ClassVar[Traits] = BALANCING["gradvac"]

    def init(self, tasks: int) -> Float[Array, "T T"]:
        """Averages of 0."""
        return jnp.zeros((tasks, tasks))

    def weigh(
        self,
        state: Float[Array, "T T"],
        gramian: Float[Array, "T T"],
        tasks: Tasks,
    ) -> tuple[Float[Array, "T"], Float[Array, "T T"]]:
        """See ``GramianWeighting``."""
        largest = jnp.max(jnp.diagonal(gramian))
        gramian = gramian / jnp.where(largest > 0, largest, 1)
        orders = random_orders(tasks.key, len(gramian))
        moving = tasks.present & (jnp.diagonal(gramian) > 0)
        each = jax.vmap(vaccinated, in_axes=(None, None, None, 0, 0, 0))
        rows, targets = each(
            gramian, moving, self.beta, jnp.arange(len(gramian)), orders, state
        )
        weights = jnp.sum(jnp.where(tasks.present[:, None], rows, 0), 0)
        return weights, targets


def vaccinated(
    gramian: Float[Array, "T T"],
    moving: Bool[Array, "T"],
    beta: Float[Array, ""] | float,
    task: Int[Array, ""],
    order: Int[Array, "T"],
    targets: Float[Array, "T"],
) -> tuple[Float[Array, "T"], Float[Array, "T"]]:
    """Weights that make ``task``'s changed gradient, and its new averages."""

    def visit(carry, other):
        weights, targets = carry
        products = gramian @ weights
        norm = jnp.sqrt(jnp.maximum(products @ weights, 0))
        other_norm = jnp.sqrt(gramian[other, other])
        phi = products[other] / (norm * other_norm + _LEAST)
        target = targets[other]
        sine = jnp.sqrt(jnp.maximum(1 - phi**2, 0))
        target_sine = jnp.sqrt(jnp.maximum(1 - target**2, 0))
        part = norm * (target * sine - phi * target_sine)
        part = part / (other_norm * target_sine + _LEAST)
        both = moving[other] & moving[task] & (other != task)
        changes = both & (phi < target)
        weights = weights.at[other].add(jnp.where(changes, part, 0))
        mean = (1 - beta) * target + beta * phi
        return (weights, targets.at[other].set(jnp.where(both, mean, target))), None

    start = jnp.zeros(len(gramian)).at[task].set(1)
    return jax.lax.scan(visit, (start, targets), order)[0]
