"""A batching rule for programs full of loops and branches.

``jax.vmap`` turns a loop with a traced trip count into one that masks every write, and
a branch into all branches: several times the work. A *batchable* function runs its
members one after the other on CPU and folds them into its batched work elsewhere.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap


def batchable(
    function: Callable[..., Any], folded: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """``function`` of pytrees of arrays, with the rule above.

    Args:
      function: what to run; it is not differentiated through.
      folded: the same over a leading axis of members, for accelerators; by default
        ``jax.vmap`` of ``function``.
    """
    folded = folded or jax.vmap(function)
    call = custom_vmap(function)

    @call.def_vmap
    def rule(size, mapped, *args):
        def spread(flag, value):
            return value if flag else jnp.broadcast_to(value, (size, *value.shape))

        args = jax.tree.map(spread, tuple(mapped), args)

        def members(*args):
            return jax.lax.map(lambda one: function(*one), args)

        out = jax.lax.platform_dependent(*args, cpu=members, default=folded)
        return out, jax.tree.map(lambda _: True, out)

    return call
