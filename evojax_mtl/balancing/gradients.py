"""Gradients of all tasks, their inner products, and sums of them.

Shape legend: ``T`` tasks. Gradients of all tasks are pytrees, or lists, of leaves
``(T, ...)``; they are never joined into one matrix.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Passes = Literal["vmap", "loop", "recomputed"]
"""How the tasks' gradients come about.

``vmap``: one pass for all tasks together, whose gradients are kept; fastest. ``loop``:
one task after the other, so that the activations' gradients of one task at a time are
in memory. ``recomputed``: one pass for all, of which only inner products are kept, and
another pass for the weighted sum; for methods that need no more than inner products.
"""


def per_task(
    pull: Callable[[Float[Array, "T"]], Any],
    losses: Float[Array, "T"],
    *,
    loop: bool = False,
) -> Any:
    """The gradient of every loss, leaves ``(T, ...)``.

    Args:
      pull: from weights of the losses to the gradient of their weighted sum, as
        ``jax.vjp`` gives it.
      losses: what ``jax.vjp`` gave with it; only their number and type matter.
      loop: one task after the other.
    """
    each = jnp.eye(losses.shape[0], dtype=losses.dtype)
    return jax.lax.map(pull, each) if loop else jax.vmap(pull)(each)


def gramian_of(leaves: Sequence[Array]) -> Float[Array, "T T"]:
    """Inner products of the tasks' gradients in float32, leaf by leaf."""
    total = jnp.zeros((leaves[0].shape[0],) * 2, jnp.float32)
    for leaf in leaves:
        rows = leaf.reshape(leaf.shape[0], -1)
        total += jnp.matmul(
            rows,
            rows.T,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.float32,
        )
    return (total + total.T) / 2


def only(present: Bool[Array, "T"], leaf: Array) -> Array:
    """``leaf`` with 0 for absent tasks, whatever they held."""
    return jnp.where(present.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, 0)


def weighted(weights: Float[Array, "T"], leaf: Array) -> Array:
    """``sum_t weights_t leaf_t`` in float32; a weight of 0 leaves out also NaN."""
    rows = only(weights != 0, leaf.astype(jnp.float32))
    return jnp.tensordot(weights, rows, 1)


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every value is finite."""
    finite = jnp.array(True)
    for leaf in jax.tree.leaves(tree):
        finite &= jnp.isfinite(jnp.sum(leaf.astype(jnp.float32)))
    return finite
