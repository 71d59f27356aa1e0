"""The batched executor, for accelerators: blocks of independent nodes at once.

Shape legend: as in ``tape``; ``G`` lanes, the nodes of a block.

Equal to the tape, with other trade-offs: the nodes of one (resolution, stage,
operation) are cut into blocks of ``G`` and each block is one batched product, so that a
device always has work; the branch is taken once a block, never once a node; the lanes
that a block lacks are computed and dropped. Under ``jax.vmap`` (``axis``) the members
of a sweep run the same number of blocks and fold into the batch.
"""

from collections.abc import Callable
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


def _blocks(plan: Plan, schedule: Schedule, r: int) -> tuple[Array, Array]:
    """Where each block of resolution ``r`` begins in ``schedule.node``; how many."""
    position = jnp.arange(schedule.node.shape[0])
    node = schedule.node
    local = position - schedule.begin[r]
    here = (local >= 0) & (local < schedule.nodes[r])
    stage, operation = schedule.stage[node], schedule.operation[node]
    fresh = (stage != jnp.roll(stage, 1)) | (operation != jnp.roll(operation, 1))
    start = jax.lax.cummax(jnp.where(here & (fresh | (local == 0)), position, 0))
    first = here & ((position - start) % plan.block == 0)
    end = schedule.begin[r] + schedule.nodes[r]
    begins = jnp.nonzero(first, size=position.shape[0] + 1, fill_value=end)[0]
    return begins, first.sum()


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


def _on_slots(
    plan: Plan, params: Params, operation: Array, slot: Array, methods: list[Callable]
) -> Callable:
    """Applies the block's operation; ``methods`` take one lane's weights first."""

    def bind(o: int) -> Callable:
        def call(*operands):
            lanes = jax.tree.map(lambda leaf: leaf[slot], params[o])
            return jax.vmap(methods[o])(lanes, *operands)

        return call

    branches = [bind(o) for o in range(len(plan.operations))]
    if len(branches) == 1:
        return branches[0]
    return lambda *operands: jax.lax.switch(operation, branches, *operands)


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

        def stem(q, buffer):
            begin = q * plan.block
            lanes, valid = _lanes(plan, begin, schedule.stem_begin[-1])
            node = schedule.node[lanes]
            methods = [o.stem_forward for o in plan.operations]
            y = _stem_lanes(plan, params, schedule, node, methods)(
                inputs[schedule.input[node]]
            )
            return _put(buffer, schedule.row[node], valid, finish(y, node))

        begins, blocks = _blocks(plan, schedule, r)

        def apply(q, buffer, begins=begins):
            lanes, valid = _lanes(plan, begins[q], begins[q + 1])
            node = schedule.node[lanes]
            x = _gather(buffer, weights, schedule, node, valid, axis)
            methods = [o.forward for o in plan.operations]
            operation, slot = schedule.operation[node[0]], schedule.slot[node]
            y = _on_slots(plan, params, operation, slot, methods)(x)
            return _put(buffer, schedule.row[node], valid, finish(y, node))

        rounds = _rounds(_chunks(plan, schedule.imports[r]), axis)
        buffer = jax.lax.fori_loop(0, rounds, bring, buffer)
        if r == 0 and not plan.input_gradient:
            rounds = _rounds(_chunks(plan, schedule.stem_begin[-1]), axis)
            buffer = jax.lax.fori_loop(0, rounds, stem, buffer)
        buffer = jax.lax.fori_loop(0, _rounds(blocks, axis), apply, buffer)
        buffers.append(buffer)
    node, enabled = schedule.output, schedule.enabled
    return _gather(buffers[-1], weights, schedule, node, enabled, axis), buffers


def _stem_lanes(
    plan: Plan,
    params: Params,
    schedule: Schedule,
    node: Array,
    methods: list[Callable],
) -> Callable:
    """Stems of one block may differ in operation: every lane takes its own."""

    def one(node, *operands):
        def bind(o):
            lane = jax.tree.map(lambda leaf: leaf[schedule.slot[node]], params[o])
            return lambda *operands: methods[o](lane, *operands)

        branches = [bind(o) for o in range(len(plan.operations))]
        if len(branches) == 1:
            return branches[0](*operands)
        return jax.lax.switch(schedule.operation[node], branches, *operands)

    return lambda *operands: jax.vmap(one)(node, *operands)


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

    def lone(o: int, part: Any, lanes: int) -> tuple:
        """Gradients of operation ``o`` among zeros for the others."""
        zeros = [
            jax.tree.map(lambda leaf: jnp.zeros((lanes, *leaf.shape[1:])), tree)
            for tree in params
        ]
        return (*zeros[:o], part, *zeros[o + 1 :])

    gradients = jax.tree.map(jnp.zeros_like, params)
    g = jnp.zeros_like(buffers[last])
    edges = jnp.zeros_like(weights)
    g, edges = scatter(last, g, edges, schedule.output, schedule.enabled, gradient)
    for r in range(last, -1, -1):
        begins, blocks = _blocks(plan, schedule, r)
        blocks = _rounds(blocks, axis)

        def reverse(q, carry, r=r, begins=begins, blocks=blocks):
            g, gradients, edges = carry
            q = blocks - 1 - q
            lanes, valid = _lanes(plan, begins[q], begins[q + 1])
            node = schedule.node[lanes]
            x = _gather(buffers[r], weights, schedule, node, valid, axis)
            y, received = own(r, g, node, valid)

            def branch(o):
                def call(*operands):
                    lanes = jax.tree.map(
                        lambda leaf: leaf[schedule.slot[node]], params[o]
                    )
                    method = jax.vmap(plan.operations[o].backward)
                    part, dx = method(lanes, *operands)
                    return lone(o, part, plan.block), dx

                return call

            branches = [branch(o) for o in range(len(plan.operations))]
            operation = schedule.operation[node[0]]
            update, dx = jax.lax.switch(operation, branches, x, y, received)
            g, edges = scatter(r, g, edges, node, valid, dx)
            return g, accumulate(gradients, node, valid, update), edges

        def stem(q, gradients, r=r, g=g):
            lanes, valid = _lanes(plan, q * plan.block, schedule.stem_begin[-1])
            node = schedule.node[lanes]
            y, received = own(r, g, node, valid)
            received = jnp.where(y != 0, received, 0)

            def one(node, x, received):
                def branch(o):
                    def call(*operands):
                        lane = jax.tree.map(
                            lambda leaf: leaf[schedule.slot[node]], params[o]
                        )
                        part = plan.operations[o].stem_backward(lane, *operands)
                        return jax.tree.map(
                            lambda leaf: leaf[0],
                            lone(o, jax.tree.map(lambda a: a[None], part), 1),
                        )

                    return call

                branches = [branch(o) for o in range(len(plan.operations))]
                return jax.lax.switch(schedule.operation[node], branches, x, received)

            x = inputs[schedule.input[node]]
            update = jax.vmap(one)(node, x, received)
            return accumulate(gradients, node, valid, update)

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
            rounds = _rounds(_chunks(plan, schedule.stem_begin[-1]), axis)
            gradients = jax.lax.fori_loop(
                0, rounds, lambda q, grads, g=g: stem(q, grads, g=g), gradients
            )
    given = jnp.zeros_like(inputs)
    if plan.input_gradient:
        capacity = schedule.import_source[0].shape[0]
        valid = jnp.arange(capacity) < schedule.imports[0]
        given = _put(given, schedule.import_source[0], valid, g)
    return gradients, edges, given
