"""From architectures to work lists that an executor runs in order.

Shape legend: ``P`` networks, ``N`` nodes, ``E`` edges a network, ``R`` resolutions,
``T`` inputs.

A *value* is an input or a node's output. Each resolution owns a buffer of rows; a value
has a row at the resolution it is made at and at every coarser one down to where an edge
needs it. The rows of resolution ``r`` are filled in this order:

1. imports: values of ``r - 1`` through one adapter (at ``r = 0``: the inputs),
2. stems: nodes at ``r = 0`` whose only source is an input. Nodes with the same input,
   operation and weight slot are one group: the same tensor before dropout, so the
   operation runs once a group,
3. the other nodes, by depth (longest path from the input), then by operation.

The lists have fixed sizes and traced lengths, so that the cost follows what is active
and one program serves every topology. Everything here is traced and cheap.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from evojax_mtl.architectures.table import INPUT, OUTPUT, Architecture
from evojax_mtl.pytrees import Pytree

_NEVER = jnp.iinfo(jnp.int32).max


class Schedule(Pytree):
    """Work lists of a stack of networks; node ids are ``p * N + n``.

    Attributes:
      import_source: per resolution, the row of ``r - 1`` (at 0: the input) to import.
      imports: number of imports per resolution.
      node: node ids in order of execution: the stems, then resolution by resolution.
      stem_begin: position in ``node`` where each group of stems begins (and the end).
      stem_groups: number of groups of stems.
      begin: position in ``node`` where each resolution begins.
      nodes: number of nodes per resolution.
      stage: depth of each node id; nodes of one stage do not depend on each other.
      operation: operation of each node id.
      slot: weight slot of each node id.
      identity: what dropout keys fold in: the network, then the node.
      input: the input of each node id's network.
      row: each node id's row at its own resolution.
      edge_order: edges (flat, ``p * E + e``) sorted by the node they end in.
      edge_row: the row each sorted edge reads, at the resolution of its target.
      edge_begin: position in the sorted edges where each node id's begin.
      edges: number of edges that end in each node id.
      output: node ids of the networks' ``OUTPUT``.
      enabled: networks that run; the outputs of others are zero.
      rows: rows that each resolution needs; must not exceed the capacities.
      applications: module applications of all networks, repeated ones included.
    """

    import_source: tuple[Int[Array, "_"], ...]
    imports: Int[Array, "R"]
    node: Int[Array, "PN"]
    stem_begin: Int[Array, "PN+1"]
    stem_groups: Int[Array, ""]
    begin: Int[Array, "R"]
    nodes: Int[Array, "R"]
    stage: Int[Array, "PN"]
    operation: Int[Array, "PN"]
    slot: Int[Array, "PN"]
    identity: Int[Array, "PN 2"]
    input: Int[Array, "PN"]
    row: Int[Array, "PN"]
    edge_order: Int[Array, "PE"]
    edge_row: Int[Array, "PE"]
    edge_begin: Int[Array, "PN"]
    edges: Int[Array, "PN"]
    output: Int[Array, "P"]
    enabled: Bool[Array, "P"]
    rows: Int[Array, "R"]
    applications: Int[Array, ""]


def depths(architecture: Architecture) -> Int[Array, "*networks N"]:
    """Longest path, in edges, from the input to each node."""
    architecture = jax.tree.map(jnp.asarray, architecture)
    if architecture.source.ndim > 1:
        return jax.vmap(depths)(architecture)

    def relax(carry):
        depth, _ = carry
        reached = jnp.where(architecture.edge, depth[architecture.source] + 1, 0)
        new = jnp.zeros_like(depth).at[architecture.target].max(reached)
        return new, (new != depth).any()

    # derived from the table, so that it carries the table's mapped and sharded axes
    start = jnp.zeros_like(architecture.operation)
    changed = architecture.active.any()
    return jax.lax.while_loop(lambda carry: carry[1], relax, (start, changed))[0]


def schedule(
    architecture: Architecture,
    inputs: Int[Array, "P"],
    capacities: tuple[int, ...],
    *,
    input_count: int,
    enabled: Bool[Array, "P"] | None = None,
    depth: Int[Array, "P N"] | None = None,
    stems: bool = True,
) -> Schedule:
    """Work lists for ``architecture``, a stack of ``P`` networks.

    Args:
      architecture: the networks, arrays of shape ``(P, N)`` and ``(P, E)``.
      inputs: which of the inputs each network reads.
      capacities: rows of each resolution's buffer.
      input_count: number of inputs ``T``.
      enabled: networks to run (all by default); others cost nothing.
      depth: the result of ``depths``, where it is known already.
      stems: whether nodes that read an input alone are grouped. They get no gradient
        with respect to the input, so learned encoders need ``False``.
    """
    architecture = jax.tree.map(jnp.asarray, architecture)
    networks, nodes = architecture.operation.shape
    resolutions = len(capacities)
    levels = jnp.arange(resolutions)
    if enabled is None:
        enabled = jnp.ones((networks,), bool)
    if depth is None:
        depth = depths(architecture)
    network = jnp.arange(networks)[:, None]
    edge = architecture.edge & enabled[:, None]
    flat_target = network * nodes + architecture.target
    flat_source = network * nodes + architecture.source

    inner = jnp.arange(nodes) > OUTPUT
    active = (architecture.active & inner & enabled[:, None]).ravel()
    native = architecture.resolution.ravel()
    operation, slot = architecture.operation.ravel(), architecture.slot.ravel()
    read = jnp.repeat(inputs, nodes)
    edges = jnp.zeros(networks * nodes, jnp.int32).at[flat_target].add(edge)
    learned = jnp.zeros(networks * nodes, jnp.int32)
    learned = learned.at[flat_target].add(edge & (architecture.source != INPUT))
    stem = active & (native == 0) & (edges == 1) & (learned == 0) & stems

    # values: the inputs, then the node ids
    value = jnp.where(
        architecture.source == INPUT, inputs[:, None], input_count + flat_source
    )
    made = jnp.concatenate([jnp.zeros(input_count, jnp.int32), native])
    wanted = edge & ~stem[flat_target]
    coarsest = jnp.full(made.shape, -1)
    coarsest = coarsest.at[value].max(jnp.where(wanted, native[flat_target], -1))
    is_input = jnp.arange(made.shape[0]) < input_count
    imported = (levels[:, None] > made) | ((levels[:, None] == 0) & is_input)
    imported &= levels[:, None] <= coarsest
    imports = imported.sum(1)

    # execution order: stems by group, then by resolution, depth and operation
    stage = depth.ravel()
    kinds = operation.max() + 1
    group = (operation * input_count + read) * (slot.max() + 1) + slot
    turn = (native * (nodes + 1) + stage) * kinds + operation
    turn = jnp.where(stem, group, turn + jnp.max(group) + 1)
    order = jnp.argsort(jnp.where(active, turn, _NEVER))
    position = jnp.arange(networks * nodes)
    stem_count = stem.sum()
    ordered = turn[order]
    fresh = (position < stem_count) & (ordered != jnp.roll(ordered, 1))
    fresh |= (position == 0) & (stem_count > 0)
    begins = jnp.nonzero(fresh, size=networks * nodes + 1, fill_value=stem_count)[0]
    per_level = (active & ~stem & (native == levels[:, None])).sum(1)
    begin = stem_count + jnp.cumsum(per_level) - per_level
    rank = jnp.zeros_like(position).at[order].set(position)
    first = imports + jnp.where(levels == 0, stem_count, 0)
    row = jnp.where(stem, imports[0] + rank, (first - begin)[native] + rank)

    # every value's row at every resolution
    rows = jnp.cumsum(imported, 1) - 1
    own = jnp.concatenate([jnp.zeros(input_count, jnp.int32), row])
    rows = jnp.where(imported, rows, own)
    found = partial(jnp.nonzero, size=max(capacities), fill_value=0)
    chosen = jax.vmap(lambda flags: found(flags)[0])(imported)
    above = jnp.concatenate([jnp.arange(made.shape[0])[None], rows[:-1]])
    brought = jnp.take_along_axis(above, chosen, axis=1)
    sources = [brought[r, :capacity] for r, capacity in enumerate(capacities)]

    edge_key = jnp.where(edge, flat_target, _NEVER).ravel()
    edge_order = jnp.argsort(edge_key)
    edge_row = rows[native[flat_target], value].ravel()[edge_order]
    edge_begin = jnp.cumsum(edges) - edges
    identity = jnp.stack([position // nodes, position % nodes], 1)
    return Schedule(
        import_source=tuple(sources),
        imports=imports,
        stem_begin=begins,
        stem_groups=fresh.sum(),
        node=order,
        begin=begin,
        nodes=per_level,
        stage=stage,
        operation=operation,
        slot=slot,
        identity=identity,
        input=read,
        row=row,
        edge_order=edge_order,
        edge_row=edge_row,
        edge_begin=edge_begin,
        edges=edges,
        output=jnp.arange(networks) * nodes + OUTPUT,
        enabled=enabled,
        rows=first + per_level,
        applications=active.sum(),
    )


def rows_bound(architecture: Architecture, resolutions: int) -> Any:
    """Rows that one network needs at each resolution, at most; NumPy or traced.

    Inputs are counted as if no other network read them and none fed a stem alone.
    """
    xp = np if isinstance(architecture.resolution, np.ndarray) else jnp
    native, node = architecture.resolution, np.arange(architecture.resolution.shape[0])
    leaves = (architecture.source == node[:, None]) & architecture.edge
    reached = xp.where(leaves, native[architecture.target], 0).max(1)
    made = architecture.active & (node != OUTPUT)
    levels = np.arange(resolutions)[:, None]
    held = (native <= levels) & (levels <= xp.maximum(native, reached)) & made
    return held.sum(1)
