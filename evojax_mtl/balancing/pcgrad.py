"""PCGrad: gradient surgery (Yu et al. 2020, Algorithm 1).

Each task's gradient loses, for every other task in random order, its component along
that task's gradient where the two conflict; the update is the sum. From inner products
alone, as torchjd's; LibMTL's does the same on the gradients. A gradient of 0 conflicts
with none.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class PCGrad(Pytree):
    """Gradients without their conflicts."""

    traits: ClassVar[Traits] = BALANCING["pcgrad"]

    def init(self, tasks: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def weigh(
        self, state: tuple[()], gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], tuple[()]]:
        """See ``GramianWeighting``."""
        orders = random_orders(tasks.key, len(gramian))
        each = jax.vmap(without_conflicts, in_axes=(None, 0, 0))
        rows = each(gramian, jnp.arange(len(gramian)), orders)
        return jnp.sum(jnp.where(tasks.present[:, None], rows, 0), 0), state


def random_orders(key: Array, tasks: int) -> Int[Array, "T T"]:
    """For each task an order of all tasks."""
    keys = jax.random.split(key, tasks)
    return jax.vmap(lambda key: jax.random.permutation(key, tasks))(keys)


def without_conflicts(
    gramian: Float[Array, "T T"], task: Int[Array, ""], order: Int[Array, "T"]
) -> Float[Array, "T"]:
    """Weights that make ``task``'s gradient without conflicts, in this order."""

    def visit(weights, other):
        inner = gramian[other] @ weights
        norm = gramian[other, other]
        conflict = (inner < 0) & (other != task) & (norm > 0)
        part = jnp.where(conflict, inner / jnp.where(norm > 0, norm, 1), 0)
        return weights.at[other].add(-part), None

    start = jnp.zeros(len(gramian)).at[task].set(1)
    return jax.lax.scan(visit, start, order)[0]
