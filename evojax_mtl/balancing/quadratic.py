"""Convex quadratic programs over the non-negative orthant, inside a compiled program.

Shape legend: ``T`` tasks, ``S`` trial steps.

``minimize x' G x / 2 - q' x  subject to  x >= 0`` is what the min-norm point
(``q = 1``), the projection on a dual cone (``q = -G u``) and CAGrad's subproblem have
in common. It is solved by projected Newton steps (Bertsekas 1982) with the active set
of a semismooth one (Hintermueller, Ito, Kunisch 2002):

1. Rows and columns are scaled to a unit diagonal; ``x >= 0`` stays what it is.
2. Indices with ``x - gradient <= 0`` are bound; the others take a Newton step together,
   by one Cholesky factorisation, with ``RIDGE`` on the diagonal.
3. Of several lengths of that step, each projected on ``x >= 0``, the best is taken.
4. Until the gradient is that of an optimum up to the rounding of its own terms.

The ridge keeps matrices of any rank definite in float32. It slows the steps along their
null directions, but does not move the optimum, and an error of a step is relative to
the step. Tens of tasks take three to ten factorisations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int

RIDGE = (1e-5, 1e-3, 1.0)
"""Added to the unit diagonal of the factorised matrix: least, at first, and most."""

LENGTHS = tuple(2.0**e for e in (-8, -6, -4, -3, -2, -1, 0))
"""Lengths of the trial steps."""

LIMIT = 100
"""Factorisations at most."""

LOT = 250
"""Variables of the programs that step together on CPU, about."""


class _State(NamedTuple):
    x: Float[Array, "T"]
    gradient: Float[Array, "T"]
    ridge: Float[Array, ""]
    done: Bool[Array, ""]
    iteration: Int[Array, ""]


def minimize_nonnegative(
    gramian: Float[Array, "T T"],
    linear: Float[Array, "T"],
    present: Bool[Array, "T"] | None = None,
) -> Float[Array, "T"]:
    """The ``x >= 0`` that minimises ``x' G x / 2 - linear' x``.

    Args:
      gramian: positive semidefinite, any rank; float32.
      linear: ``q``.
      present: variables that may be positive; others, and those whose diagonal entry
        is 0, are 0.
    """
    free = jnp.diagonal(gramian) > 0
    if present is not None:
        free &= present
    return _minimize(gramian, linear, free)


@custom_vmap
def _minimize(gramian: Array, linear: Array, free: Array) -> Array:
    return _iterate(gramian, linear, free)


@_minimize.def_vmap
def _minimize_many(
    size: int, mapped: list[bool], *args: Array
) -> tuple[Array, Array | bool]:
    """Programs in small lots on CPU, which wait for the slowest of a lot alone."""

    def every(flag: bool, value: Array) -> Array:
        return value if flag else jnp.broadcast_to(value, (size, *value.shape))

    args = tuple(map(every, mapped, args))
    lot = max(1, LOT // args[1].shape[1])
    together = jax.vmap(_iterate)
    if size <= lot:
        return together(*args), True

    def in_lots(*args: Array) -> Array:
        return jax.lax.map(lambda one: _iterate(*one), args, batch_size=lot)

    return jax.lax.platform_dependent(*args, cpu=in_lots, default=together), True


def _iterate(
    gramian: Float[Array, "T T"], linear: Float[Array, "T"], free: Bool[Array, "T"]
) -> Float[Array, "T"]:
    diagonal = jnp.diagonal(gramian)
    scale = jnp.where(free, jax.lax.rsqrt(jnp.where(free, diagonal, 1)), 0)
    matrix = gramian * scale[:, None] * scale[None, :]
    wanted = linear * scale
    unit = jnp.max(jnp.abs(wanted))
    unit = jnp.where(unit > 0, unit, 1)
    wanted = wanted / unit
    eps = 2 * jnp.finfo(gramian.dtype).eps
    magnitudes = jnp.abs(matrix)
    lengths = jnp.asarray(LENGTHS, gramian.dtype)

    def unfinished(state: _State) -> Array:
        return ~state.done & (state.iteration < LIMIT)

    def step(state: _State) -> _State:
        x, gradient = state.x, state.gradient
        inside = free & (x > gradient)
        both = inside[:, None] & inside[None, :]
        kernel = jnp.where(both, matrix, 0)
        kernel += jnp.diag(jnp.where(inside, state.ridge, 1))
        direction = jnp.where(free, solve_definite(kernel, -gradient), 0)
        trials = jnp.maximum(x[:, None] + lengths * direction[:, None], 0)
        changes = trials - x[:, None]
        bend = matrix @ changes
        gains = gradient @ changes + jnp.sum(changes * bend, 0) / 2
        best = jnp.argmin(gains)
        better = gains[best] < 0
        x = jnp.where(better, trials[:, best], x)
        gradient = matrix @ x - wanted
        noise = eps * (magnitudes @ x + jnp.abs(wanted))
        optimal = jnp.where(x > 0, jnp.abs(gradient), -gradient) <= noise
        least, _, most = RIDGE
        long = better & (lengths[best] >= 0.5)
        ridge = state.ridge * jnp.where(long, 0.03, 30.0)
        done = jnp.all(optimal | ~free) | (~better & (ridge > most))
        ridge = jnp.clip(ridge, least, most)
        return _State(x, gradient, ridge, done, state.iteration + 1)

    start = _State(
        x=jnp.zeros_like(wanted),
        gradient=-wanted,
        ridge=jnp.asarray(RIDGE[1], wanted.dtype),
        done=jnp.asarray(False),
        iteration=jnp.asarray(0),
    )
    return jax.lax.while_loop(unfinished, step, start).x * scale * unit


def solve_definite(
    matrix: Float[Array, "T T"], wanted: Float[Array, "T"]
) -> Float[Array, "T"]:
    """``matrix^-1 wanted`` for a positive definite matrix."""
    factor = jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
    column = wanted[:, None]
    for transpose in (False, True):
        column = jax.lax.linalg.triangular_solve(
            factor, column, left_side=True, lower=True, transpose_a=transpose
        )
    return column[:, 0]
