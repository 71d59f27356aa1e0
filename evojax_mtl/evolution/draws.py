"""Many uniform draws by one key, for searches whose own work is little.

Threefry's 20 rounds a number take longer than what a search on a table does with it.
Here they have made the key, and the draws are its two words with a counter, twice
through a mixer of 32 bits whose every input bit flips each output bit in half of all
cases (lowbias32, C. Wellons, Hash Prospector, 2018): a counter-based generator, as
threefry.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_STEP = 0x9E3779B9
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B
_SPARE = 8
"""Bits of a word beyond those of a float32."""


def uniform(key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draws from ``[0, 1)``, multiples of 2 ** -24.

    The key must have come of ``split`` or ``fold_in``, and serve for no other draws.
    """
    start, other = jax.random.key_data(key)[:2]
    count = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    word = _mix(_mix(count * jnp.uint32(_STEP) + start) ^ other) >> _SPARE
    # as int32: conversion from unsigned is not vectorised
    number = word.astype(jnp.int32).astype(jnp.float32)
    return (number * 2.0 ** (_SPARE - 32)).reshape(shape)


def _mix(word):
    for shift, factor in ((16, _FIRST), (15, _SECOND)):
        word = (word ^ (word >> shift)) * jnp.uint32(factor)
    return word ^ (word >> 16)
