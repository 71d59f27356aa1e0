"""Dropout whose mask depends on a key and an identity, never on a position."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

LEVELS = 256


def keep_threshold(rate: Float[Array, "*lanes"] | float) -> Int[Array, "*lanes"]:
    """Of ``LEVELS`` equally likely draws, how many keep a unit; at least 1.

    Draws have 8 bits, so the rate is met to 1/512.
    """
    kept = jnp.round((1 - jnp.asarray(rate)) * LEVELS).astype(jnp.int32)
    return jnp.clip(kept, 1, LEVELS)


def dropout(
    key: Array,
    identity: Int[Array, "2"],
    x: Float[Array, "*shape"],
    threshold: Int[Array, ""],
) -> Float[Array, "*shape"]:
    """Zeros each unit with probability ``1 - threshold / LEVELS``, scales the rest."""
    key = jax.random.fold_in(jax.random.fold_in(key, identity[0]), identity[1])
    bits = jax.random.bits(key, x.shape, jnp.uint8)
    keep = bits <= (threshold - 1).astype(jnp.uint8)
    return jnp.where(keep, x * (LEVELS / threshold), 0)
