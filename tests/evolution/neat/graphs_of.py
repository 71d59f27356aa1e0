"""Graphs for the tests of NEAT, and what every graph must keep to."""

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.evolution.neat import NEAT
from evojax_mtl.genomes.graphs import NEVER, Graph
from evojax_mtl.genomes.hyperparameters import Choice, Flag, Real, Space

SPACE = Space((Real("bias", 0, 1), Real("response", 0, 1), Choice("kind", (1, 2, 3))))
WHOLE = Space((Flag("shared"), Real("rate", 0, 1)))
CONFIG = NEAT(SPACE, WHOLE, nodes=10, edges=20, target=3, species=6, lanes=8)


def take(tree, *where):
    return jax.tree.map(lambda x: x[where], tree)


def graph_of(nodes, edges, capacity=(10, 20), genes=None, whole=None) -> Graph:
    """A graph of markings: nodes, and edges ``(marking, source, target, enabled)``."""

    def pad(values, count):
        return np.array([*values, *[NEVER] * (count - len(values))], np.int32)

    columns = list(zip(*edges, strict=True))
    size = SPACE.size if genes is None else np.shape(genes)[1]
    table = np.zeros((capacity[0], size), np.float32)
    if genes is not None:
        table[: len(nodes)] = genes
    enabled = np.zeros(capacity[1], bool)
    enabled[: len(edges)] = columns[3]
    return Graph(
        node=jnp.asarray(pad(nodes, capacity[0])),
        genes=jnp.asarray(table),
        edge=jnp.asarray(pad(columns[0], capacity[1])),
        source=jnp.asarray(pad(columns[1], capacity[1])),
        target=jnp.asarray(pad(columns[2], capacity[1])),
        enabled=jnp.asarray(enabled),
        whole=jnp.zeros(WHOLE.size) if whole is None else jnp.asarray(whole),
    )


def pairs(graph, enabled_only=True) -> list[tuple[int, int]]:
    """Edges of one graph as pairs of markings."""
    used = np.asarray(graph.enabled if enabled_only else graph.edge < NEVER)
    source, target = np.asarray(graph.source)[used], np.asarray(graph.target)[used]
    return [(int(a), int(b)) for a, b in zip(source, target, strict=True)]


def reached(edges, begin) -> set[int]:
    """Nodes that edges lead to from ``begin``, itself included."""
    found, grown = {begin}, True
    while grown:
        new = {b for a, b in edges if a in found} - found
        grown = bool(new)
        found |= new
    return found


def assert_sound(graph) -> None:
    """Sorted, acyclic, no edge twice, every node between the input and the output."""
    node, edge = np.asarray(graph.node), np.asarray(graph.edge)
    for markings in (node, edge):
        used = markings[markings < NEVER]
        assert (np.diff(used) > 0).all()
        assert (markings[len(used) :] == NEVER).all()
    assert node[:2].tolist() == [0, 1]
    lying = pairs(graph, enabled_only=False)
    used = set(node[node < NEVER].tolist())
    assert {n for pair in lying for n in pair} <= used
    assert len(set(lying)) == len(lying)
    for a, b in lying:
        assert a not in reached(lying, b)
    working = pairs(graph)
    assert reached(working, 0) == used
    assert reached([(b, a) for a, b in working], 1) == used
    inner = (node > 1) & (node < NEVER)
    genes = np.asarray(graph.genes)
    assert not genes[~inner].any()
    assert ((genes >= 0) & (genes <= 1)).all()
