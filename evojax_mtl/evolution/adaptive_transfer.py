"""When to transfer and when to evolve alone, as MTNAS decides (Zhou 2023).

Shape legend: ``N`` individuals of a population, ``S`` integers of a genome.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def alone(
    own: Float[Array, ""],
    others: Float[Array, ""],
    genomes: Int[Array, "N S"],
    diversity: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """The probability of self-evolution, ``sigmoid(d + q - p)``.

    Args:
      own: q, what the task earned.
      others: p, what the others earned.
      genomes: of the task's population.
      diversity: factor of d, the sum of pairwise Hamming distances, less that of a
        population in which all pairs differ in one integer.
    """
    distances = jnp.sum(genomes[:, None] != genomes, axis=(1, 2))
    pairs = len(genomes) * (len(genomes) - 1) / 2
    d = diversity * (jnp.sum(distances) / 2 - pairs)
    return jax.nn.sigmoid(d + own - others)
