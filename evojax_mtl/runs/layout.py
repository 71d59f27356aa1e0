"""Layered layout of a small directed acyclic graph, left to right.

Layers by longest path, edges that skip layers led through bends, crossings reduced by
barycentres, and heights by least squares with a least distance. Imports no JAX.
"""

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

Node = Hashable
SWEEPS = 12


@dataclass(frozen=True)
class Layout:
    """Where everything goes (pixels).

    Attributes:
      nodes: centre of each node.
      edges: points of each edge from its source's centre to its target's, in the
        order of the edges given.
      width: largest x plus the smallest.
      height: likewise.
    """

    nodes: dict[Node, tuple[float, float]]
    edges: list[list[tuple[float, float]]]
    width: float
    height: float


def layout(
    nodes: Sequence[Node],
    edges: Sequence[tuple[Node, Node]],
    *,
    last: Node | None = None,
    step: float = 78.0,
    gap: float = 40.0,
    bend_gap: float = 20.0,
    margin: float = 30.0,
) -> Layout:
    """Places nodes and edges.

    Args:
      nodes: the nodes.
      edges: source and target of each edge; two may connect the same nodes.
      last: a node to place in the last layer.
      step: distance between layers (pixels).
      gap: least distance of nodes in a layer (pixels).
      bend_gap: least distance of a bend from its neighbours (pixels).
      margin: space around everything (pixels).

    Raises:
      ValueError: if the graph has a cycle or an edge names an unknown node.
    """
    depth = _depths(nodes, edges)
    if last is not None:
        depth[last] = max(depth.values())
    chains, links = _chains(edges, depth)
    layers = _layers(nodes, chains, depth)
    order = _uncross(layers, links)
    heights = _heights(order, links, set(nodes), gap, bend_gap)
    top = min(heights.values())
    place = {
        v: (margin + step * i, margin + heights[v] - top)
        for i, layer in enumerate(order)
        for v in layer
    }
    return Layout(
        nodes={v: place[v] for v in nodes},
        edges=[[place[v] for v in chain] for chain in chains],
        width=2 * margin + step * (len(order) - 1),
        height=2 * margin + max(heights.values()) - top,
    )


def _depths(
    nodes: Sequence[Node], edges: Iterable[tuple[Node, Node]]
) -> dict[Node, int]:
    """Length of the longest path that ends in each node (edges)."""
    before: dict[Node, list[Node]] = {v: [] for v in nodes}
    for source, target in edges:
        if source not in before or target not in before:
            raise ValueError(f"edge {source} -> {target}: no such node")
        before[target].append(source)
    depth: dict[Node, int] = {}
    waiting = list(nodes)
    while waiting:
        ready = [v for v in waiting if all(u in depth for u in before[v])]
        if not ready:
            raise ValueError("the graph has a cycle")
        for v in ready:
            depth[v] = 1 + max((depth[u] for u in before[v]), default=-1)
        waiting = [v for v in waiting if v not in depth]
    return depth


def _chains(
    edges: Sequence[tuple[Node, Node]], depth: dict[Node, int]
) -> tuple[list[list[Node]], list[tuple[Node, Node]]]:
    """Every edge as a chain through one bend a layer, and the links of all chains."""
    chains = []
    for number, (source, target) in enumerate(edges):
        between = range(depth[source] + 1, depth[target])
        bends: list[Node] = [("bend", number, layer) for layer in between]
        chains.append([source, *bends, target])
    links = [link for chain in chains for link in itertools.pairwise(chain)]
    return chains, links


def _layers(
    nodes: Sequence[Node], chains: list[list[Node]], depth: dict[Node, int]
) -> list[list[Node]]:
    layers: list[list[Node]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for v in nodes:
        layers[depth[v]].append(v)
    for chain in chains:
        for offset, bend in enumerate(chain[1:-1], start=1):
            layers[depth[chain[0]] + offset].append(bend)
    return layers


def _neighbours(
    links: Iterable[tuple[Node, Node]],
) -> tuple[dict[Node, list[Node]], dict[Node, list[Node]]]:
    before, after = defaultdict(list), defaultdict(list)
    for source, target in links:
        after[source].append(target)
        before[target].append(source)
    return before, after


def _uncross(
    layers: list[list[Node]], links: list[tuple[Node, Node]]
) -> list[list[Node]]:
    """Orders within layers by barycentres, back and forth; the best seen."""
    before, after = _neighbours(links)
    layers = [list(layer) for layer in layers]
    best, fewest = [list(layer) for layer in layers], _crossings(layers, after)
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        near = before if forth else after
        for i in range(len(layers)) if forth else reversed(range(len(layers))):
            neighbour = i - 1 if forth else i + 1
            if not 0 <= neighbour < len(layers):
                continue
            rank = {v: k for k, v in enumerate(layers[neighbour])}
            own = {v: k for k, v in enumerate(layers[i])}

            def centre(
                v: Node, rank: dict = rank, own: dict = own, near: dict = near
            ) -> float:
                ranks = [rank[u] for u in near[v] if u in rank]
                return sum(ranks) / len(ranks) if ranks else own[v]

            layers[i].sort(key=centre)
        crossings = _crossings(layers, after)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _crossings(layers: list[list[Node]], after: dict[Node, list[Node]]) -> int:
    count = 0
    for left, right in itertools.pairwise(layers):
        rank = {v: k for k, v in enumerate(right)}
        ends = [sorted(rank[v] for v in after[u]) for u in left]
        for i, upper in enumerate(ends):
            for lower in ends[i + 1 :]:
                count += sum(a > b for a in upper for b in lower)
    return count


def _heights(
    order: list[list[Node]],
    links: list[tuple[Node, Node]],
    nodes: set[Node],
    gap: float,
    bend_gap: float,
) -> dict[Node, float]:
    """Heights near the neighbours' mean that keep the order and the distances."""
    before, after = _neighbours(links)
    spaces = [
        [
            gap
            if u in nodes and v in nodes
            else (gap + bend_gap) / 2
            if u in nodes or v in nodes
            else bend_gap
            for u, v in itertools.pairwise(layer)
        ]
        for layer in order
    ]
    height: dict[Node, float] = {}
    for layer, space in zip(order, spaces, strict=True):
        total = sum(space)
        for k, v in enumerate(layer):
            height[v] = sum(space[:k]) - total / 2
    for sweep in range(2 * SWEEPS):
        near = (before, after)[sweep % 2]
        indices = range(len(order))
        for i in indices if sweep % 2 == 0 else reversed(indices):
            layer = order[i]
            wanted = []
            for v in layer:
                others = near[v] or before[v] + after[v]
                mean = sum(height[u] for u in others) / len(others) if others else 0.0
                wanted.append(mean)
            for v, y in zip(layer, _spread(wanted, spaces[i]), strict=True):
                height[v] = y
    return height


def _spread(wanted: list[float], spaces: list[float]) -> list[float]:
    """Nearest heights in least squares that are at least ``spaces`` apart."""
    offsets = [0.0]
    for space in spaces:
        offsets.append(offsets[-1] + space)
    # Isotonic regression by pooling adjacent violators.
    pools: list[list[float]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append([want - offset, 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            value, weight = pools.pop()
            total = pools[-1][1] + weight
            pools[-1][0] = (pools[-1][0] * pools[-1][1] + value * weight) / total
            pools[-1][1] = total
    flat = [value for value, weight in pools for _ in range(int(weight))]
    return [value + offset for value, offset in zip(flat, offsets, strict=True)]
