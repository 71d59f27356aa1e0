"""Assembled tables against hand-worked networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import ACTIVATIONS, MERGE
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.genomes import assembly, graphs
from evojax_mtl.genomes.hyperparameters import Flag, Space

KERNELS, BUCKETS = (1, 3), (2, 4)
MAPS = assembly.Maps((8, 8), 1, KERNELS, BUCKETS, depth=3)
SPACE = assembly.layer_space(KERNELS, (1, 4), 0.5, (1e-9, 1e-3))
LAYERS = 2
"""Layers that a module has room for; with its final one a slot has three nodes."""


def gene(kernel, filters, activation="relu"):
    values = {
        "kernel": kernel,
        "activation": activation,
        "filters": filters,
        "dropout": 0.25,
        "decay": 1e-6,
    }
    return jnp.asarray(SPACE.encode(values))


def module(*layers, shared=False):
    """A chain of layers."""
    whole = Space((Flag("shared"),))
    one = graphs.chain(len(layers), (graphs.FIXED + LAYERS, 8), SPACE, whole)
    genes = one.genes
    for i, layer in enumerate(layers):
        genes = genes.at[graphs.FIXED + i].set(layer)
    return one.replace(genes=genes, whole=jnp.asarray(whole.encode({"shared": shared})))


def population(*modules):
    return jax.tree.map(lambda *x: jnp.stack(x), *modules)


MODULES = population(
    module(gene(3, 3), shared=True),
    module(gene(1, 2, "elu"), gene(3, 4, "selu")),
)


def edges(network):
    table = network.architecture
    return {
        (int(s), int(t))
        for s, t, used in zip(table.source, table.target, table.edge, strict=True)
        if used
    }


def table(rows, depth, shared=(True, True, True)):
    flags = {f"shared_{d}": jnp.array(s) for d, s in enumerate(shared)}
    return flags | {
        "rows": jnp.int32(rows),
        "depth": jnp.int32(depth),
        "width": jnp.int32(3),
        "learning_rate": jnp.float32(0.5),
        "initializer": jnp.int32(1),
    }


@partial(jax.jit, static_argnums=0)
def _grid(rows, chosen, alive, decoded):
    flags = MODULES.whole[:, 0] > 0.5
    return assembly.grid(MAPS, SPACE, MODULES, chosen, alive, flags, decoded, rows)


def grid(decoded, chosen=(1, 0, 1), alive=(False, True, True)):
    return _grid(2, jnp.array(chosen), jnp.array(alive), decoded)


def first(d, k):
    """The first node of slot (d, k): after two ends and two merges."""
    return 4 + 3 * (2 * d + k)


def test_a_grid_repeats_modules_and_merges_each_depth():
    # the species alive are the last two, whose modules are 0 and 1
    network = grid(table(2, 2))
    a, b, c, d = first(0, 0), first(0, 1), first(1, 0), first(1, 1)
    assert edges(network) == {
        (INPUT, a), (a, a + 2),
        (INPUT, b), (b, b + 1), (b + 1, b + 2),
        (a + 2, 2), (b + 2, 2),
        (2, c), (c, c + 2),
        (2, d), (d, d + 1), (d + 1, d + 2),
        (c + 2, OUTPUT), (d + 2, OUTPUT),
    }  # fmt: skip
    active = set(np.flatnonzero(network.architecture.active))
    assert active == {0, 1, 2} | {n for edge in edges(network) for n in edge}
    level = network.architecture.resolution
    # 8 x 8 is pooled to 4 x 4 and to 2 x 2, which is smaller than 4 x 4
    assert level[jnp.array([a, b + 2, 2, c, d + 2, OUTPUT])].tolist() == [
        0,
        0,
        1,
        1,
        1,
        2,
    ]


def test_layers_have_the_genes_of_their_modules():
    network = grid(table(2, 2))
    a, b, c = first(0, 0), first(0, 1), first(1, 0)
    nodes = jnp.array([a, a + 2, b, b + 1, b + 2, c])
    layers = network.layers
    assert layers.kernel[nodes].tolist() == [1, 0, 0, 1, 0, 1]
    assert layers.filters[nodes].tolist() == [3, 3, 2, 4, 3, 3]
    assert layers.inputs[nodes].tolist()[1:5] == [3, 1, 2, 4]
    names = [ACTIVATIONS[i] for i in layers.activation[nodes]]
    assert names == ["relu", "linear", "elu", "selu", "linear", "relu"]
    np.testing.assert_allclose(layers.dropout[nodes], [0.25, 0, 0.25, 0.25, 0, 0.25])
    # after the merge come kernels 1 and 3 with 2 and 4 channels, then those of images
    assert network.architecture.operation[nodes].tolist() == [4, 2, 5, 4, 2, 4]
    assert network.architecture.operation[2] == MERGE
    assert (network.learning_rate, network.initializer) == (0.5, 1)


@pytest.mark.parametrize(
    ("shared", "expected"),
    [((True, True, True), 0), ((True, False, True), None), ((False,) * 3, None)],
)
def test_weights_are_shared_where_both_flags_are_on(shared, expected):
    network = grid(table(2, 2, shared))
    slot = network.architecture.slot
    own = np.arange(len(slot)) == slot
    a, c = first(0, 0), first(1, 0)
    if expected is None:
        assert own.all()
        # alone, a reads the image and c what was learned
        assert network.architecture.operation[jnp.array([a, c])].tolist() == [8, 4]
    else:
        # module 0 is in the first row of both depths, final layers too
        assert slot[jnp.array([c, c + 2])].tolist() == [a, a + 2]
        assert np.flatnonzero(~own).tolist() == [c, c + 1, c + 2]


def test_more_rows_than_modules_repeat_them():
    network = grid(table(2, 1), alive=(False, True, False))
    a, b = first(0, 0), first(0, 1)
    assert network.layers.kernel[jnp.array([a, b])].tolist() == [1, 1]
    assert network.architecture.slot[b] == a
    assert (a + 2, OUTPUT) in edges(network)
    assert (b + 2, OUTPUT) in edges(network)


NODES = assembly.node_space(3)


def diamond(pointers, shared):
    """in -> 2 -> 3 -> out, 3 -> 4 -> out, and in -> 4."""
    one = graphs.chain(2, (graphs.FIXED + 3, 6), NODES)
    genes = one.genes
    for i, (species, flag) in enumerate(zip(pointers, shared, strict=True)):
        values = {"species": species, "shared": flag}
        genes = genes.at[graphs.FIXED + i].set(jnp.asarray(NODES.encode(values)))
    return one.replace(
        node=one.node.at[4].set(4),
        genes=genes,
        edge=jnp.arange(6),
        source=one.source.at[3:].set(jnp.array([3, 4, INPUT])),
        target=one.target.at[3:].set(jnp.array([4, OUTPUT, 4])),
        enabled=jnp.ones(6, bool),
    )


@jax.jit
def routed(graph):
    return assembly.blueprint(
        MAPS, SPACE, MODULES, jnp.array([0, 1, 1]), graph, table(1, 1)
    )


def test_a_blueprint_routes_modules():
    network, uses = routed(diamond((0, 1, 0), (True, True, True)))
    # after the ends come three merges, then the slots
    a, b, c = 5, 8, 11
    assert edges(network) == {
        (INPUT, a), (a, a + 2),
        (a + 2, b), (b, b + 1), (b + 1, b + 2),
        (b + 2, 4), (INPUT, 4), (4, c), (c, c + 2),
        (b + 2, OUTPUT), (c + 2, OUTPUT),
    }  # fmt: skip
    assert uses.tolist() == [True, True, False]
    level = network.architecture.resolution
    assert level[jnp.array([a, b, 4, c, OUTPUT])].tolist() == [0, 1, 2, 2, 2]
    # nodes 0 and 2 are the same module, and share
    assert network.architecture.slot[jnp.array([c, c + 2])].tolist() == [a, a + 2]


def test_a_node_shares_only_where_its_own_flag_is_on():
    network, _ = routed(diamond((0, 1, 0), (True, True, False)))
    slot = network.architecture.slot
    assert (slot == np.arange(len(slot))).all()


def test_pointers_to_species_that_died_are_repaired_and_counted():
    blueprints = population(
        diamond((0, 1, 2), (True,) * 3), diamond((2, 2, 1), (True,) * 3)
    )
    # species 1 died, and what it was lives on as 2; place 0 is empty
    alive, moved = jnp.array([False, False, True]), jnp.array([0, 2, 2])
    found, count = jax.jit(assembly.repaired)(blueprints, alive, moved)
    pointers = NODES.decode(found.genes[:, graphs.FIXED :])["species"]
    assert pointers.tolist() == [[2, 2, 2], [2, 2, 2]]
    assert count == 3
    again, count = assembly.repaired(found, alive, jnp.arange(3))
    assert count == 0
    np.testing.assert_array_equal(again.genes, found.genes)
