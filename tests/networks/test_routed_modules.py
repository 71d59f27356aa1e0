"""Routings of evolved modules against a plain composition of Flax layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import ACTIVATIONS, KERNELS
from evojax_mtl.architectures.schedule import rows_bound
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.evolution import neat
from evojax_mtl.genomes import assembly, module_sets, routings
from evojax_mtl.genomes.graphs import FIXED, NEVER
from evojax_mtl.genomes.hyperparameters import Space
from evojax_mtl.networks.dropout import dropout, keep_threshold
from evojax_mtl.networks.image_layers import Channels
from evojax_mtl.networks.layer_weights import bucket_sizes
from evojax_mtl.networks.routed_modules import RoutedModules
from evojax_mtl.search.routing_evolution import mutated
from tests.networks.test_assembled import ACTIVATE

SIZE, TASKS, INDIVIDUALS, BATCH, FILTERS, CLASSES, LAYERS = (8, 10), 2, 2, 3, 6, 4, 3
NETWORKS, DEPTH, ADDITIONS = TASKS * INDIVIDUALS, 3, 3
ADDED = np.array([1, 2, 0, 1])
SIDES, BUCKETS = KERNELS[:3], bucket_sizes(FILTERS, 2)
MAPS = assembly.Maps(SIZE, 1, SIDES, BUCKETS, DEPTH)
SPACE = assembly.layer_space(SIDES, (1, FILTERS), 0.5, (1e-3, 1e-1))
FINAL = module_sets.final_space(SIDES, 0.5)
TABLE = Space(assembly.network_genes((3, FILTERS), 10.0))
NEAT = neat.NEAT(
    SPACE,
    FINAL,
    nodes=FIXED + LAYERS,
    edges=3 * LAYERS + 2,
    target=2,
    species=3,
    elites=1,
)
CHAIN = jax.tree.map(jnp.asarray, routings.chain(SIZE, DEPTH, DEPTH, ADDITIONS))
POOLED = routings.pooled_resolutions(SIZE, DEPTH)
LEVELS = MAPS.levels[-1] + 1
MODEL = RoutedModules(
    kinds=Channels(1, SIDES, BUCKETS, padded=True),
    rows=(60, 60, 120),
    weights=10_000,
    links=CHAIN.source.shape[0],
    tasks=TASKS,
    classes=CLASSES,
    size=SIZE,
    individuals=INDIVIDUALS,
)


@jax.jit
def members_of(key):
    """A set of three modules that have grown, from two of three species."""
    keys = jax.random.split(key, 3)
    rates = neat.Rates(add_connection=0.7)
    population = neat.init(keys[0], NEAT, rates, 6, rounds=jnp.arange(6) % 3)
    alive = jnp.array([True, False, True])
    chosen = jnp.array([2, 0, 5])
    table = TABLE.decode(TABLE.sample(keys[1]))
    return module_sets.assembled(
        MAPS, SPACE, FINAL, population.graphs, chosen, alive, table
    )


@jax.jit
def routings_of(key):
    """A routing for each network, which ``ADDED`` nodes were added to."""
    keys = jax.random.split(key, NETWORKS)
    scales = jnp.zeros(CHAIN.source.shape)

    def one(key, count):
        return mutated(key, CHAIN, scales, DEPTH, 0.3, count, POOLED)[0]

    return jax.vmap(one)(keys, jnp.asarray(ADDED))


@jax.jit
def laid_out(members, routing):
    def one(routing):
        spaces = MAPS, SPACE, FINAL
        return module_sets.unrolled(*spaces, members.modules, members.table, routing)

    return jax.vmap(one)(routing)


@jax.jit
def ours(params, network, images, key, rate):
    lists = MODEL.lists(network)

    def loss(params):
        logits = MODEL.apply(params, lists, images, key, rate)
        return jnp.sum(jnp.sin(logits + jnp.arange(CLASSES))), logits

    (_, logits), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    return logits, gradients, lists


@pytest.fixture(scope="module")
def problem():
    keys = jax.random.split(jax.random.key(3), 5)
    members, uses = members_of(keys[0])
    routing = routings_of(keys[1])
    network = laid_out(members, routing)
    params = jax.jit(MODEL.init)(keys[2], network)
    params["merge"] = jax.random.normal(keys[3], params["merge"].shape)
    images = jax.random.uniform(keys[4], (TASKS, BATCH, *SIZE, 1))
    return members, uses, routing, network, params, images


def module(params, lies, members, k, p, node, x, key, rate):
    """What module ``k`` makes of ``x``, as node ``node`` of routing ``p``."""
    graph = jax.tree.map(lambda leaf: leaf[k], members.modules)
    with jax.ensure_compile_time_eval():
        genes = SPACE.decode(jnp.asarray(graph.genes))
        final = FINAL.decode(jnp.asarray(graph.whole))
    genes, final = jax.tree.map(np.asarray, (genes, final))
    width = int(members.table["width"])
    slots = CHAIN.module.shape[0] - FIXED
    first = FIXED + slots + (node - FIXED) * (LAYERS + 1)
    owner = FIXED + slots + k * (LAYERS + 1)

    def layer(i, x, numbers, filters):
        side = SIDES[int(numbers["kernel"])]
        computed = min(b for b in BUCKETS if b >= filters)
        begin = int(lies.begin[0, owner + i])
        kernel = params["layers"]["kernels"][begin:][: side**2 * FILTERS * computed]
        kernel = kernel.reshape(side, side, FILTERS, computed)
        kernel = kernel[:, :, : x.shape[-1], :filters]
        bias = params["layers"]["biases"][owner + i, :filters]
        x = nn.Conv(filters, (side, side)).apply(
            {"params": {"kernel": kernel, "bias": bias}}, x
        )
        x = ACTIVATE[ACTIVATIONS[int(numbers["activation"])]](x)
        whole = jnp.ones((*x.shape[:3], FILTERS))
        threshold = keep_threshold(float(numbers["dropout"]) * rate)
        kept = dropout(key, jnp.array([p, first + i]), whole, threshold)
        return x * kept[..., :filters]

    at = {int(marking): i for i, marking in enumerate(graph.node) if marking < NEVER}
    value = {INPUT: x}

    def added(into):
        parts = [compute(at[int(graph.source[e])]) for e in into]
        widest = max(x.shape[-1] for x in parts)
        margins = [(0, 0)] * 3
        return sum(jnp.pad(x, [*margins, (0, widest - x.shape[-1])]) for x in parts)

    def compute(i):
        if i not in value:
            numbers = {name: values[i] for name, values in genes.items()}
            into = np.flatnonzero(graph.enabled & (graph.target == graph.node[i]))
            value[i] = layer(i - FIXED, added(into), numbers, int(numbers["filters"]))
        return value[i]

    into = np.flatnonzero(graph.enabled & (graph.target == OUTPUT))
    return layer(LAYERS, added(into), final, width)


def pool(x):
    return nn.max_pool(x, (2, 2), (2, 2))


def plain(params, lies, members, routing, images, key, rate):
    """Logits of all networks; the pooling is done where modules end."""

    def network(p):
        edges = int(routing.edges[p])
        source, target = routing.source[p, :edges], routing.target[p, :edges]
        value = {INPUT: images[p // INDIVIDUALS]}

        def fitted(x, resolution):
            while x.shape[1] > SIZE[0] >> int(resolution):
                x = pool(x)
            return x

        def read(node):
            into = np.flatnonzero(target == node)
            shares = nn.softmax(params["merge"][p, into])
            level = routing.resolution[p, node]
            parts = [fitted(compute(int(source[e])), level) for e in into]
            return sum(share * x for share, x in zip(shares, parts, strict=True))

        def compute(node):
            if node not in value:
                k = int(routing.module[p, node])
                made = module(params, lies, members, k, p, node, read(node), key, rate)
                value[node] = pool(made) if min(made.shape[1:3]) >= 4 else made
            return value[node]

        features = read(OUTPUT)
        missing = FILTERS - features.shape[-1]
        features = jnp.pad(features, [(0, 0)] * 3 + [(0, missing)]).reshape(BATCH, -1)
        return features @ params["heads"]["kernel"][p] + params["heads"]["bias"][p]

    return jnp.stack([network(p) for p in range(NETWORKS)])


def test_it_equals_a_plain_composition_of_its_modules(problem):
    members, _, routing, network, params, images = problem
    key, rate = jax.random.key(7), 1.0
    logits, gradients, lists = ours(params, network, images, key, rate)
    assert (np.asarray(lists.schedule.rows) <= MODEL.rows).all()
    assert (lists.lies.total == lists.lies.total[0]).all()
    assert lists.lies.total[0] <= MODEL.weights
    told = jax.tree.map(np.asarray, (lists.lies, members, routing))

    def loss(params):
        found = plain(params, *told, images, key, rate)
        return jnp.sum(jnp.sin(found + jnp.arange(CLASSES))), found

    (_, expected), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    paths = jax.tree_util.tree_leaves_with_path(gradients)
    for (path, a), b in zip(paths, jax.tree.leaves(slopes), strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, 1e-3, 1e-4, err_msg=jax.tree_util.keystr(path))


def test_what_is_compared_has_everything(problem):
    members, uses, routing, network, *_ = problem
    assert uses.tolist() == [True, False, True]
    # modules 0 and 2 are of one design, with weights of their own
    designs = members.modules.whole
    np.testing.assert_array_equal(designs[0], designs[2])
    assert (designs[0] != designs[1]).any()
    slot = np.asarray(network.architecture.slot)
    assert (slot[:, FIXED:] != np.arange(slot.shape[1])[FIXED:]).any(1).all()
    applied = [
        set(module[FIXED:nodes].tolist())
        for module, nodes in zip(routing.module, routing.nodes, strict=True)
    ]
    assert all(found == {0, 1, 2} for found in applied)
    assert (routing.nodes == FIXED + DEPTH + ADDED).all()
    into = np.stack([np.bincount(t, minlength=9) for t in routing.target])
    assert (into[:, FIXED:] > 1).any(), "nothing is merged but what decoders read"


def test_a_mutation_changes_its_own_networks_output_alone(problem):
    members, _, routing, network, params, images = problem
    key = jax.random.key(0)
    before = ours(params, network, images, key, 0.0)[0]
    chosen = 3
    one = jax.tree.map(lambda x: x[chosen], routing)
    grown, scales = mutated(
        jax.random.key(1), one, params["merge"][chosen], DEPTH, 0.5, 1, POOLED
    )
    changed = jax.tree.map(lambda x, new: x.at[chosen].set(new), routing, grown)
    merge = params["merge"].at[chosen].set(scales)
    after = ours(
        params | {"merge": merge}, laid_out(members, changed), images, key, 0.0
    )[0]
    others = np.arange(NETWORKS) != chosen
    np.testing.assert_array_equal(after[others], before[others])
    assert np.abs(after[chosen] - before[chosen]).max() > 1e-3


def test_rows_are_those_of_the_network(problem):
    members, _, routing, network, *_ = problem
    for p in range(NETWORKS):
        one, table = jax.tree.map(lambda x, p=p: x[p], (routing, network.architecture))
        found = module_sets.rows(members, one, LEVELS)
        np.testing.assert_array_equal(found, rows_bound(table, LEVELS))
    chain = rows_bound(members.chain.architecture, LEVELS)
    np.testing.assert_array_equal(module_sets.rows(members, CHAIN, LEVELS), chain)
