"""Historical markings that agree across a generation (Stanley 2002, 3.2).

Shape legend: ``P`` individuals.

Each structural mutation that appears gets the next number; the same mutation of several
individuals in one generation gets one number, whose order is that of the individuals.
Later generations count on: the same structure that appears again is another gene.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from evojax_mtl.pytrees import Pytree


class Counter(Pytree):
    """The next markings.

    Attributes:
      node: of a node.
      edge: of an edge.
    """

    node: Int[Array, ""]
    edge: Int[Array, ""]


def number(
    first: Int[Array, "P"], second: Int[Array, "P"], wanted: Bool[Array, "P"]
) -> tuple[Int[Array, "P"], Int[Array, ""]]:
    """Numbers from 0 for distinct pairs, and how many there are.

    Args:
      first: half of what tells a mutation.
      second: its other half.
      wanted: who mutates; the numbers of others mean nothing.
    """
    count = wanted.shape[0]
    order = jnp.lexsort((second, first, ~wanted))
    a, b, here = first[order], second[order], wanted[order]
    same = (a == jnp.roll(a, 1)) & (b == jnp.roll(b, 1)) & (jnp.arange(count) > 0)
    fresh = here & ~same
    group = jnp.cumsum(fresh) - 1
    # the sort is stable: the first of a group is the first individual of it
    leads = jnp.zeros(count, bool).at[order].set(fresh)
    rank = jnp.cumsum(leads) - 1
    leader = (
        jnp.zeros(count, order.dtype)
        .at[jnp.where(fresh, group, count)]
        .set(order, mode="drop")
    )
    found = rank[leader[group]]
    return jnp.zeros(count, found.dtype).at[order].set(found), leads.sum()
