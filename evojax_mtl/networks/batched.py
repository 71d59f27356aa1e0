"""The batched executor, for accelerators: blocks of independent nodes at once.

Shape legend: as in ``tape``; ``G`` lanes, the nodes of a block.

Equal to the tape, with other trade-offs: the nodes of one (resolution, stage,
operation) are cut into blocks of ``G`` and each block is one batched product, so that a
device always has work; the branch is taken once a block, never once a node; the lanes
that a block lacks are computed and dropped. Under ``jax.vmap`` (``axis``) the members
of a sweep run the same number of blocks and fold into the batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.schedule import Schedule
from evojax_mtl.networks.dropout import LEVELS, dropout, keep_threshold
from evojax_mtl.networks.pooling import max_pool, max_pool_gradient
from evojax_mtl.networks.tape import (
    Buffers,
    Params,
    Plan,
    map_sizes,
    pad_channels,
)

Lanes = tuple[Int[Array, "G"], Bool[Array, "G"]]


def _rounds(count: Array, axis: str | None) -> Array:
    """A trip count that all members of a sweep share."""
    return count if axis is None else jax.lax.pmax(count, axis)


def _lanes(plan: Plan, begin: Array, end: Array) -> Lanes:
    position = begin + jnp.arange(plan.block)
    return position, position < end


def _chunks(plan: Plan, count: Array) -> Array:
    return (count + plan.block - 1) // plan.block


def _wide(lane: Array, like: Array) -> Array:
    return lane.reshape(lane.shape + (1,) * (like.ndim - lane.ndim))


def _put(buffer: Array, rows: Array, valid: Array, values: Array) -> Array:
    rows = jnp.where(valid, rows, buffer.shape[0])
    return buffer.at[rows].set(values, mode="drop")


def _add(buffer: Array, rows: Array, valid: Array, values: Array) -> Array:
    rows = jnp.where(valid, rows, buffer.shape[0])
    return buffer.at[rows].add(values, mode="drop")


def _blocks(
    plan: Plan, schedule: Schedule, begin: Array | int, count: Array
) -> tuple[Array, Array]:
    """Cuts ``count`` nodes from ``begin`` on into blocks.

    Returns where each block begins in ``schedule.node``, the end after the last, and
    the number of blocks. Nodes of one block have one stage and operation (stems all
    have one stage, that of the input's successors).
    """
    position = jnp.arange(schedule.node.shape[0])
    local = position - begin
    here = (local >= 0) & (local < count)
    stage = schedule.stage[schedule.node]
    operation = schedule.operation[schedule.node]
    fresh = (stage != jnp.roll(stage, 1)) | (operation != jnp.roll(operation, 1))
    start = jax.lax.cummax(jnp.where(here & (fresh | (local == 0)), position, 0))
    first = here & ((position - start) % plan.block == 0)
    size, end = position.shape[0] + 1, begin + count
    return jnp.nonzero(first, size=size, fill_value=end)[0], first.sum()


def _sources(
    schedule: Schedule, weights: Array, node: Array, valid: Array, j: Array
) -> tuple[Array, Array, Array, Array]:
    """Of each lane's ``j``-th edge: its position, row, weight, and whether it is."""
    present = valid & (j < schedule.edges[node])
    edge = jnp.where(present, schedule.edge_begin[node] + j, 0)
    return edge, schedule.edge_row[edge], jnp.where(present, weights[edge], 0), present


def _gather(
    buffer: Array,
    weights: Array,
    schedule: Schedule,
    node: Array,
    valid: Array,
    axis: str | None,
) -> Float[Array, "G B H W C"]:
    def add(j, total):
        _, row, weight, present = _sources(schedule, weights, node, valid, j)
        # rows that nothing wrote may hold anything, so weight 0 is not enough
        value = jnp.where(_wide(present, buffer), buffer[row], 0)
        return total + _wide(weight, value) * value

    fan_in = _rounds(jnp.max(jnp.where(valid, schedule.edges[node], 0)), axis)
    start = jnp.zeros((node.shape[0], *buffer.shape[1:]), buffer.dtype)
    return jax.lax.fori_loop(0, fan_in, add, start)


def _apply(
    plan: Plan, params: Params, schedule: Schedule, node: Array, method: Callable
) -> Callable:
    """One block's operation; ``method(o, weights, *operands)`` is one lane's."""
    slot = schedule.slot[node]

    def bind(o: int) -> Callable:
        def call(*operands):
            weights = jax.tree.map(lambda leaf: leaf[slot], params[o])
            return jax.vmap(partial(method, o))(weights, *operands)

        return call

    branches = [bind(o) for o in range(len(plan.operations))]
    if len(branches) == 1:
        return branches[0]
    kind = schedule.operation[node[0]]
    return lambda *operands: jax.lax.switch(kind, branches, *operands)


def _among_zeros(params: Params, o: int, part: Any) -> tuple:
    """One slot's gradients of operation ``o``, with zeros for the others."""
    zeros = [
        jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), tree)
        for tree in params
    ]
    return (*zeros[:o], part, *zeros[o + 1 :])


def forward(
    plan: Plan,
    params: Params,
    weights: Float[Array, "PE"],
    inputs: Float[Array, "T B H W c"],
    schedule: Schedule,
    key: Array,
    rate: Float[Array, ""],
    axis: str | None = None,
) -> tuple[Float[Array, "P B h w C"], Buffers]:
    """See ``tape.forward``."""
    drops = jnp.array([o.drops for o in plan.operations])
    batch = inputs.shape[1]
    buffers: Buffers = []

    def finish(y, node):
        if not plan.train:
            return y
        threshold = keep_threshold(rate * drops[schedule.operation[node]])
        masked = jax.vmap(lambda i, y, t: dropout(key, i, y, t))
        return masked(schedule.identity[node], y, threshold)

    for r, (height, width) in enumerate(map_sizes(plan, inputs)):
        shape = (plan.capacities[r], batch, height, width, plan.channels)
        buffer = jnp.zeros(shape, inputs.dtype)

        def bring(q, buffer, r=r):
            row, valid = _lanes(plan, q * plan.block, schedule.imports[r])
            source = schedule.import_source[r][row]
            if r == 0:
                values = pad_channels(inputs[source], plan.channels)
            else:
                values = max_pool(buffers[r - 1][source])
            return _put(buffer, row, valid, values)

        def stem(q, buffer, begins):
            lanes, valid = _lanes(plan, begins[q], begins[q + 1])
            node = schedule.node[lanes]

            def method(o, weights, x):
                return plan.operations[o].stem_forward(weights, x)

            images = inputs[schedule.input[node]]
            y = _apply(plan, params, schedule, node, method)(images)
            return _put(buffer, schedule.row[node], valid, finish(y, node))

        def apply(q, buffer, begins):
            lanes, valid = _lanes(plan, begins[q], begins[q + 1])
            node = schedule.node[lanes]
            x = _gather(buffer, weights, schedule, node, valid, axis)

            def method(o, weights, x):
                return plan.operations[o].forward(weights, x)

            y = _apply(plan, params, schedule, node, method)(x)
            return _put(buffer, schedule.row[node], valid, finish(y, node))

        rounds = _rounds(_chunks(plan, schedule.imports[r]), axis)
        buffer = jax.lax.fori_loop(0, rounds, bring, buffer)
        if r == 0 and not plan.input_gradient:
            begins, blocks = _blocks(plan, schedule, 0, schedule.stem_begin[-1])
            buffer = jax.lax.fori_loop(
                0, _rounds(blocks, axis), partial(stem, begins=begins), buffer
            )
        begins, blocks = _blocks(plan, schedule, schedule.begin[r], schedule.nodes[r])
        buffer = jax.lax.fori_loop(
            0, _rounds(blocks, axis), partial(apply, begins=begins), buffer
        )
        buffers.append(buffer)
    node, enabled = schedule.output, schedule.enabled
    return _gather(buffers[-1], weights, schedule, node, enabled, axis), buffers


def backward(
    plan: Plan,
    params: Params,
    weights: Float[Array, "PE"],
    inputs: Float[Array, "T B H W c"],
    schedule: Schedule,
    rate: Float[Array, ""],
    buffers: Buffers,
    gradient: Float[Array, "P B h w C"],
    axis: str | None = None,
) -> tuple[Params, Float[Array, "PE"], Float[Array, "T B H W c"]]:
    """See ``tape.backward``."""
    last = len(buffers) - 1
    drops = jnp.array([o.drops for o in plan.operations])
    scale = LEVELS / keep_threshold(rate) if plan.train else jnp.ones(())

    def scatter(r, g, edges, node, valid, gradient):
        gradient = jnp.where(_wide(valid, gradient), gradient, 0)

        def add(j, carry):
            g, edges = carry
            edge, row, weight, present = _sources(schedule, weights, node, valid, j)
            g = _add(g, row, present, _wide(weight, gradient) * gradient)
            value = jnp.where(_wide(present, gradient), buffers[r][row], 0)
            slope = jnp.sum(value * gradient, axis=(1, 2, 3, 4))
            return g, _put(edges, edge, present & (schedule.edges[node] > 1), slope)

        fan_in = _rounds(jnp.max(jnp.where(valid, schedule.edges[node], 0)), axis)
        return jax.lax.fori_loop(0, fan_in, add, (g, edges))

    def own(r, g, node, valid):
        row = schedule.row[node]
        keep = _wide(valid, buffers[r])
        y = jnp.where(keep, buffers[r][row], 0)
        factor = jnp.where(drops[schedule.operation[node]], scale, 1)
        return y, jnp.where(keep, g[row], 0) * _wide(factor, y)

    def accumulate(gradients, node, valid, update):
        slot = schedule.slot[node]

        def add(total, part):
            return _add(total, slot, valid, part)

        return jax.tree.map(add, gradients, update)

    gradients = jax.tree.map(jnp.zeros_like, params)
    g = jnp.zeros_like(buffers[last])
    edges = jnp.zeros_like(weights)
    g, edges = scatter(last, g, edges, schedule.output, schedule.enabled, gradient)
    for r in range(last, -1, -1):
        begins, blocks = _blocks(plan, schedule, schedule.begin[r], schedule.nodes[r])
        blocks = _rounds(blocks, axis)

        def reverse(q, carry, r=r, begins=begins, blocks=blocks):
            g, gradients, edges = carry
            q = blocks - 1 - q
            lanes, valid = _lanes(plan, begins[q], begins[q + 1])
            node = schedule.node[lanes]
            x = _gather(buffers[r], weights, schedule, node, valid, axis)
            y, received = own(r, g, node, valid)

            def method(o, lane, *operands):
                part, dx = plan.operations[o].backward(lane, *operands)
                return _among_zeros(params, o, part), dx

            apply = _apply(plan, params, schedule, node, method)
            update, dx = apply(x, y, received)
            g, edges = scatter(r, g, edges, node, valid, dx)
            return g, accumulate(gradients, node, valid, update), edges

        carry = (g, gradients, edges)
        g, gradients, edges = jax.lax.fori_loop(0, blocks, reverse, carry)
        if r > 0:

            def pull(q, below, r=r, g=g):
                lanes, valid = _lanes(plan, q * plan.block, schedule.imports[r])
                row = schedule.import_source[r][lanes]
                x, y, received = buffers[r - 1][row], buffers[r][lanes], g[lanes]
                return _add(below, row, valid, max_pool_gradient(x, y, received))

            rounds = _rounds(_chunks(plan, schedule.imports[r]), axis)
            below = jnp.zeros_like(buffers[r - 1])
            g = jax.lax.fori_loop(0, rounds, pull, below)
        elif not plan.input_gradient:
            begins, blocks = _blocks(plan, schedule, 0, schedule.stem_begin[-1])

            def stem(q, gradients, g=g, begins=begins):
                lanes, valid = _lanes(plan, begins[q], begins[q + 1])
                node = schedule.node[lanes]
                y, received = own(0, g, node, valid)

                def method(o, lane, *operands):
                    part = plan.operations[o].stem_backward(lane, *operands)
                    return _among_zeros(params, o, part)

                update = _apply(plan, params, schedule, node, method)(
                    inputs[schedule.input[node]], jnp.where(y != 0, received, 0)
                )
                return accumulate(gradients, node, valid, update)

            gradients = jax.lax.fori_loop(0, _rounds(blocks, axis), stem, gradients)
    given = jnp.zeros_like(inputs)
    if plan.input_gradient:
        capacity = schedule.import_source[0].shape[0]
        valid = jnp.arange(capacity) < schedule.imports[0]
        given = _put(given, schedule.import_source[0], valid, g)
    return gradients, edges, given
