"""What populations whose members are evaluated together have in common.

Shape legend: ``J`` networks, ``P`` individuals, ``S`` groups (species).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def deal(
    key: Array, group: Int[Array, "P"], groups: int, count: int
) -> Int[Array, "J S"]:
    """Members of each group for ``count`` hands, all before one comes again.

    Args:
      key: randomness.
      group: of each individual.
      groups: how many there may be; those without members deal individual 0.
      count: hands.
    """
    draws = jax.random.uniform(key, (count, group.shape[0]))
    hand = jnp.arange(count)

    def one(number):
        mine = group == number
        size = jnp.maximum(mine.sum(), 1)
        order = jnp.argsort(jnp.where(mine, draws, 2.0), axis=1)
        return jnp.where(mine.any(), order[hand // size, hand % size], 0)

    return jax.lax.map(one, jnp.arange(groups)).T.astype(jnp.int32)


def attribute(
    fitness: Float[Array, "J"],
    members: Int[Array, "J S"],
    used: Bool[Array, "J S"],
    group: Int[Array, "P"],
    groups: int,
) -> Float[Array, "P"]:
    """The mean fitness of the networks that contain each individual.

    Of one that none contains the mean over its group, or over all networks where none
    of the group is in any.

    Args:
      fitness: of the networks.
      members: individuals that a network may contain.
      used: whether it does.
      group: of each individual.
      groups: how many there may be.
    """
    count = group.shape[0]
    each = jnp.where(used, fitness[:, None], 0)
    total = jnp.zeros(count).at[members].add(each)
    times = jnp.zeros(count).at[members].add(used)
    of_group = jnp.zeros(groups).at[group].add(total)
    in_group = jnp.zeros(groups).at[group].add(times)
    mean = of_group / jnp.maximum(in_group, 1)
    mean = jnp.where(in_group > 0, mean, jnp.mean(fitness))
    return jnp.where(times > 0, total / jnp.maximum(times, 1), mean[group])
