"""Smooth Tchebycheff scalarisation (Lin et al. 2024), as in its multi-task experiments.

Warm-up: ``sum_t log L_t``, the mean losses of whose last steps are the nadir ``z``.
Then ``T mu log sum_t exp(log(L_t / z_t) / mu)``, near ``T`` times the largest.

This is the authors' and LibMTL's form, with steps in the place of epochs. torchjd's
``STCH`` is the bare Eq. 8 without logarithms, nadir and warm-up.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree


class STCHState(Pytree):
    """Sums of the losses over the steps that make the nadir."""

    step: Int[Array, ""]
    total: Float[Array, "T"]
    seen: Float[Array, "T"]


class STCH(Pytree):
    """A smooth maximum of log losses, which must be above 0.

    Attributes:
      mu: smoothness; the maximum where it tends to 0.
      warmup: steps before it sets in.
      averaged: the last of these, over which the nadir is averaged (steps).
    """

    mu: float = 1.0
    warmup: int = 500
    averaged: int = 100

    traits: ClassVar[Traits] = BALANCING["stch"]

    def init(self, tasks: int) -> STCHState:
        """Nothing seen."""
        return STCHState(jnp.zeros((), jnp.int32), *jnp.zeros((2, tasks)))

    def combine(
        self, state: STCHState, tasks: Tasks
    ) -> tuple[Float[Array, ""], STCHState]:
        """See ``LossBalancer``."""
        logs = jnp.log(jnp.where(tasks.present, tasks.losses, 1))
        warm = state.step < self.warmup
        known = state.seen > 0
        nadir = jnp.where(known, state.total / jnp.maximum(state.seen, 1), 1)
        above = jnp.where(tasks.present, (logs - jnp.log(nadir)) / self.mu, -jnp.inf)
        smooth = tasks.count * self.mu * jax.nn.logsumexp(above)
        value = jnp.where(warm, jnp.sum(logs), smooth)
        counts = warm & (state.step >= self.warmup - self.averaged)
        adds = counts & tasks.present
        losses = jax.lax.stop_gradient(tasks.losses)
        new = STCHState(
            step=state.step + 1,
            total=state.total + jnp.where(adds, losses, 0),
            seen=state.seen + adds,
        )
        return value, new
