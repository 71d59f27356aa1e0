"""Networks laid out anew, against the same genomes assembled for the new sizes."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import IMAGE_TYPES, KERNELS, image_layers
from evojax_mtl.evolution import neat
from evojax_mtl.genomes import assembly
from evojax_mtl.genomes.graphs import FIXED
from evojax_mtl.genomes.hyperparameters import Integer, Space
from evojax_mtl.genomes.layer_genes import typed_space
from evojax_mtl.genomes.relayout import more, relaid
from evojax_mtl.networks.layer_weights import bucket_sizes
from tests.genomes import test_assembly

FILTERS, BUCKETS, SPECIES, DEPTH = (2, 8), 3, 3, 4
NAMES = image_layers((*KERNELS, 0))


def maps(side, channels, widest):
    buckets = bucket_sizes(widest, BUCKETS)
    return assembly.Maps((side, side), channels, NAMES, buckets, DEPTH)


def space(filters):
    return typed_space(IMAGE_TYPES, KERNELS, filters, 0.5, (1e-9, 1e-3))


SMALL, WIDEST = space(FILTERS), more(FILTERS[1], 1.6)
WIDE = space((FILTERS[0], WIDEST))
TABLE = Space(assembly.network_genes(FILTERS, 10.0))
BLUEPRINTS = neat.NEAT(
    assembly.node_space(SPECIES), TABLE, nodes=FIXED + 5, edges=17, target=1, species=1
)
MODULES = neat.NEAT(SMALL, nodes=FIXED + 4, edges=14, target=2, species=SPECIES)


@jax.jit
def genomes(key):
    """Modules, and blueprints that point to them, grown at random."""
    keys, rates = jax.random.split(key, 2), neat.Rates(add_connection=0.7)
    modules = neat.init(keys[0], MODULES, rates, 6, rounds=jnp.arange(6) % 4)
    blueprints = neat.init(keys[1], BLUEPRINTS, rates, 6, rounds=jnp.arange(6))
    return modules.graphs, blueprints.graphs


@partial(jax.jit, static_argnums=(0, 1))
def assembled(maps, space, modules, graph, table):
    chosen = jnp.arange(SPECIES) * 2
    return assembly.blueprint(maps, space, modules, chosen, graph, table)[0]


def widened(modules, table):
    """The genomes of 1.6 times as many filters."""
    column = [gene.name for gene in SMALL.genes].index("filters")
    unit = modules.genes[..., column]
    filters = np.asarray(Integer("", *FILTERS).decode(unit))
    wider = Integer("", FILTERS[0], WIDEST).encode(np.floor(1.6 * filters + 0.5))
    genes = modules.genes.at[..., column].set(wider)
    width = jnp.int32(np.floor(1.6 * int(table["width"]) + 0.5))
    return modules.replace(genes=genes), table | {"width": width}


def assert_same_network(found, expected):
    active = np.asarray(expected.architecture.active)
    for a, b in (
        (found.architecture, expected.architecture),
        (found.layers, expected.layers),
    ):
        for field in dataclasses.fields(a):
            one, other = (np.asarray(getattr(x, field.name)) for x in (a, b))
            if len(one) == len(active):
                one, other = one[active], other[active]
            np.testing.assert_array_equal(one, other, field.name)
            assert one.dtype == other.dtype


@pytest.mark.parametrize("channels", [1, None])
def test_it_equals_the_genome_assembled_for_the_new_sizes(channels):
    modules, blueprints = genomes(jax.random.key(0))
    first = maps(12, channels, FILTERS[1])
    merges = depths = 0
    for b in range(6):
        graph = jax.tree.map(lambda x, b=b: x[b], blueprints)
        table = TABLE.decode(graph.whole)
        made = assembled(first, SMALL, modules, graph, table)
        made = jax.tree.map(np.asarray, made)
        merges += (made.architecture.operation[2:7] == 0)[
            made.architecture.active[2:7]
        ].sum()
        depths = max(depths, made.architecture.resolution.max())
        assert_same_network(relaid(made, first), made)
        # other images: larger ones are pooled more often, smaller ones less
        for side, others in ((40, 3), (5, 1)) if channels else ():
            other = maps(side, others, FILTERS[1])
            expected = assembled(other, SMALL, modules, graph, table)
            assert_same_network(relaid(made, other), expected)
        wide = maps(12, channels, WIDEST)
        more_modules, more_table = widened(modules, table)
        expected = assembled(wide, WIDE, more_modules, graph, more_table)
        assert_same_network(relaid(made, wide, 1.6), expected)
    assert merges
    assert depths == 2


@pytest.mark.parametrize("shared", [(True, True, True), (False, False, False)])
def test_a_grid_stays_as_it_is(shared):
    made = jax.device_get(test_assembly.grid(test_assembly.table(2, 3, shared)))
    assert_same_network(relaid(made, test_assembly.MAPS), made)


def test_filters_are_rounded_to_whole_ones():
    assert [more(f, 1.5) for f in (1, 2, 3, 5)] == [2, 3, 5, 8]
    np.testing.assert_array_equal(more(np.array([1, 2, 3, 5]), 1.5), [2, 3, 5, 8])
    assert more(7, 1.0) == 7
