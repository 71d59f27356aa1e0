"""LEAF's two objectives: fitness, and what is to be small (Liang 2019, 3.3).

Shape legend: ``K`` networks that a front has room for.

The second objective is the network's parameters, its floating-point operations for one
example (two for each multiply-add), or the time that it takes for one, measured.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evojax_mtl.evolution.front import Front

LONGEST = 1e6
"""Latency of which nothing is saved (microseconds an example)."""


def saved(cost: Float[Array, "K"], most: float) -> Float[Array, "K"]:
    """What a cost is below the largest: 1 for a cost of 1, 0 for ``most``.

    In orders of magnitude, since sizes of networks spread over several.
    """
    return 1 - jnp.log(jnp.maximum(cost, 1)) / np.log(max(most, 2))


def front_metrics(front: Front, most: float) -> dict[str, Array]:
    """The front by ascending cost, NaN after its last member, and its hypervolume."""
    cost = jnp.where(front.there, -front.secondary, jnp.nan)
    # NaN come last
    order = jnp.argsort(cost)
    validation = jnp.where(front.there, front.primary, jnp.nan)
    return {
        "front_validation": validation[order],
        "front_cost": cost[order],
        "hypervolume": front.volume(saved(-front.secondary, most)),
    }


def members(front: Front) -> list[int]:
    """Places of the front's members (on the host), the cheapest first."""
    places = np.flatnonzero(np.asarray(front.primary) > -np.inf)
    order = np.argsort(-np.asarray(front.secondary)[places], kind="stable")
    return places[order].tolist()
