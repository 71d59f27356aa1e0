"""Schedules, run symbolically by plain Python: every row holds what its reader needs.

A value is named ``("image", input)`` or ``("node", network, node)``.
"""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures import schedule as schedules
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.genomes import routings

INPUTS = np.array([0, 0, 1, 1, 2])
NETWORKS, SIZE, MODULES, ROOM = len(INPUTS), (28, 28), 3, 12
CAPACITIES = (120, 120, 120, 120)
START = routings.chain(SIZE, MODULES, MODULES, ROOM)
NODES = len(START.module)


@jax.jit
def grow(key, mutations):
    def one(key):
        def mutate(i, routing):
            return routings.add_node(jax.random.fold_in(key, i), routing, MODULES)[0]

        return jax.lax.fori_loop(0, mutations, mutate, START)

    return routings.decode(jax.vmap(one)(jax.random.split(key, NETWORKS)))


@partial(jax.jit, static_argnames="stems")
def make(architecture, enabled, stems=True):
    return schedules.schedule(
        architecture,
        jnp.asarray(INPUTS),
        CAPACITIES,
        input_count=3,
        enabled=enabled,
        stems=stems,
    )


ALL = np.ones(NETWORKS, bool)


def grown(mutations, seed, operations=2):
    """Routings with random operations, so that one slot may have several."""
    architecture = jax.tree.map(
        np.asarray, grow(jax.random.key(seed), np.int32(mutations))
    )
    rng = np.random.default_rng(seed)
    operation = rng.integers(0, operations, architecture.operation.shape, np.int32)
    return architecture.replace(operation=operation)


def lists_of(architecture, enabled=ALL, stems=True):
    return jax.tree.map(np.asarray, make(architecture, enabled, stems))


def edges_into(architecture, p, node):
    (into,) = np.nonzero(architecture.edge[p] & (architecture.target[p] == node))
    return into


def modules(architecture, enabled=ALL):
    """All nodes that apply an operation."""
    for p in np.flatnonzero(enabled):
        for n in range(OUTPUT + 1, NODES):
            if architecture.active[p, n]:
                yield int(p), n


def is_stem(architecture, p, n):
    sources = architecture.source[p, edges_into(architecture, p, n)]
    return architecture.resolution[p, n] == 0 and sources.tolist() == [INPUT]


class Machine:
    """Runs a schedule on names instead of tensors."""

    def __init__(self, architecture, lists):
        self.architecture, self.lists = architecture, lists
        self.memory = [{} for _ in CAPACITIES]
        self.read = [set() for _ in CAPACITIES]
        self.order = []
        self.outputs = {}

    def write(self, r, row, value):
        assert row not in self.memory[r], f"row {row} of {r} is written twice"
        assert 0 <= row < self.lists.rows[r]
        self.memory[r][int(row)] = value

    def load(self, r, row):
        assert int(row) in self.memory[r], f"row {row} of {r} was never written"
        self.read[r].add(int(row))
        return self.memory[r][int(row)]

    def sources(self, node, r):
        """What a node's edges read, as ``edge: name``."""
        begin, count = self.lists.edge_begin[node], self.lists.edges[node]
        positions = range(begin, begin + count)
        return {
            int(self.lists.edge_order[i]): self.load(r, self.lists.edge_row[i])
            for i in positions
        }

    def expected(self, node):
        a, (p, n) = self.architecture, divmod(int(node), NODES)
        edge_count = a.source.shape[1]

        def name(e):
            source = int(a.source[p, e])
            image = ("image", int(INPUTS[p]))
            return image if source == INPUT else ("node", p, source)

        return {p * edge_count + int(e): name(e) for e in edges_into(a, p, n)}

    def apply(self, node, r):
        assert self.sources(node, r) == self.expected(node)
        self.finish(node, r)

    def finish(self, node, r):
        p, n = divmod(int(node), NODES)
        assert self.lists.identity[node].tolist() == [p, n]
        self.order.append((p, n))
        self.write(r, self.lists.row[node], ("node", p, n))

    def run(self):
        lists = self.lists
        for r in range(len(CAPACITIES)):
            for i in range(lists.imports[r]):
                source = lists.import_source[r][i]
                value = self.load(r - 1, source) if r else ("image", int(source))
                self.write(r, i, value)
            if r == 0:
                for g in range(lists.stem_groups):
                    for j in range(lists.stem_begin[g], lists.stem_begin[g + 1]):
                        self.finish(lists.node[j], 0)
            for i in range(lists.nodes[r]):
                self.apply(lists.node[lists.begin[r] + i], r)
        for p in np.flatnonzero(lists.enabled):
            node = lists.output[p]
            assert self.sources(node, len(CAPACITIES) - 1) == self.expected(node)
        return self


CASES = [(0, 0), (1, 1), (4, 2), (12, 3), (12, 4)]


@pytest.mark.parametrize("stems", [True, False])
@pytest.mark.parametrize(("mutations", "seed"), CASES)
def test_every_row_read_holds_the_source_of_its_edge(mutations, seed, stems):
    architecture = grown(mutations, seed)
    lists = lists_of(architecture, stems=stems)
    machine = Machine(architecture, lists).run()
    assert sorted(machine.order) == sorted(modules(architecture))
    assert lists.applications == len(machine.order)
    for r, rows in enumerate(machine.memory):
        # rows are dense, and no import is in vain
        assert sorted(rows) == list(range(lists.rows[r]))
        assert machine.read[r] == set(rows)


@pytest.mark.parametrize(("mutations", "seed"), CASES)
def test_nodes_of_equal_input_and_weights_are_one_stem_group(mutations, seed):
    architecture = grown(mutations, seed)
    lists = lists_of(architecture)
    groups = {}
    for p, n in modules(architecture):
        if is_stem(architecture, p, n):
            kind = architecture.operation[p, n], architecture.slot[p, n]
            groups.setdefault((INPUTS[p], *kind), set()).add(p * NODES + n)
    begins = lists.stem_begin[: lists.stem_groups + 1]
    got = [set(lists.node[a:b].tolist()) for a, b in pairwise(begins)]
    assert sorted(map(sorted, got)) == sorted(map(sorted, groups.values()))
    unstemmed = lists_of(architecture, stems=False)
    assert unstemmed.stem_groups == 0


@pytest.mark.parametrize(("mutations", "seed"), CASES)
def test_no_network_needs_more_rows_than_its_bound(mutations, seed):
    architecture = grown(mutations, seed)
    bounds = sum(
        schedules.rows_bound(
            jax.tree.map(lambda x, p=p: x[p], architecture), len(CAPACITIES)
        )
        for p in range(NETWORKS)
    )
    for stems in (True, False):
        assert (lists_of(architecture, stems=stems).rows <= bounds).all()


def test_a_disabled_network_costs_nothing():
    architecture = grown(8, 5)
    enabled = np.array([False, True, True, False, False])
    machine = Machine(architecture, lists_of(architecture, enabled)).run()
    assert sorted(machine.order) == sorted(modules(architecture, enabled))
    values = {v for rows in machine.memory for v in rows.values()}
    assert not {v for v in values if v[0] == "node" and not enabled[v[1]]}
    assert ("image", 2) not in values
    nothing = lists_of(architecture, np.zeros(NETWORKS, bool))
    assert not nothing.rows.any()
    assert nothing.applications == 0


def test_depth_is_the_longest_path_from_the_input():
    architecture = grown(12, 6)
    depths = np.asarray(jax.jit(schedules.depths)(architecture))
    for p in range(NETWORKS):
        known = {INPUT: 0}

        def longest(n, p=p, known=known):
            if n not in known:
                into = architecture.source[p, edges_into(architecture, p, n)]
                known[n] = 1 + max(longest(int(u)) for u in into)
            return known[n]

        active = np.flatnonzero(architecture.active[p])
        assert [longest(int(n)) for n in active] == depths[p, active].tolist()


def test_nodes_of_one_stage_do_not_read_each_other():
    architecture = grown(12, 7)
    lists = lists_of(architecture)
    for p, n in modules(architecture):
        for e in edges_into(architecture, p, n):
            source = p * NODES + architecture.source[p, e]
            assert lists.stage[source] < lists.stage[p * NODES + n]


def test_nodes_run_by_stage_then_operation_within_a_resolution():
    architecture = grown(12, 8)
    lists = lists_of(architecture)
    for r in range(len(CAPACITIES)):
        begin = lists.begin[r]
        nodes = lists.node[begin : begin + lists.nodes[r]]
        turns = list(zip(lists.stage[nodes], lists.operation[nodes], strict=True))
        assert turns == sorted(turns)
        native = architecture.resolution.ravel()[nodes]
        assert (native == r).all()
