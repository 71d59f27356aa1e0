"""NEAT's operators: distance, crossover and markings as neat-python's, mutation."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evolution import neat
from evojax_mtl.evolution.neat import NEAT, Rates, mutation
from evojax_mtl.evolution.neat.markings import Counter, number
from evojax_mtl.genomes import graphs
from evojax_mtl.genomes.graphs import NEVER
from evojax_mtl.genomes.hyperparameters import Choice, Real, Space
from tests.evolution.neat.graphs_of import (
    CONFIG,
    SPACE,
    WHOLE,
    assert_sound,
    graph_of,
    pairs,
    reached,
    take,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "neat.json").read_text())
PEER = NEAT(
    Space(
        (
            Real("bias", 0, 1),
            Real("response", 0, 1),
            Choice("activation", (0, 1, 2)),
            Choice("aggregation", (0, 1)),
        )
    ),
    nodes=12,
    edges=24,
)


MUTATE = jax.jit(mutation.mutate, static_argnums=1)
ADD_NODES = jax.jit(mutation.add_nodes, static_argnums=1)


def golden_graph(record):
    """A genome of neat-python; its input, which has no genes there, is our node 0."""
    rows = [
        [bias, response, (kind + 0.5) / 3, (sum_ + 0.5) / 2]
        for _, bias, response, kind, sum_ in record["nodes"]
    ]
    nodes = [0, *(row[0] for row in record["nodes"])]
    genes = [[0.0] * 4, *rows]
    whole = jnp.zeros(0)
    return graph_of(nodes, record["edges"], (PEER.nodes, PEER.edges), genes, whole)


GENOMES = [golden_graph(record) for record in GOLDEN["genomes"]]
STACKED = jax.tree.map(lambda *x: jnp.stack(x), *GENOMES)


@pytest.mark.parametrize("case", GOLDEN["distances"])
def test_distances_are_those_of_neat_python(case):
    rates = Rates(disjoint=case["disjoint"], difference=case["difference"])
    one = partial(neat.distance, PEER, rates)
    every = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(STACKED, STACKED)
    np.testing.assert_allclose(every, case["d"], rtol=1e-5, atol=1e-6)


def test_distance_adds_the_genes_of_the_whole_graph():
    edges = [(0, 0, 1, True)]
    a, b = (graph_of([0, 1], edges, whole=w) for w in ([0.9, 0.1], [0.2, 0.4]))
    found = neat.distance(CONFIG, Rates(difference=2.0), a, b)
    assert float(found) == pytest.approx(2 * (1 + 0.3))


def test_children_have_the_genes_that_they_have_in_neat_python():
    cross = jax.jit(neat.crossover)
    for i, fitter in enumerate(GENOMES):
        for j, other in enumerate(GENOMES):
            child = cross(jax.random.key(i * 10 + j), fitter, other)
            expected = GOLDEN["children"][i][j]
            node, edge = np.asarray(child.node), np.asarray(child.edge)
            # neat-python has no node for the input
            assert node[: graphs.nodes(child)].tolist() == [0, *expected["nodes"]]
            assert edge[: graphs.edges(child)].tolist() == expected["edges"]
            np.testing.assert_array_equal(child.enabled, fitter.enabled)


def test_aligned_nodes_come_from_either_parent_others_from_the_fitter():
    edges = [(0, 0, 2, True), (1, 2, 1, True)]
    a = graph_of([0, 1, 2, 5], edges, genes=np.full((4, 3), 0.2), whole=[0.2, 0.2])
    b = graph_of([0, 1, 2, 4], edges, genes=np.full((4, 3), 0.8), whole=[0.8, 0.8])
    keys = jax.random.split(jax.random.key(0), 400)
    found = jax.vmap(lambda key: neat.crossover(key, a, b))(keys)
    genes = np.asarray(found.genes)
    assert (genes[:, 3] == np.float32(0.2)).all()
    assert (genes[:, 2] == genes[:, 2, :1]).all()
    assert np.mean(genes[:, 2, 0] == np.float32(0.8)) == pytest.approx(0.5, abs=0.1)
    whole = np.asarray(found.whole)
    assert (whole == np.float32(0.8)).mean(0) == pytest.approx([0.5, 0.5], abs=0.1)
    assert len(np.unique(whole, axis=0)) == 4


def same_partition(a, b) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return bool(((a[:, None] == a) == (b[:, None] == b)).all())


def test_markings_agree_where_those_of_neat_python_do():
    for kind, expected in (("split", "splits"), ("join", "joins")):
        first, second = jnp.asarray(GOLDEN[kind]).T
        found, count = number(first, second, jnp.ones(len(first), bool))
        peer = GOLDEN["numbers"][0][expected]
        peer = peer[0] if kind == "split" else peer
        assert same_partition(found, peer)
        # both count in the order of appearance
        np.testing.assert_array_equal(found, np.asarray(peer) - min(peer))
        assert int(count) == len(set(peer))


def test_who_does_not_mutate_gets_no_number():
    wanted = jnp.array([False, True, False, True, True])
    pairs_ = jnp.array([1, 7, 7, 1, 7])
    found, count = number(pairs_, pairs_ * 0, wanted)
    assert np.asarray(found)[np.asarray(wanted)].tolist() == [0, 1, 0]
    assert int(count) == 2
    assert int(number(pairs_, pairs_, wanted & False)[1]) == 0


CHAIN = [(0, 0, 2, True), (1, 2, 1, True)]


def population(count, **changes):
    one = graphs.chain(1, (CONFIG.nodes, CONFIG.edges), SPACE, WHOLE)
    return graphs.drawn(jax.random.key(9), one, SPACE, WHOLE, count)


def start() -> Counter:
    return Counter(node=jnp.int32(3), edge=jnp.int32(2))


def test_a_split_edge_gives_all_the_same_new_genes():
    many = population(24)
    wanted = jnp.arange(24) % 4 > 0
    grown, counter = ADD_NODES(jax.random.key(0), CONFIG, many, wanted, start())
    grown = jax.tree.map(np.asarray, grown)
    found = {}
    for p in range(24):
        one = take(grown, p)
        assert_sound(one)
        if not wanted[p]:
            assert one.node[3] == NEVER
            continue
        split = np.flatnonzero(~np.asarray(one.enabled)[:2])
        assert len(split) == 1
        old = CHAIN[split[0]]
        node, edges = int(one.node[3]), np.asarray(one.edge)[2:4].tolist()
        new = pairs(one, enabled_only=False)[2:]
        assert new == [(old[1], node), (node, old[2])]
        found.setdefault(int(split[0]), set()).add((node, *edges))
    # both edges were split by some, each always with one set of markings
    assert sorted(len(v) for v in found.values()) == [1, 1]
    assert set.union(*found.values()) == {(3, 2, 3), (4, 4, 5)}
    assert (int(counter.node), int(counter.edge)) == (5, 6)


def test_later_generations_count_on():
    many = population(24)
    wanted = jnp.ones(24, bool)
    args = jax.random.key(0), CONFIG, many, wanted
    first, counter = ADD_NODES(*args, start())
    again, _ = ADD_NODES(*args, counter)
    assert not set(np.asarray(first.node)[:, 3]) & set(np.asarray(again.node)[:, 3])


BRANCHED = [
    (0, 0, 2, True),
    (1, 2, 1, True),
    (2, 0, 3, True),
    (3, 3, 1, True),
    (4, 2, 4, False),
    (5, 4, 1, True),
    (6, 0, 4, True),
]


@pytest.mark.parametrize("capacity", [(6, 9), (5, 7)])
def test_connections_are_uniform_among_those_that_close_no_cycle(capacity):
    graph = graph_of([0, 1, 2, 3, 4], BRANCHED, capacity)
    lying = pairs(graph, enabled_only=False)
    working = pairs(graph)
    allowed = {
        (a, b)
        for a in (0, 2, 3, 4)
        for b in (1, 2, 3, 4)
        if a != b and (a, b) not in working and a not in reached(lying, b)
    }
    if capacity[1] == len(BRANCHED):
        allowed &= set(lying)
    keys = jax.random.split(jax.random.key(1), 600)
    found = jax.vmap(mutation.draw_connection, (0, None))(keys, graph)
    ends = list(zip(np.asarray(found.source), np.asarray(found.target), strict=True))
    drawn = [(int(a), int(b)) for a, b in ends]
    assert set(drawn) == allowed
    counts = [drawn.count(pair) for pair in allowed]
    assert min(counts) > 0.6 * 600 / len(allowed)
    again = [lying.index(pair) if pair in lying else -1 for pair in drawn]
    np.testing.assert_array_equal(found.existing, again)
    assert np.asarray(found.possible).all()


def test_a_disabled_edge_is_enabled_again_and_a_new_one_marked():
    graph = graph_of([0, 1, 2, 3, 4], BRANCHED, (5, 8))
    one = mutation.Connection(jnp.int32(2), jnp.int32(4), jnp.int32(4), jnp.bool_(True))
    again = mutation.connect(graph, one, jnp.int32(50))
    assert np.asarray(again.enabled)[:7].all()
    np.testing.assert_array_equal(again.edge, graph.edge)
    one = mutation.Connection(
        jnp.int32(0), jnp.int32(1), jnp.int32(-1), jnp.bool_(True)
    )
    new = mutation.connect(graph, one, jnp.int32(50))
    assert np.asarray(new.edge).tolist() == [0, 1, 2, 3, 4, 5, 6, 50]
    assert pairs(new)[-1] == (0, 1)


def grow(rounds, rates, config=CONFIG, count=24):
    """Populations after each of some rounds of mutation."""
    many, counter = population(count), start()
    wanted = jnp.ones(count, bool)
    for i in range(rounds):
        many, counter, exhausted = MUTATE(
            jax.random.key(i), config, rates, many, wanted, counter
        )
        yield many, counter, int(exhausted)


def test_graphs_stay_sound_and_markings_tell_structures():
    rates = Rates(add_node=0.4, add_connection=0.5, mutate=0.3)
    seen = {}
    for many, counter, _ in grow(25, rates):
        host = jax.tree.map(np.asarray, many)
        for p in range(24):
            one = take(host, p)
            assert_sound(one)
            ends = pairs(one, enabled_only=False)
            for marking, pair in zip(one.edge, ends, strict=False):
                assert seen.setdefault(int(marking), pair) == pair
                assert marking < counter.edge
            assert max(one.node[one.node < NEVER]) < counter.node
    sizes = np.asarray(graphs.nodes(many))
    assert sizes.max() == CONFIG.nodes
    assert len(np.unique(sizes)) > 1


def test_full_capacity_falls_back_and_is_counted():
    small = NEAT(SPACE, WHOLE, nodes=3, edges=2)
    count = 16
    one = graphs.chain(1, (3, 2), SPACE, WHOLE)
    many = graphs.drawn(jax.random.key(9), one, SPACE, WHOLE, count)
    rates = Rates(add_node=1.0, add_connection=0.0, mutate=0.0)
    args = jax.random.key(0), small, rates, many, jnp.ones(count, bool)
    grown, counter, exhausted = MUTATE(*args, start())
    # no room for a node, then none for an edge: the node's hyperparameters mutate
    assert int(exhausted) == 2 * count
    assert (int(counter.node), int(counter.edge)) == (3, 2)
    np.testing.assert_array_equal(grown.edge, many.edge)
    assert (np.asarray(grown.genes != many.genes)[:, 2]).any(1).all()
    np.testing.assert_array_equal(grown.whole, many.whole)
    # room for an edge but not for a node: a connection takes its place
    wide = NEAT(SPACE, WHOLE, nodes=3, edges=3)
    one = graphs.chain(1, (3, 3), SPACE, WHOLE)
    many = graphs.drawn(jax.random.key(9), one, SPACE, WHOLE, count)
    args = jax.random.key(0), wide, rates, many, jnp.ones(count, bool)
    grown, _, exhausted = MUTATE(*args, start())
    assert int(exhausted) == count
    assert all(pairs(take(grown, p))[-1] == (0, 1) for p in range(count))
    np.testing.assert_array_equal(grown.genes, many.genes)


def test_a_graph_joined_everywhere_is_not_counted_as_full():
    edges = [(0, 0, 2, True), (1, 2, 1, True), (2, 0, 1, True)]
    one = graph_of([0, 1, 2], edges)
    many = jax.tree.map(lambda x: jnp.stack([x] * 24), one)
    rates = Rates(add_node=0.0, add_connection=1.0, mutate=0.0)
    args = jax.random.key(0), CONFIG, rates, many, jnp.ones(24, bool)
    grown, _, exhausted = MUTATE(*args, start())
    assert int(exhausted) == 0
    np.testing.assert_array_equal(grown.edge, many.edge)
    assert np.asarray(grown.genes != many.genes)[:, 2].any(1).all()


def test_those_who_are_not_wanted_stay_as_they_are():
    many = population(24)
    rates = Rates(add_node=1.0, add_connection=1.0, mutate=1.0)
    wanted = jnp.arange(24) < 4
    grown, _, _ = MUTATE(jax.random.key(0), CONFIG, rates, many, wanted, start())
    for a, b in zip(jax.tree.leaves(grown), jax.tree.leaves(many), strict=True):
        np.testing.assert_array_equal(a[4:], b[4:])
    assert (np.asarray(graphs.nodes(grown))[:4] == 4).all()


def test_a_capacity_too_small_is_told_in_one_line():
    with pytest.raises(UserError, match="capacity: found 3 nodes and 2 edges, the"):
        graphs.chain(2, (3, 2), SPACE)
