"""Routings: initial chains, and the mutation of Liang 2018, 3.3.2, steps 2 to 5."""

from functools import partial

import jax
import numpy as np
import pytest

from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.genomes import routings
from evojax_mtl.genomes.routings import Routing, chain, chain_resolutions

MODULES, ADDITIONS, WALKS = 4, 24, 12
START = chain((28, 28), MODULES, MODULES, ADDITIONS)


@pytest.mark.parametrize(
    ("size", "depth", "expected"),
    [
        ((28, 28), 4, [0, 1, 2, 3, 3]),
        ((105, 105), 4, [0, 1, 2, 3, 4]),
        ((28, 105), 4, [0, 1, 2, 3, 3]),
        ((4, 4), 2, [0, 1, 1]),
        ((28, 28), 1, [0, 1]),
    ],
)
def test_an_adapter_follows_each_module_while_the_map_is_at_least_4x4(
    size, depth, expected
):
    assert chain_resolutions(size, depth) == expected


def test_the_first_routing_is_a_chain_of_all_modules():
    one = chain((28, 28), 3, 5, 2)
    edges = int(one.edges)
    path = list(zip(one.source[:edges], one.target[:edges], strict=True))
    assert path == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 1)]
    assert one.module[2 : one.nodes].tolist() == [0, 1, 2, 0, 1]
    assert one.resolution[[*range(2, 7), OUTPUT]].tolist() == [0, 1, 2, 3, 3, 3]
    assert len(one.module) == 2 + 5 + 2
    assert len(one.source) == 6 + 2 * 2


def successors(routing, edges):
    table = {}
    pairs = zip(routing.source[:edges], routing.target[:edges], strict=True)
    for u, v in pairs:
        table.setdefault(int(u), set()).add(int(v))
    return table


def reachable(table, start):
    """Nodes at the end of a path of at least one edge."""
    found, stack = set(), [start]
    while stack:
        for node in table.get(stack.pop(), ()):
            if node not in found:
                found.add(node)
                stack.append(node)
    return found


@pytest.fixture(scope="module")
def walks():
    """Routings grown by random mutations until there is no room, one a key."""

    @jax.jit
    @jax.vmap
    def walk(key):
        def mutate(i, routing):
            return routings.add_node(jax.random.fold_in(key, i), routing, MODULES)[0]

        return jax.lax.fori_loop(0, ADDITIONS, mutate, START)

    grown = jax.tree.map(np.asarray, walk(jax.random.split(jax.random.key(0), WALKS)))
    return [jax.tree.map(lambda x, i=i: x[i], grown) for i in range(WALKS)]


def test_every_mutation_joins_a_node_to_one_downstream_of_it(walks):
    # edges are only appended, so that the history of a routing is its prefixes
    first_edges, first_nodes = int(START.edges), int(START.nodes)
    for routing in walks:
        assert routing.nodes == first_nodes + ADDITIONS
        for i in range(ADDITIONS):
            edges, w = first_edges + 2 * i, first_nodes + i
            u, into = int(routing.source[edges]), int(routing.target[edges])
            back, v = int(routing.source[edges + 1]), int(routing.target[edges + 1])
            assert into == back == w
            before = successors(routing, edges)
            assert max(u, v) < w
            assert v in reachable(before, u)
            assert routing.resolution[w] == routing.resolution[u]


def test_routings_stay_acyclic_from_one_input_to_one_output(walks):
    for routing in walks:
        table = successors(routing, int(routing.edges))
        for node in range(int(routing.nodes)):
            below = reachable(table, node)
            assert node not in below
            assert (OUTPUT in below) == (node != OUTPUT)
        assert reachable(table, INPUT) == set(range(1, int(routing.nodes)))


def test_resolution_never_falls_along_an_edge(walks):
    for routing in walks:
        edges = int(routing.edges)
        source, target = routing.source[:edges], routing.target[:edges]
        assert (routing.resolution[source] <= routing.resolution[target]).all()


def test_downstream_is_reachability(walks):
    downstream = jax.jit(routings.downstream)
    for routing in walks[:3]:
        table = successors(routing, int(routing.edges))
        got = np.asarray(downstream(routing))
        for u in range(len(routing.module)):
            assert set(np.flatnonzero(got[u]).tolist()) == reachable(table, u)


def chi_square(counts):
    counts = np.asarray(counts, float)
    return ((counts - counts.mean()) ** 2 / counts.mean()).sum()


@pytest.fixture(scope="module")
def draws():
    """Many mutations of 0 -> 2 -> 3 -> 1 with a by-pass 0 -> 4 -> 3."""
    routing = Routing(
        module=np.array([0, 0, 0, 1, 2, 0], np.int32),
        resolution=np.array([0, 2, 0, 1, 0, 0], np.int32),
        nodes=np.int32(5),
        source=np.array([0, 2, 3, 0, 4, 0, 0], np.int32),
        target=np.array([2, 3, 1, 4, 3, 0, 0], np.int32),
        edges=np.int32(5),
    )
    add = jax.jit(jax.vmap(partial(routings.add_node, modules=MODULES), (0, None)))
    keys = jax.random.split(jax.random.key(3), 9000)
    grown, edge = jax.tree.map(np.asarray, add(keys, routing))
    assert (edge == 6).all()
    return grown


def test_pairs_are_uniform_among_the_valid_ones(draws):
    valid = [(0, 1), (0, 2), (0, 3), (0, 4), (2, 1), (2, 3), (3, 1), (4, 1), (4, 3)]
    pairs = np.stack([draws.source[:, 5], draws.target[:, 6]], 1)
    counts = [(pairs == pair).all(1).sum() for pair in valid]
    assert sum(counts) == len(pairs)
    # the 99.99th percentile of chi-square with 8 degrees of freedom
    assert chi_square(counts) < 31.8


def test_modules_are_uniform_and_independent_of_the_pair(draws):
    module = draws.module[:, 5]
    counts = np.bincount(module, minlength=MODULES)
    assert len(counts) == MODULES
    assert chi_square(counts) < 21.1  # 3 degrees of freedom
    by_source = [
        np.bincount(module[draws.source[:, 5] == u], minlength=MODULES) for u in (0, 2)
    ]
    for counts in by_source:
        assert chi_square(counts) < 21.1


def test_a_routing_without_room_stays_as_it_is():
    full = chain((28, 28), 2, 2, 0)
    same, edge = jax.jit(partial(routings.add_node, modules=2))(jax.random.key(0), full)
    assert edge == -1
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(full), strict=True):
        np.testing.assert_array_equal(a, b)


def test_enlarging_appends_room_and_keeps_the_rest(walks):
    stacked = jax.tree.map(lambda *x: np.stack(x), *walks[:2])
    larger = routings.enlarge(stacked, 3)
    assert larger.module.shape[1] == stacked.module.shape[1] + 3
    assert larger.source.shape[1] == stacked.source.shape[1] + 6
    for name in ("module", "resolution", "source", "target", "nodes", "edges"):
        old, new = getattr(stacked, name), getattr(larger, name)
        if old.ndim > 1:
            assert (new[:, old.shape[1] :] == 0).all()
            new = new[:, : old.shape[1]]
        np.testing.assert_array_equal(new, old)


def test_a_routing_decodes_to_the_nodes_and_edges_in_use(walks):
    routing = walks[0].replace(nodes=np.int32(7), edges=np.int32(7))
    architecture = routings.decode(routing)
    assert architecture.active.tolist() == [i < 7 for i in range(len(routing.module))]
    assert architecture.edge.sum() == 7
    assert architecture.edge[:7].all()
    np.testing.assert_array_equal(architecture.slot, routing.module)
    assert not architecture.operation.any()


def test_modules_that_pool_are_joined_where_their_maps_fit():
    size = (28, 28)
    pooled = routings.pooled_resolutions(size, MODULES)
    # maps of 28, 14, 7 and 3 pixels: the last are too small to be pooled
    assert pooled.tolist() == [1, 2, 3, 3]

    @jax.jit
    @jax.vmap
    def walk(key):
        def mutate(i, routing):
            key_of = jax.random.fold_in(key, i)
            return routings.add_node(key_of, routing, MODULES, pooled)[0]

        return jax.lax.fori_loop(0, ADDITIONS, mutate, START)

    grown = jax.tree.map(np.asarray, walk(jax.random.split(jax.random.key(1), WALKS)))
    begin = int(START.edges)
    pairs = set()
    for source, target, level in zip(
        grown.source, grown.target, grown.resolution, strict=True
    ):
        made = np.where(np.arange(len(level)) == INPUT, 0, pooled[level])
        assert (made[source] <= level[target]).all()
        # a new node reads what is made, as it is
        news = target[begin::2]
        np.testing.assert_array_equal(level[news], made[source[begin::2]])
        pairs |= set(zip(source[begin::2], target[begin + 1 :: 2], strict=True))
    assert (grown.nodes == int(START.nodes) + ADDITIONS).all()
    # of the chain's own pairs: not its first module, which takes the image's size
    chain = [(u, v) for u, v in pairs if max(u, v) < int(START.nodes)]
    assert (INPUT, 2) not in chain
    assert {(INPUT, 3), (INPUT, OUTPUT), (4, 5), (5, OUTPUT)} <= set(chain)
