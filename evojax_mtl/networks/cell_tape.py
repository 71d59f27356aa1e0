"""The tape for cells: a stack of cells of one width as one function.

Shape legend: ``n`` cells, ``E = 10`` edges and ``5`` blocks a cell, ``B`` images, ``H``
x ``W`` map, ``C`` channels, ``X = W * C`` (``lines``).

One buffer holds all rows: the two inputs, then for each cell its five blocks and its
output. Loops with traced bounds go through cells and edges; an edge reads its source,
applies its operation and adds the result to its block. What the backward pass needs
besides the rows, the outputs of the depthwise convolutions and what a cell's last batch
norm reads, has buffers of its own.

Each operation is the body of a loop that runs once or never: unlike a branch it writes
to the buffers in place, and has no result where nothing is to be kept. The blocks that
no other reads, rectified, go through a 1x1 convolution each, whose sum is normalised:
the cell's output.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.architectures.wiring import BLOCKS, EDGES, ROWS, Wiring
from evojax_mtl.networks import lines
from evojax_mtl.networks.cell_operations import (
    CONVOLUTIONS,
    OTHERS,
    SEPARATE,
    mix,
    mix_gradients,
)
from evojax_mtl.networks.lines import Lines
from evojax_mtl.networks.tape import at, put, zeros
from evojax_mtl.pytrees import Pytree


class StackWeights(Pytree):
    """Weights of a stack of cells, of the edges in use only.

    Attributes:
      edges: see ``cell_operations``; leaves ``(n * E, ...)``.
      kernel: 1x1 convolution of each block.
      scale: of the output's batch norm.
      bias: likewise.
    """

    edges: dict[str, Array]
    kernel: Float[Array, "n 5 C C"]
    scale: Float[Array, "n C"]
    bias: Float[Array, "n C"]


class StackMoments(Pytree):
    """Mean and variance at each batch norm: see ``cell_operations``."""

    edges: Float[Array, "nE 2 2 C"]
    output: Float[Array, "n 2 C"]


@dataclass(frozen=True)
class StackPlan:
    """What a stack is compiled for.

    Attributes:
      cells: number ``n`` of cells.
      channels: ``C``.
      running: whether batch norms use given statistics, not the batch's.
      axis: of devices that hold parts of the batch; None for one device.
    """

    cells: int
    channels: int
    running: bool = False
    axis: str | None = None


class _Kept(Pytree):
    """Buffers: ``rows``, what ``backward`` needs besides, and all statistics."""

    rows: Float[Array, "rows B H X"]
    first: Float[Array, "nE B H X"]
    output: Float[Array, "n B H X"]
    moments: StackMoments


def _results(plan: StackPlan, rows: Array) -> tuple[Lines, Lines]:
    last = ROWS * plan.cells + 1
    return rows[max(last - ROWS, 0)], rows[last]


def _loop(condition: Array, body: Any, carry: Any) -> Any:
    """``body(0, carry)`` if ``condition``, in place.

    XLA does not know the 0. What a body reads at an index to which it was added stays
    inside the loop; all else that does not change would be computed before, always.
    """
    return jax.lax.fori_loop(0, jnp.asarray(condition, jnp.int32), body, carry)


def _edge(weights: StackWeights, slot: Array) -> dict[str, Array]:
    return jax.tree.map(lambda leaf: at(leaf, slot), weights.edges)


def forward(
    plan: StackPlan,
    keep: bool,
    weights: StackWeights,
    wiring: Wiring,
    factor: Float[Array, "n E"],
    before: Lines,
    previous: Lines,
    moments: StackMoments,
) -> tuple[tuple[Lines, Lines], _Kept]:
    """The two last outputs, and the buffers.

    Args:
      plan: what is static.
      keep: whether ``first`` and ``output`` are kept.
      weights: of the edges in use.
      wiring: of all cells.
      factor: of each edge's result, drop-path's.
      before: the first cell's second input.
      previous: its first.
      moments: statistics of ``plan.running``, else ignored.
    """
    shape, mark = previous.shape, weights.scale[0]
    slots, sources = wiring.slots().ravel(), wiring.source.ravel()
    convolutions = plan.cells * EDGES if keep else 0
    dtype = previous.dtype
    rows = zeros((2 + ROWS * plan.cells, *shape), dtype, mark, 0)
    rows = put(put(rows, before, 0), previous, 1)
    carry = _Kept(
        rows=rows,
        first=zeros((convolutions, *shape), dtype, mark, 1),
        output=zeros((plan.cells if keep else 0, *shape), dtype, mark, 3),
        moments=moments if plan.running else jax.tree.map(jnp.zeros_like, moments),
    )

    def edge(e, carry):
        cell, q = e // EDGES, e % EDGES
        target = 2 + ROWS * cell + q // 2
        share = at(factor.ravel(), e)

        def add(kept, y):
            total = at(kept.rows, target) + share * y
            return kept.replace(rows=put(kept.rows, total, target))

        # barriers: all that reads rows comes before one changes, or XLA copies them all
        def convolve(zero, kept):
            own = _edge(weights, at(slots, e) + zero)
            x = at(kept.rows, at(sources, e) + zero)
            given = at(moments.edges, e) if plan.running else None
            branches = [partial(o.forward, own) for o in CONVOLUTIONS]
            first = jax.lax.switch(number, branches, x)
            if keep:
                kept = kept.replace(first=put(kept.first, first, e))
            done = mix(own, first, number < SEPARATE, given, plan.axis)
            (y, found), kept = jax.lax.optimization_barrier((done, kept))
            if not plan.running:
                edges = put(kept.moments.edges, found, e)
                kept = kept.replace(moments=kept.moments.replace(edges=edges))
            return add(kept, y)

        def other(zero, kept):
            x = at(kept.rows, at(sources, e) + zero)
            branches = [partial(o, channels=plan.channels) for o, _ in OTHERS]
            y = jax.lax.switch(number - len(CONVOLUTIONS), branches, x)
            y, rows = jax.lax.optimization_barrier((y, kept.rows))
            return add(kept.replace(rows=rows), y)

        number = at(wiring.operation.ravel(), e)
        carry = _loop(number < len(CONVOLUTIONS), convolve, carry)
        return _loop(number >= len(CONVOLUTIONS), other, carry)

    def cell(k, carry):
        carry = jax.lax.fori_loop(EDGES * k, EDGES * (k + 1), edge, carry)

        def end(block, total):
            def add(zero, total):
                row = at(carry.rows, 2 + ROWS * k + block + zero)
                kernel = at(at(weights.kernel, k), block)
                return total + lines.pointwise(jnp.maximum(row, 0), kernel)

            return _loop(at(at(wiring.loose, k), block), add, total)

        total = jax.lax.fori_loop(0, BLOCKS, end, jnp.zeros(shape, dtype))
        if plan.running:
            found = at(moments.output, k)
        else:
            found = lines.moments(total, plan.channels, plan.axis)
            output = put(carry.moments.output, found, k)
            carry = carry.replace(moments=carry.moments.replace(output=output))
        if keep:
            carry = carry.replace(output=put(carry.output, total, k))
        y = lines.normalize(total, found, at(weights.scale, k), at(weights.bias, k))
        return carry.replace(rows=put(carry.rows, y, ROWS * (k + 1) + 1))

    kept = jax.lax.fori_loop(0, plan.cells, cell, carry)
    return _results(plan, kept.rows), kept


def backward(
    plan: StackPlan,
    weights: StackWeights,
    wiring: Wiring,
    factor: Float[Array, "n E"],
    kept: _Kept,
    gradients: tuple[Lines, Lines],
) -> tuple[StackWeights, Lines, Lines]:
    """Gradients of the weights and of both inputs."""
    mark = weights.scale[0]
    slots, sources = wiring.slots().ravel(), wiring.source.ravel()
    rows = zeros(kept.rows.shape, kept.rows.dtype, mark, 4)
    last = ROWS * plan.cells + 1
    below = max(last - ROWS, 0)
    rows = put(put(rows, gradients[0], below), gradients[1], last)
    slopes = jax.tree.map(jnp.zeros_like, weights)

    def edge(q, carry):
        e = EDGES * (q // EDGES) + EDGES - 1 - q % EDGES
        source, slot = at(sources, e), at(slots, e)
        target = 2 + ROWS * (e // EDGES) + (e % EDGES) // 2

        def received(zero, carry):
            rows, edges = carry
            g = at(factor.ravel(), e) * at(rows, target + zero)
            # without the barrier XLA copies all rows, see ``tape``
            g, rows = jax.lax.optimization_barrier((g, rows))
            return g, rows, edges

        def convolve(zero, carry):
            g, rows, edges = received(zero, carry)
            own = _edge(weights, slot + zero)
            update, g = mix_gradients(
                own,
                at(kept.first, e + zero),
                at(kept.moments.edges, e + zero),
                number < SEPARATE,
                g,
                plan.axis,
            )
            x = jnp.maximum(at(kept.rows, source + zero), 0)
            branches = [partial(o.backward, own) for o in CONVOLUTIONS]
            depthwise, dx = jax.lax.switch(number, branches, x, g)
            edges = jax.tree.map(
                lambda total, part: put(total, at(total, slot) + part, slot),
                edges,
                update | {"depthwise": depthwise},
            )
            dx = jnp.where(x > 0, dx, 0)
            return put(rows, at(rows, source) + dx, source), edges

        def other(zero, carry):
            g, rows, edges = received(zero, carry)
            x = at(kept.rows, source + zero)
            branches = [partial(b, channels=plan.channels) for _, b in OTHERS]
            dx = jax.lax.switch(number - len(CONVOLUTIONS), branches, x, g)
            return put(rows, at(rows, source) + dx, source), edges

        number = at(wiring.operation.ravel(), e)
        carry = _loop(number < len(CONVOLUTIONS), convolve, carry)
        return _loop(number >= len(CONVOLUTIONS), other, carry)

    def cell(i, carry):
        k = plan.cells - 1 - i
        rows, slopes = carry
        dscale, dbias, g = lines.normalize_gradients(
            at(kept.output, k),
            at(rows, ROWS * (k + 1) + 1),
            at(kept.moments.output, k),
            at(weights.scale, k),
            plan.axis,
        )

        def loose(block, carry):
            def add(zero, carry):
                rows, kernels = carry
                row = 2 + ROWS * k + block
                x = at(kept.rows, row + zero)
                kernel = at(at(weights.kernel, k), block)
                dkernel, dx = lines.pointwise_gradients(jnp.maximum(x, 0), g, kernel)
                rows = put(rows, at(rows, row) + jnp.where(x > 0, dx, 0), row)
                return rows, put(kernels, dkernel, block)

            return _loop(at(at(wiring.loose, k), block), add, carry)

        kernels = at(slopes.kernel, k)
        rows, kernels = jax.lax.fori_loop(0, BLOCKS, loose, (rows, kernels))
        rows, edges = jax.lax.fori_loop(
            EDGES * k, EDGES * (k + 1), edge, (rows, slopes.edges)
        )
        return (
            rows,
            slopes.replace(
                edges=edges,
                kernel=put(slopes.kernel, kernels, k),
                scale=put(slopes.scale, dscale, k),
                bias=put(slopes.bias, dbias, k),
            ),
        )

    rows, slopes = jax.lax.fori_loop(0, plan.cells, cell, (rows, slopes))
    return slopes, rows[0], rows[1]


def run_stack(
    plan: StackPlan,
    weights: StackWeights,
    wiring: Wiring,
    factor: Float[Array, "n E"],
    before: Lines,
    previous: Lines,
    moments: StackMoments,
) -> tuple[Lines, Lines, StackMoments]:
    """The outputs of the last two cells, and the statistics used.

    Differentiable, with its own backward pass, unless ``plan.running``.
    """
    if plan.running:
        (low, high), _ = forward(
            plan, False, weights, wiring, factor, before, previous, moments
        )
        return low, high, moments
    return _differentiable(plan, weights, wiring, factor, before, previous, moments)


def _run(plan, weights, wiring, factor, before, previous, moments):
    (low, high), kept = forward(
        plan, False, weights, wiring, factor, before, previous, moments
    )
    return low, high, kept.moments


def _run_forward(plan, weights, wiring, factor, before, previous, moments):
    (low, high), kept = forward(
        plan, True, weights, wiring, factor, before, previous, moments
    )
    return (low, high, kept.moments), (weights, wiring, factor, kept)


def _run_backward(plan, saved, gradients):
    weights, wiring, factor, kept = saved
    slopes, before, previous = backward(
        plan, weights, wiring, factor, kept, gradients[:2]
    )
    return slopes, None, None, before, previous, None


_differentiable = jax.custom_vjp(_run, nondiff_argnums=(0,))
_differentiable.defvjp(_run_forward, _run_backward)
