"""The Pareto front of all that a search has measured, kept as it grows.

Shape legend: ``K`` individuals there is room for.

An individual enters unless another equals or exceeds it in both objectives, and those
that it equals or exceeds leave: what stays is Algorithm 3's front of everybody so far
(Liang 2019; Fig. 4 draws it), of equal individuals the first. Where there is no room
left, the one goes that adds the least area between its neighbours; the two ends stay.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.evolution.hypervolume import hypervolume
from evojax_mtl.pytrees import Pytree

ROOM = 64
"""Individuals that a front holds unless told otherwise."""


class Front(Pytree):
    """A front, in no order.

    Attributes:
      items: the individuals; every leaf has a leading axis ``K``.
      primary: first objective, greater is better; minus infinity for none.
      secondary: second objective, greater is better.
    """

    items: Any
    primary: Float[Array, "K"]
    secondary: Float[Array, "K"]

    @property
    def there(self) -> Bool[Array, "K"]:
        """The places taken."""
        return self.primary > -jnp.inf

    def entered(
        self, item: Any, primary: Float[Array, ""], secondary: Float[Array, ""]
    ) -> "Front":
        """The front after an individual was measured.

        One whose objectives are not both finite stays out.
        """
        room, there = self.primary.shape[0], self.there
        above = (self.primary >= primary) & (self.secondary >= secondary)
        below = (self.primary <= primary) & (self.secondary <= secondary)
        enters = jnp.isfinite(primary) & jnp.isfinite(secondary)
        enters &= ~(there & above).any()
        there &= ~(enters & below)
        kept = jnp.where(there, self.primary, -jnp.inf)
        crowded = _least(
            jnp.append(kept, primary), jnp.append(self.secondary, secondary)
        )
        place = jnp.where(there.all(), crowded, jnp.argmin(there))
        place = jnp.where(enters, place, room)

        def put(many, one):
            return many.at[place].set(one, mode="drop")

        return Front(
            items=jax.tree.map(put, self.items, item),
            primary=put(kept, primary),
            secondary=put(self.secondary, secondary),
        )

    def volume(self, secondary: Float[Array, "K"]) -> Float[Array, ""]:
        """The area above 0 that the front dominates, with the second objective so."""
        return hypervolume(jnp.stack([self.primary, secondary], 1), jnp.zeros(2))


def no_front(item: Any, room: int = ROOM) -> Front:
    """Nobody yet; ``item`` gives the shapes."""
    return Front(
        items=jax.tree.map(lambda x: jnp.broadcast_to(x, (room, *jnp.shape(x))), item),
        primary=jnp.full(room, -jnp.inf, jnp.float32),
        secondary=jnp.zeros(room, jnp.float32),
    )


def _least(primary: Float[Array, "K1"], secondary: Float[Array, "K1"]) -> Array:
    """Who of a full front adds the least area, its two ends excepted."""
    order = jnp.argsort(-primary)
    first, second = primary[order], secondary[order]
    inner = (first[1:-1] - first[2:]) * (second[1:-1] - second[:-2])
    return order[1 + jnp.argmin(inner)]
