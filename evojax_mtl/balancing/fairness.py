"""Weights that make every task's share of the descent fair.

Shape legend: ``T`` tasks.

``(G w)_t = w_t^(-p)``, ``w > 0``: Nash bargaining for ``p = 1``, alpha-fairness for
``p = 1 / alpha``. It is the optimum of the convex ``w' G w / 2 - sum_t psi(w_t)`` with
``psi' = w^(-p)``, found by damped Newton steps, whose damping ``1 / (1 + decrement)``
is that of self-concordant functions. No solver of another package is called, where
torchjd and LibMTL linearise (Nash) or minimise squares (FairGrad) to a tolerance.

Where a combination of the gradients with positive weights is 0, no finite ``w`` solves
this: a ridge of ``RIDGE`` times the diagonal keeps it finite.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.quadratic import solve_definite
from evojax_mtl.balancing.spectrum import unit_rows

RIDGE = 1e-5
_LIMIT = 100
_CLOSE = 1e-6


def fair_weights(
    gramian: Float[Array, "T T"],
    power: Float[Array, ""] | float,
    present: Bool[Array, "T"],
) -> Float[Array, "T"]:
    """The ``w``; 0 for tasks that are absent or have no gradient.

    Args:
      gramian: inner products of the gradients.
      power: ``p``, above 0.
      present: the tasks that take part.
    """
    free = present & (jnp.diagonal(gramian) > 0)
    cosines, norms = unit_rows(gramian)
    both = free[:, None] & free[None, :]
    matrix = jnp.where(both, cosines, 0)
    matrix += jnp.diag(jnp.where(free, RIDGE, 1))
    # w = z / norms turns the equation into  M z = wanted z^(-p); z is brought near 1
    logs = jnp.where(free, (power - 1) * jnp.log(norms), 0)
    middle = jnp.sum(logs) / jnp.maximum(jnp.sum(free), 1)
    wanted = jnp.where(free, jnp.exp(logs - middle), 1)
    unit = jnp.exp(middle / (1 + power))

    def unfinished(state):
        _, error, count = state
        return (error > _CLOSE) & (count < _LIMIT)

    def step(state):
        z, _, count = state
        gain = wanted * z**-power
        gradient = matrix @ z - gain
        hessian = matrix + jnp.diag(power * gain / z)
        change = solve_definite(hessian, -gradient)
        decrement = jnp.sqrt(jnp.maximum(-gradient @ change, 0))
        shrink = jnp.max(-change / z)
        length = jnp.minimum(1 / (1 + decrement), 0.9 / jnp.maximum(shrink, 1e-30))
        length = jnp.where(decrement < 0.1, jnp.minimum(1, 0.9 / shrink), length)
        length = jnp.where(shrink > 0, length, jnp.where(decrement < 0.1, 1, length))
        error = jnp.max(jnp.abs(gradient) / gain)
        return z + length * change, error, count + 1

    start = (wanted / jnp.maximum(jnp.sum(free), 1)) ** (1 / (1 + power))
    z, _, _ = jax.lax.while_loop(unfinished, step, (start, jnp.inf, 0))
    return jnp.where(free, unit * z / norms, 0)
