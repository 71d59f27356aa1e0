"""Dynamic weight average (Liu, Johns, Davison 2019, Eq. 7).

``w = T softmax(r / temperature)``, ``r`` the mean loss of the last epoch over that of
the one before; equal weights in the first two epochs. As torchjd's and LibMTL's.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class DWAState(Pytree):
    """Sums over the present epoch, means of the last two."""

    step: Int[Array, ""]
    total: Float[Array, "T"]
    seen: Float[Array, "T"]
    last: Float[Array, "T"]
    before: Float[Array, "T"]


class DWA(Pytree):
    """Weights by how slowly losses fall.

    Attributes:
      temperature: of the softmax; the higher, the more even.
      epoch: length of an epoch (steps).
    """

    temperature: float = 2.0
    epoch: int = 100

    traits: ClassVar[Traits] = BALANCING["dwa"]

    def init(self, tasks: int) -> DWAState:
        """Nothing seen."""
        sums, means = jnp.zeros((2, tasks)), jnp.ones((2, tasks))
        return DWAState(jnp.zeros((), jnp.int32), *sums, *means)

    def combine(
        self, state: DWAState, tasks: Tasks
    ) -> tuple[Float[Array, ""], DWAState]:
        """See ``LossBalancer``."""
        step = state.step + 1
        rates = state.last / state.before / self.temperature
        weights = tasks.count * jax.nn.softmax(rates, where=tasks.present)
        ready = state.step >= 2 * self.epoch
        weights = jnp.where(ready, weights, tasks.present)
        total = state.total + jax.lax.stop_gradient(tasks.losses)
        seen = state.seen + tasks.present
        full = step % self.epoch == 0
        # a task without a label in a whole epoch keeps its last mean
        mean = jnp.where(seen > 0, total / jnp.maximum(seen, 1), state.last)
        new = DWAState(
            step=step,
            total=jnp.where(full, 0, total),
            seen=jnp.where(full, 0, seen),
            last=jnp.where(full, mean, state.last),
            before=jnp.where(full, state.last, state.before),
        )
        return jnp.sum(weights * tasks.losses), new
