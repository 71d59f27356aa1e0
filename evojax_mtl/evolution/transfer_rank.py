"""Transfer rank: which architectures of other tasks to transfer (Zhang 2024, III-D).

Shape legend: ``M`` transferred individuals of a generation, ``G`` remembered
generations of them, ``L`` individuals of the historical transferred set (``G * M``),
``K`` candidates, ``C`` children, ``D`` dimensions of an embedding.

For one target task, each generation:

1. ``update`` (Algorithm 1): the individuals transferred last are labelled, 1 where a
   child ranks in the top r % of the next population (``positive``), else -1, and join
   the historical transferred set HTS, which forgets negative ones after m generations;
2. ``transfer_rank`` (Algorithm 2): each individual of HTS adds its label to the
   candidate that is nearest to it; the sum is the candidate's transfer rank;
3. ``select`` (Algorithm 3): the M candidates of the highest ranks are transferred,
   at random within the last group of equals that does not fit whole.

Where the paper leaves room: an individual with several children is positive if at least
one of them ranks in the top (the journal version's definition); Algorithm 1 gives the
positive set no index of generations and says of negatives alone that m generations are
saved, so the positives are those of the last generation, as in the authors' code, or of
more generations by choice. Of candidates equally near the first is taken: they are the
same architecture or the same vector.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evolution.tabular import at_places, places
from evojax_mtl.pytrees import Pytree

POSITIVE, NEGATIVE = 1, -1


class History(Pytree):
    """HTS of one task: the newest generation first.

    Attributes:
      rows: which architectures were transferred: rows of a table, or genomes.
      labels: 1 positive, -1 negative, 0 no entry.
    """

    rows: Int[Array, "*n"]
    labels: Int[Array, "*n G M"]


def no_history(
    generations: int, transferred: int, genome: tuple[int, ...] = ()
) -> History:
    """An empty set with room for ``generations`` of ``transferred`` individuals.

    ``genome`` is the shape of one's genome; ``()`` for a row of a table.
    """
    empty = jnp.zeros((generations, transferred), jnp.int32)
    rows = jnp.zeros((*empty.shape, *genome), jnp.int32)
    return History(rows=rows, labels=empty)


def top_size(ratio: Array | float, population: int) -> Array:
    """r of the population, rounded up, at least 1 (individuals)."""
    return jnp.maximum(1, jnp.ceil(ratio * population - 1e-4))


def positive(
    parents: Int[Array, "C"],
    ranks: Int[Array, "C"],
    transferred: int,
    top: Array | int | float,
) -> Bool[Array, "M"]:
    """Whether each transferred individual has a child in the top of the population.

    Args:
      parents: which transferred individual a child has as a parent, 0 to M - 1; any
        other number where it has none.
      ranks: of each child in the next population, 0 for the best.
      transferred: M.
      top: size of the top, r % of the population (individuals).
    """
    mine = parents[:, None] == jnp.arange(transferred)
    return jnp.any(mine & (ranks < top)[:, None], axis=0)


def update(
    history: History,
    rows: Int[Array, "M *g"],
    labels: Int[Array, "M"],
    negatives: Array | int,
    positives: Array | int = 1,
) -> History:
    """Algorithm 1: one more generation of transferred individuals.

    Args:
      history: HTS before.
      rows: the individuals transferred last.
      labels: ``POSITIVE`` or ``NEGATIVE`` each, or 0 for one to leave out.
      negatives: m, generations that a negative individual stays; at most those that
        ``history`` has room for.
      positives: likewise for a positive one.
    """
    rows = jnp.concatenate([rows[None], history.rows[:-1]])
    labels = jnp.concatenate([labels[None], history.labels[:-1]])
    age = jnp.arange(len(labels))[:, None]
    stay = jnp.where(labels == POSITIVE, age < positives, age < negatives)
    return History(rows=rows, labels=jnp.where(stay, labels, 0))


def transfer_rank(
    distances: Float[Array, "L K"], labels: Int[Array, "L"]
) -> Int[Array, "K"]:
    """Algorithm 2: the sum of the labels whose nearest candidate each one is.

    Args:
      distances: from each individual of HTS to each candidate.
      labels: of HTS; 0 where there is no individual.
    """
    nearest = jnp.argmin(distances, axis=1)
    associated = nearest[:, None] == jnp.arange(distances.shape[1])
    return jnp.sum(jnp.where(associated, labels[:, None], 0), axis=0)


def select(
    chance: Float[Array, "K"], rank: Int[Array, "K"], transferred: int
) -> Int[Array, "M"]:
    """Algorithm 3: the candidates of the highest ranks, ties broken at random.

    Args:
      chance: uniform draws from ``[0, 1)``.
      rank: transfer rank of each candidate.
      transferred: M, at most K.
    """
    return at_places(places(rank + chance), transferred)
