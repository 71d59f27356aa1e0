"""ExcessMTL: robust learning with excess risks (He et al. 2024).

1. ``S_t += g_t^2`` elementwise; the excess risk of task ``t`` is
   ``sum g_t^2 / sqrt(S_t + 1e-7)`` (Eqs. 6, 7).
2. Over that of the task's first step, so that scales do not matter (3.2).
3. ``w_t *= exp(step_size * risk_t)``, of sum 1 (Eq. 9); the update is the weighted sum.

As the paper and torchjd, weights start at ``1 / T``; LibMTL's have sum ``T``. As in
LibMTL the first step only sets the baseline (torchjd with one step of warm-up).
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.balancing.gradients import weighted
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.registry import BALANCING, Traits
from evojax_mtl.pytrees import Pytree

_LEAST = 1e-7


class ExcessMTLState(Pytree):
    """Log weights, the first risks (0 before), sums of squares like the gradients."""

    logits: Float[Array, "T"]
    first: Float[Array, "T"]
    squares: Any


class ExcessMTL(Pytree):
    """Weights that grow with the excess risk.

    Attributes:
      step_size: of the weights (per step).
    """

    step_size: float = 1e-2

    traits: ClassVar[Traits] = BALANCING["excess-mtl"]

    def init(self, gradients: Any) -> ExcessMTLState:
        """Equal weights; sums of squares take as much memory as the gradients."""
        squares = jax.tree.map(lambda g: jnp.zeros(g.shape, jnp.float32), gradients)
        tasks = jax.tree.leaves(gradients)[0].shape[0]
        logits, first = jnp.zeros((2, tasks))
        return ExcessMTLState(logits, first, squares)

    def aggregate(
        self, state: ExcessMTLState, gradients: Any, tasks: Tasks
    ) -> tuple[Any, ExcessMTLState]:
        """See ``GradientAggregator``."""
        squares = jax.tree.map(lambda s, g: s + g**2, state.squares, gradients)
        shares = jax.tree.map(
            lambda s, g: jnp.sum(
                (g**2 / jnp.sqrt(s + _LEAST)).reshape(len(g), -1), axis=1
            ),
            squares,
            gradients,
        )
        risk = sum(jax.tree.leaves(shares))
        started = state.first > 0
        risen = started & tasks.present
        ratio = jnp.where(risen, risk / jnp.where(started, state.first, 1), 0)
        logits = jax.nn.log_softmax(state.logits + self.step_size * ratio)
        weights = jax.nn.softmax(logits, where=tasks.present)
        update = jax.tree.map(lambda g: weighted(weights, g), gradients)
        first = jnp.where(started, state.first, risk)
        return update, ExcessMTLState(logits, first, squares)
