"""Routings: one task's graph of shared modules, grown by CTR (Liang 2018, 3.3).

Shape legend: ``N`` nodes, ``E`` edges, ``K`` modules.

Node 0 is the input, node 1 the output, the others apply a module. Initially nodes
2 .. D + 1 are a chain ``M_1 -> ... -> M_D`` (D = K in the paper); a mutation appends
one node and two edges and never removes any. Adapters are not stored: an edge from
resolution ``r`` to ``q`` passes ``q - r`` of them.

Where the paper leaves room: modules keep the resolution (SAME padding); in the chain
one adapter follows each module, the last included, while the map is at least 4 x 4; a
new node works at the resolution of the node it reads. "v is an ancestor of u" is read
as v being downstream of u, so that ``u -> w -> v`` stays acyclic; the pair is uniform
among all valid ones, with u possibly the input and v the output. An edge u -> w -> v
may repeat an existing one with the same module: the paper does not forbid it.

Modules that end in a max-pool (CMTR, 3.4) make maps of the next resolution while theirs
is at least 4 x 4 (``pooled_resolutions``): w reads what u makes, and a pair is valid
where v takes maps no larger than w makes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from evojax_mtl.architectures import paths
from evojax_mtl.architectures.table import INPUT, OUTPUT, Architecture
from evojax_mtl.pytrees import Pytree

_CHAIN = 2


class Routing(Pytree):
    """A routing's graph; leading axes stack routings.

    Attributes:
      module: module of each node.
      resolution: adapters between the input and each node's input.
      nodes: nodes in use.
      source: node each edge leaves from.
      target: node each edge ends in.
      edges: edges in use.
    """

    module: Int[Array, "*routings N"]
    resolution: Int[Array, "*routings N"]
    nodes: Int[Array, "*routings"]
    source: Int[Array, "*routings E"]
    target: Int[Array, "*routings E"]
    edges: Int[Array, "*routings"]


def chain_resolutions(size: tuple[int, ...], depth: int) -> list[int]:
    """Resolution of each module of a chain, then of the output.

    Args:
      size: height and width of the input (pixels), or the steps of a sequence.
      depth: modules in the chain.
    """
    resolutions = [0]
    for _ in range(depth):
        resolutions.append(_below(size, resolutions[-1]))
    return resolutions


def _below(size: tuple[int, ...], resolution: int) -> int:
    """The resolution after an adapter, of maps that are at least 4 x 4."""
    return resolution + (min(size) >> resolution >= 4)


def pooled_resolutions(size: tuple[int, ...], depth: int) -> np.ndarray:
    """Resolution of what modules that end in a max-pool make, by that of their input.

    A NumPy array of integers, one a resolution.

    Args:
      size: height and width of the input (pixels).
      depth: modules of the chain whose resolutions there are.
    """
    last = chain_resolutions(size, depth)[-1]
    return np.array([_below(size, r) for r in range(last + 1)], np.int32)


def chain(size: tuple[int, ...], modules: int, depth: int, additions: int) -> Routing:
    """The initial routing ``M_1 -> M_2 -> ...``, with room for ``additions`` nodes.

    Modules repeat from the first where ``depth`` exceeds their number.
    """
    capacity = _CHAIN + depth + additions
    module = np.zeros(capacity, np.int32)
    resolution = np.zeros(capacity, np.int32)
    levels = chain_resolutions(size, depth)
    module[_CHAIN : _CHAIN + depth] = np.arange(depth) % modules
    resolution[_CHAIN : _CHAIN + depth] = levels[:-1]
    resolution[OUTPUT] = levels[-1]
    edges = depth + 1
    source = np.zeros(edges + 2 * additions, np.int32)
    target = np.zeros(edges + 2 * additions, np.int32)
    path = [INPUT, *range(_CHAIN, _CHAIN + depth), OUTPUT]
    source[:edges], target[:edges] = path[:-1], path[1:]
    arrays: dict[str, Any] = {
        "module": module,
        "resolution": resolution,
        "nodes": np.int32(_CHAIN + depth),
        "source": source,
        "target": target,
        "edges": np.int32(edges),
    }
    return Routing(**arrays)


def enlarge(routing: Routing, additions: int) -> Routing:
    """Room for ``additions`` nodes more, in NumPy; any leading axes."""

    def pad(array, count):
        return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, count)])

    return routing.replace(
        module=pad(routing.module, additions),
        resolution=pad(routing.resolution, additions),
        source=pad(routing.source, 2 * additions),
        target=pad(routing.target, 2 * additions),
    )


def downstream(routing: Routing) -> Bool[Array, "N N"]:
    """``[u, v]``: whether a path of at least one edge leads from u to v."""
    used = jnp.arange(routing.source.shape[0]) < routing.edges
    nodes = routing.module.shape[0]
    return paths.downstream(routing.source, routing.target, used, nodes)


def _made(routing: Routing, pooled: Int[Array, "R"]) -> Int[Array, "N"]:
    """Resolution of each node's output; the output's means nothing."""
    node = jnp.arange(routing.module.shape[0])
    return jnp.where(node == INPUT, 0, pooled[routing.resolution])


def add_node(
    key: Array,
    routing: Routing,
    modules: int,
    pooled: np.ndarray | None = None,
) -> tuple[Routing, Int[Array, ""]]:
    """Steps 2 to 5 of the mutation: a new node w with edges (u, w) and (w, v).

    Returns the routing and the index of the edge (w, v), whose scale is the caller's
    to set (step 6); the edge before it is (u, w). A routing without room is returned
    as it is, with index -1.

    Args:
      key: randomness.
      routing: to be mutated.
      modules: how many there are.
      pooled: resolution of what a module makes, by that of its input; None where
        modules keep the resolution.
    """
    pair_key, module_key = jax.random.split(key)
    valid, made = downstream(routing), routing.resolution
    if pooled is not None:
        levels = jnp.asarray(pooled)
        made = _made(routing, levels)
        valid &= levels[made][:, None] <= routing.resolution
    pair = jax.random.categorical(pair_key, jnp.where(valid, 0.0, -jnp.inf).ravel())
    pair = pair.astype(jnp.int32)
    u, v = pair // valid.shape[1], pair % valid.shape[1]
    k = jax.random.randint(module_key, (), 0, modules, jnp.int32)
    node, edge = routing.nodes, routing.edges
    room = node < routing.module.shape[0]
    grown = Routing(
        module=routing.module.at[node].set(k),
        resolution=routing.resolution.at[node].set(made[u]),
        nodes=node + 1,
        source=routing.source.at[edge].set(u).at[edge + 1].set(node),
        target=routing.target.at[edge].set(node).at[edge + 1].set(v),
        edges=edge + 2,
    )
    grown = jax.tree.map(lambda new, old: jnp.where(room, new, old), grown, routing)
    return grown, jnp.where(room, edge + 1, -1)


def decode(routing: Routing) -> Architecture:
    """The architecture: one operation, weights shared by module."""
    nodes: Any = np.arange(routing.module.shape[-1])
    edges: Any = np.arange(routing.source.shape[-1])
    return Architecture(
        operation=routing.module * 0,
        slot=routing.module,
        resolution=routing.resolution,
        active=nodes < routing.nodes[..., None],
        source=routing.source,
        target=routing.target,
        edge=edges < routing.edges[..., None],
    )
