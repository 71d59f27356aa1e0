"""Dropout whose mask depends on a key and an identity, never on a position."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8, UInt32

LEVELS = 256


def keep_threshold(rate: Float[Array, "*lanes"] | float) -> Int[Array, "*lanes"]:
    """Of ``LEVELS`` equally likely draws, how many keep a unit; at least 1.

    Draws have 8 bits, so the rate is met to 1/512.
    """
    kept = jnp.round((1 - jnp.asarray(rate)) * LEVELS).astype(jnp.int32)
    return jnp.clip(kept, 1, LEVELS)


def _mix(x: UInt32[Array, "n"]) -> UInt32[Array, "n"]:
    """A bijection of 32-bit words without visible structure (lowbias32)."""
    x ^= x >> 16
    x *= jnp.uint32(0x21F0AAAD)
    x ^= x >> 15
    x *= jnp.uint32(0x735A2D97)
    return x ^ (x >> 15)


def dropout_seed(key: Array, identity: Int[Array, "2"]) -> UInt32[Array, "2"]:
    """Two words, a pure function of key and identity."""
    key = jax.random.fold_in(jax.random.fold_in(key, identity[0]), identity[1])
    return jax.random.bits(key, (2,), jnp.uint32)


def _bytes(seed: UInt32[Array, "2"], size: int) -> UInt8[Array, "n"]:
    counter = jax.lax.iota(jnp.uint32, -(-size // 4)) + seed[0]
    words = _mix(_mix(counter) + seed[1])
    return jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:size]


def random_bytes(key: Array, identity: Int[Array, "2"], size: int) -> UInt8[Array, "n"]:
    """``size`` bytes, a pure function of key and identity.

    Threefry makes two words of them, a counter hashed with these the bytes: several
    times cheaper than Threefry throughout, and good enough for a mask.
    """
    return _bytes(dropout_seed(key, identity), size)


def seeded_dropout(
    seed: UInt32[Array, "2"],
    x: Float[Array, "*shape"],
    threshold: Int[Array, ""],
) -> Float[Array, "*shape"]:
    """``dropout`` for a seed that was made beforehand.

    With a threshold of ``LEVELS`` it returns ``x`` to the bit, so that nodes which drop
    nothing need no branch: where two devices of a CPU ran networks of layers at once,
    results behind one differed from call to call.
    """
    draws = _bytes(seed, math.prod(x.shape)).reshape(x.shape)
    keep = draws <= (threshold - 1).astype(jnp.uint8)
    return jnp.where(keep, x * (LEVELS / threshold), 0)


def dropout(
    key: Array,
    identity: Int[Array, "2"],
    x: Float[Array, "*shape"],
    threshold: Int[Array, ""],
) -> Float[Array, "*shape"]:
    """Zeros each unit with probability ``1 - threshold / LEVELS``, scales the rest."""
    return seeded_dropout(dropout_seed(key, identity), x, threshold)
