"""Parents by tournament, among a population and those transferred to it (Zhang 2024).

Shape legend: ``T`` tasks, ``N`` children of a task, ``W`` individuals that may become
parents, ``M`` of them transferred, the last ones.

Zhang 2024 names tournaments of two, crossover and mutation, and does not say how a
transferred individual, which has no fitness here, competes: as in the authors' code, it
beats those of the population, and of several any is as likely to win.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.evolution.multifactorial import Mating
from evojax_mtl.evolution.tabular import places

NEITHER = -1
"""In the place of a transferred individual: a parent of the population's own."""


def winner(
    chance: Float[Array, "W"], fitness: Float[Array, "W"], size: int
) -> Int[Array, ""]:
    """The fittest of ``size`` individuals drawn without replacement.

    Of equal fitness each is as likely.
    """
    drawn = places(chance) < size
    best = jnp.max(jnp.where(drawn, fitness, -jnp.inf))
    return jnp.argmax(jnp.where(drawn & (fitness == best), chance, -1))


def mate(
    key: Array,
    fitness: Float[Array, "T W"],
    children: int,
    size: int,
    crossover: Float[Array, ""] | float,
) -> Mating:
    """Two winners for every two children, in each task for itself.

    Args:
      key: randomness.
      fitness: of all who may be parents, infinite for those transferred.
      children: of each task.
      size: of a tournament, at most ``W``.
      crossover: CP, that a pair crosses.
    """
    tasks, width = fitness.shape
    pairs = -(-children // 2)
    draw_key, cross_key = jax.random.split(key)
    chance = jax.random.uniform(draw_key, (tasks, 2 * pairs, width))
    alone = jax.vmap(winner, (0, None, None))
    won = jax.vmap(alone, (0, 0, None))(chance, fitness, size)
    won = won + width * jnp.arange(tasks)[:, None]
    couples = won.reshape(tasks, pairs, 2).astype(jnp.int32)
    crossed = jax.random.uniform(cross_key, (tasks, pairs)) < crossover
    # both children of a couple, one after the other
    pair, child = np.divmod(np.arange(children, dtype=np.int32), 2)
    own = pairs * np.arange(tasks, dtype=np.int32)[:, None]
    return Mating(
        pair=jnp.asarray(own + pair),
        child=jnp.asarray(np.tile(child, (tasks, 1))),
        parents=couples[:, pair],
        crossed=crossed[:, pair],
        mapped=couples[:, pair, child],
    )


def transferred_parents(
    mating: Mating, width: int, transferred: int
) -> Int[Array, "T N 2"]:
    """Which transferred individual each child has as a parent, or ``NEITHER``.

    A child that does not cross has one parent alone, told twice.

    Args:
      mating: of ``mate``.
      width: W.
      transferred: M.
    """
    crossed = mating.crossed[..., None]
    parents = jnp.where(crossed, mating.parents, mating.mapped[..., None])
    place = parents % width - (width - transferred)
    return jnp.where(place >= 0, place, NEITHER)
