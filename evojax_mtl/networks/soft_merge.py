"""Soft merge: a learned convex combination of tensors (Liang 2018, Eq. 1)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def soft_merge(
    logits: Float[Array, "M"],
    inputs: Float[Array, "M *shape"],
    mask: Bool[Array, "M"] | None = None,
) -> Float[Array, "*shape"]:
    """``sum_m softmax(logits)_m * inputs_m`` over the inputs that ``mask`` keeps."""
    weights = jax.nn.softmax(logits, where=mask)
    return jnp.tensordot(weights, inputs, 1)


def merge_weights(
    logits: Float[Array, "E"],
    target: Int[Array, "E"],
    edge: Bool[Array, "E"],
    nodes: int,
) -> Float[Array, "E"]:
    """The soft-merge weight of every edge: softmax over the edges of one target.

    Args:
      logits: scales ``s_m`` of the edges.
      target: node that each edge ends in, in ``[0, nodes)``.
      edge: the edges in use; others get weight 0.
      nodes: number of nodes ``N``.
    """
    logits = jnp.where(edge, logits, -jnp.inf)
    largest = jnp.full((nodes,), -jnp.inf, logits.dtype).at[target].max(logits)
    largest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0))
    scales = jnp.exp(logits - largest[target])
    total = jnp.zeros((nodes,), logits.dtype).at[target].add(scales)
    return jnp.where(edge, scales / jnp.where(edge, total[target], 1), 0)


def initial_scale(
    logits: Float[Array, "E"],
    into: Bool[Array, "E"],
    alpha: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """The scale that gives a new edge the weight ``alpha`` after the softmax.

    Liang 2018, 3.3.2 step 6: ``ln(alpha / (1 - alpha) * sum_j e^(s_j - s_max)) +
    s_max`` over the existing edges ``into`` the node.
    """
    largest = jnp.max(logits, where=into, initial=-jnp.inf)
    total = jnp.sum(jnp.exp(logits - largest), where=into)
    return jnp.log(alpha / (1 - alpha) * total) + largest
