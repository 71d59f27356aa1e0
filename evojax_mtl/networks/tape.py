"""The tape: a whole schedule as one function with a hand-written backward pass.

Shape legend: ``P`` networks, ``T`` inputs, ``B`` examples, ``H`` x ``W`` map at
resolution ``r``, ``C`` channels.

Each resolution has a buffer of rows ``(rows, B, H, W, C)``. Loops with traced trip
counts fill it in the order of the schedule; a node gathers its sources, soft-merges
them, applies its operation (a true branch where there are several), drops units and
writes its row in place. The backward pass runs the same lists in reverse, gathers the
inputs anew and accumulates weight gradients in place. Nothing is saved but the rows, no
trip count depends on a capacity, and rows that no node owns are never touched.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.architectures.schedule import Schedule
from evojax_mtl.networks.dropout import (
    LEVELS,
    dropout_seed,
    keep_threshold,
    seeded_dropout,
)
from evojax_mtl.networks.operations import Operation
from evojax_mtl.networks.pooling import max_pool, max_pool_gradient

Params = tuple[Any, ...]
Buffers = list[Float[Array, "_ B _ _ C"]]


@dataclass(frozen=True)
class Plan:
    """What an executor is compiled for.

    Attributes:
      operations: the operation set; its order is the architectures' numbering.
      capacities: rows of each resolution's buffer.
      channels: channels ``C`` of every row.
      train: whether dropout acts.
      input_gradient: whether inputs have all ``C`` channels and get a gradient; if not
        they are data, may have fewer, and count as padded with zeros.
    """

    operations: tuple[Operation, ...]
    capacities: tuple[int, ...]
    channels: int
    train: bool
    input_gradient: bool = False
    block: int = 64


def at(array: Array, index: Array | int) -> Array:
    """Row ``index`` of the leading axis; spares the code for negative indices."""
    return jax.lax.dynamic_index_in_dim(
        array, index, 0, keepdims=False, allow_negative_indices=False
    )


def put(array: Array, value: Array, index: Array | int) -> Array:
    """``array`` with row ``index`` replaced, in place where XLA can."""
    return jax.lax.dynamic_update_index_in_dim(
        array, value, index, 0, allow_negative_indices=False
    )


def _window(array: Array, row: Array, shape: tuple[int, ...]) -> Array:
    """The corner of a row, of a shape that begins with 1."""
    begin = (row, *[0] * (array.ndim - 1))
    return jax.lax.dynamic_slice(array, begin, shape, allow_negative_indices=False)


def _put_window(array: Array, value: Array, row: Array) -> Array:
    begin = (row, *[0] * (array.ndim - 1))
    return jax.lax.dynamic_update_slice(
        array, value, begin, allow_negative_indices=False
    )


def pad_channels(x: Array, channels: int) -> Array:
    """The identity encoder: zeros for the channels that the image lacks."""
    margins = [(0, 0)] * (x.ndim - 1) + [(0, channels - x.shape[-1])]
    return jnp.pad(x, margins)


def map_sizes(plan: Plan, inputs: Array) -> list[tuple[int, int]]:
    """Height and width of the map at each resolution."""
    height, width = inputs.shape[2:4]
    return [(height >> r, width >> r) for r in range(len(plan.capacities))]


def zeros(shape: tuple[int, ...], dtype: Any, weights: Array, mark: int) -> Array:
    """Zeros that no other buffer can be merged with.

    XLA would make equal constants one, then copy it for each loop that writes to it.
    Merge weights are at most 1, so each comparison is false, and a different one.
    """
    return jnp.full(shape, weights[0] > 2.0 + mark, dtype)


def _slot(params: Params, operation: int, slot: Array) -> Any:
    return jax.tree.map(lambda leaf: at(leaf, slot), params[operation])


def _branch(plan: Plan, operation: Array, branches: list, *operands: Any) -> Any:
    if len(plan.operations) == 1:
        return branches[0](*operands)
    return jax.lax.switch(operation, branches, *operands)


def _accumulate(gradients: Params, operation: int, slot: Array, update: Any) -> Params:
    def add(total, part):
        return put(total, at(total, slot) + part, slot)

    changed = jax.tree.map(add, gradients[operation], update)
    return (*gradients[:operation], changed, *gradients[operation + 1 :])


def _gather(buffer: Array, weights: Array, schedule: Schedule, node: Array) -> Array:
    begin = at(schedule.edge_begin, node)

    def add(j, total):
        edge = begin + j
        return total + at(weights, edge) * at(buffer, at(schedule.edge_row, edge))

    first = at(weights, begin) * at(buffer, at(schedule.edge_row, begin))
    return jax.lax.fori_loop(1, at(schedule.edges, node), add, first)


def _drops(plan: Plan, operation: Array) -> Array:
    return at(jnp.array([o.drops for o in plan.operations]), operation)


def forward(
    plan: Plan,
    params: Params,
    weights: Float[Array, "PE"],
    inputs: Float[Array, "T B H W c"],
    schedule: Schedule,
    key: Array,
    rate: Float[Array, ""],
) -> tuple[Float[Array, "P B h w C"], Buffers]:
    """Outputs of the networks, and the buffers that ``backward`` needs."""
    buffers = []
    batch = inputs.shape[1]
    seeds = jax.vmap(dropout_seed, (None, 0))(key, schedule.identity)
    threshold = keep_threshold(rate)

    def finish(y, node):
        if not plan.train:
            return y
        drops = _drops(plan, at(schedule.operation, node))
        own = jnp.where(drops, threshold, LEVELS)
        # without the barrier the operation and the mask are one loop, which is slower
        y = jax.lax.optimization_barrier(y)
        return seeded_dropout(at(seeds, node), y, own)

    for r, (height, width) in enumerate(map_sizes(plan, inputs)):
        shape = (plan.capacities[r], batch, height, width, plan.channels)
        buffer = zeros(shape, inputs.dtype, weights, 2 * r)

        def bring(i, buffer, r=r):
            source = at(schedule.import_source[r], i)
            if r == 0:
                value = pad_channels(at(inputs, source), plan.channels)
            else:
                value = max_pool(at(buffers[r - 1], source))
            return put(buffer, value, i)

        def stem(group, buffer):
            begin, end = (
                at(schedule.stem_begin, group),
                at(schedule.stem_begin, group + 1),
            )
            head = at(schedule.node, begin)

            def branch(o, x, slot):
                return plan.operations[o].stem_forward(_slot(params, o, slot), x)

            branches = [partial(branch, o) for o in range(len(plan.operations))]
            x = at(inputs, at(schedule.input, head))
            y = _branch(
                plan, at(schedule.operation, head), branches, x, at(schedule.slot, head)
            )

            def write(j, buffer):
                node = at(schedule.node, j)
                return put(buffer, finish(y, node), at(schedule.row, node))

            return jax.lax.fori_loop(begin, end, write, buffer)

        def apply(i, buffer, r=r):
            node = at(schedule.node, schedule.begin[r] + i)

            def branch(o, x, slot):
                return plan.operations[o].forward(_slot(params, o, slot), x)

            branches = [partial(branch, o) for o in range(len(plan.operations))]
            x = _gather(buffer, weights, schedule, node)
            y = _branch(
                plan, at(schedule.operation, node), branches, x, at(schedule.slot, node)
            )
            return put(buffer, finish(y, node), at(schedule.row, node))

        buffer = jax.lax.fori_loop(0, schedule.imports[r], bring, buffer)
        if r == 0 and not plan.input_gradient:
            buffer = jax.lax.fori_loop(0, schedule.stem_groups, stem, buffer)
        buffer = jax.lax.fori_loop(0, schedule.nodes[r], apply, buffer)
        buffers.append(buffer)

    def output(args):
        node, enabled = args
        x = _gather(buffers[-1], weights, schedule, node)
        return jnp.where(enabled, x, 0)

    return jax.lax.map(output, (schedule.output, schedule.enabled)), buffers


def backward(
    plan: Plan,
    params: Params,
    weights: Float[Array, "PE"],
    inputs: Float[Array, "T B H W c"],
    schedule: Schedule,
    rate: Float[Array, ""],
    buffers: Buffers,
    gradient: Float[Array, "P B h w C"],
) -> tuple[Params, Float[Array, "PE"], Float[Array, "T B H W c"]]:
    """Gradients of the weights of operations and edges, and of the inputs."""
    last = len(buffers) - 1
    gradients = jax.tree.map(jnp.zeros_like, params)
    edges = jnp.zeros_like(weights)
    scale = LEVELS / keep_threshold(rate) if plan.train else jnp.ones(())

    def cleared(r):
        return zeros(buffers[r].shape, buffers[r].dtype, weights, 2 * r + 1)

    def scatter(r, g, edges, node, gradient):
        begin, count = at(schedule.edge_begin, node), at(schedule.edges, node)

        def add(j, carry):
            g, edges = carry
            edge = begin + j
            row = at(schedule.edge_row, edge)
            g = put(g, at(g, row) + at(weights, edge) * gradient, row)
            # the weight of a lone edge is 1 whatever its logit
            slope = jax.lax.cond(
                count > 1,
                lambda: jnp.vdot(at(buffers[r], row), gradient),
                lambda: jnp.zeros((), edges.dtype),
            )
            return g, put(edges, slope, edge)

        return jax.lax.fori_loop(0, count, add, (g, edges))

    def output(p, carry):
        g, edges = carry
        received = jnp.where(at(schedule.enabled, p), at(gradient, p), 0)
        return scatter(last, g, edges, at(schedule.output, p), received)

    def own(node, g, r):
        row = at(schedule.row, node)
        drops = _drops(plan, at(schedule.operation, node))
        return at(buffers[r], row), at(g, row) * jnp.where(drops, scale, 1)

    def updated(gradients, node, update):
        """``gradients`` plus ``update``, a branch's gradients for every operation."""
        for o, part in enumerate(update):
            gradients = _accumulate(gradients, o, at(schedule.slot, node), part)
        return gradients

    def per_operation(o, part):
        """A branch's gradients in the form that all branches share."""
        zeros = [
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), tree)
            for tree in params
        ]
        return (*zeros[:o], part, *zeros[o + 1 :])

    g = cleared(last)
    g, edges = jax.lax.fori_loop(0, gradient.shape[0], output, (g, edges))
    for r in range(last, -1, -1):

        def reverse(q, carry, r=r):
            g, gradients, edges = carry
            node = at(schedule.node, schedule.begin[r] + schedule.nodes[r] - 1 - q)
            x = _gather(buffers[r], weights, schedule, node)
            y, received = own(node, g, r)
            # without the barrier XLA reads the row of g where it is used, after g has
            # changed, and to that end copies all of g at every node
            y, received, g = jax.lax.optimization_barrier((y, received, g))

            def branch(o, slot, x, y, received):
                one = _slot(params, o, slot)
                part, dx = plan.operations[o].backward(one, x, y, received)
                return per_operation(o, part), dx

            branches = [partial(branch, o) for o in range(len(plan.operations))]
            slot, operation = at(schedule.slot, node), at(schedule.operation, node)
            update, dx = _branch(plan, operation, branches, slot, x, y, received)
            g, edges = scatter(r, g, edges, node, dx)
            return g, updated(gradients, node, update), edges

        def stem(group, carry, r=r):
            g, gradients = carry
            begin, end = (
                at(schedule.stem_begin, group),
                at(schedule.stem_begin, group + 1),
            )
            head = at(schedule.node, begin)

            def add(j, total):
                y, received = own(at(schedule.node, j), g, r)
                return total + jnp.where(y != 0, received, 0)

            total = jax.lax.fori_loop(begin, end, add, jnp.zeros_like(g[0]))
            x = at(inputs, at(schedule.input, head))

            def branch(o, slot, x, total):
                one = _slot(params, o, slot)
                part = plan.operations[o].stem_backward(one, x, total)
                return per_operation(o, part)

            branches = [partial(branch, o) for o in range(len(plan.operations))]
            slot, operation = at(schedule.slot, head), at(schedule.operation, head)
            update = _branch(plan, operation, branches, slot, x, total)
            return g, updated(gradients, head, update)

        carry = (g, gradients, edges)
        g, gradients, edges = jax.lax.fori_loop(0, schedule.nodes[r], reverse, carry)
        if r > 0:

            def pull(i, below, r=r, g=g):
                row, y = at(schedule.import_source[r], i), at(buffers[r], i)
                pooled = (1, len(y), 2 * y.shape[1], 2 * y.shape[2], plan.channels)
                x = _window(buffers[r - 1], row, pooled)
                dx = max_pool_gradient(x, y[None], at(g, i)[None])
                # the barrier keeps the sum below from being computed in blocks of two
                total = _window(below, row, pooled) + jax.lax.optimization_barrier(dx)
                return _put_window(below, total, row)

            g = jax.lax.fori_loop(0, schedule.imports[r], pull, cleared(r - 1))
        elif not plan.input_gradient:
            carry = (g, gradients)
            _, gradients = jax.lax.fori_loop(0, schedule.stem_groups, stem, carry)
    given = jnp.zeros_like(inputs)
    if plan.input_gradient:
        given = jax.lax.fori_loop(
            0,
            schedule.imports[0],
            lambda i, d: put(d, at(g, i), at(schedule.import_source[0], i)),
            given,
        )
    return gradients, edges, given
