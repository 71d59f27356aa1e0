"""Gramians of gradients of length 1, and pseudoinverses.

Shape legend: ``T`` tasks.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def unit_rows(
    gramian: Float[Array, "T T"],
) -> tuple[Float[Array, "T T"], Float[Array, "T"]]:
    """The Gramian of the gradients' directions, and what they were divided by.

    A gradient of 0 stays 0, and its norm is told as 1.
    """
    diagonal = jnp.diagonal(gramian)
    norms = jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    return gramian / norms[:, None] / norms[None, :], norms


def eigen(
    gramian: Float[Array, "T T"],
) -> tuple[Float[Array, "T"], Float[Array, "T T"], Bool[Array, "T"]]:
    """Eigenvalues (ascending), eigenvectors (columns), and those that are not noise.

    Noise is up to ``T`` times the machine's precision times the largest.
    """
    values, vectors = jnp.linalg.eigh(gramian)
    noise = jnp.max(values) * len(values) * jnp.finfo(values.dtype).eps
    return values, vectors, values > jnp.maximum(noise, 0)


def solve_any_rank(
    gramian: Float[Array, "T T"], wanted: Float[Array, "T"]
) -> Float[Array, "T"]:
    """The pseudoinverse of a Gramian times ``wanted``."""
    values, vectors, real = eigen(gramian)
    inverse = jnp.where(real, 1 / jnp.where(real, values, 1), 0)
    return vectors @ (inverse * (vectors.T @ wanted))
