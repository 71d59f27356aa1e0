"""Paths in directed graphs given as lists of edges."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int


def downstream(
    source: Int[Array, "E"], target: Int[Array, "E"], used: Bool[Array, "E"], nodes: int
) -> Bool[Array, "N N"]:
    """``[u, v]``: whether a path of at least one edge leads from u to v.

    Args:
      source: node each edge leaves from, in ``[0, nodes)``.
      target: node each edge ends in.
      used: the edges in use.
      nodes: number of nodes ``N``.
    """
    reach = jnp.zeros((nodes, nodes), jnp.float32)
    reach = reach.at[source, target].max(used.astype(jnp.float32))
    for _ in range(int(np.ceil(np.log2(max(nodes, 2))))):
        reach = jnp.minimum(reach + reach @ reach, 1)
    return reach > 0
