"""Assembled networks against plain Flax layers, node by node."""

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import (
    ACTIVATIONS,
    DROPOUT,
    IMAGE_TYPES,
    INITIALIZERS,
    KERNELS,
    MERGE,
    NO_KERNEL,
)
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.evaluation.complexity import multiply_adds
from evojax_mtl.evolution import neat
from evojax_mtl.genomes import assembly
from evojax_mtl.genomes.hyperparameters import Flag, Space
from evojax_mtl.genomes.layer_genes import typed_space
from evojax_mtl.networks import layer_weights
from evojax_mtl.networks.assembled import AssembledNetworks
from evojax_mtl.networks.dropout import dropout, keep_threshold
from evojax_mtl.networks.image_layers import Channels
from evojax_mtl.networks.layer_weights import bucket_sizes
from evojax_mtl.networks.preprocessing import IMAGES
from tests.networks.reference import (
    assert_same_gradients,
    loss_of,
    plain_images,
    run_by,
)

SIZE, TASKS, BATCH, FILTERS, CLASSES, ROWS = (8, 10), 2, 3, 6, 4, 2
BUCKETS = bucket_sizes(FILTERS, 2)
MAPS = assembly.Maps(SIZE, 1, KERNELS, BUCKETS, depth=3)
RANGES = (1, FILTERS), 0.5, (1e-3, 1e-1)
SPACE = assembly.layer_space(KERNELS, *RANGES)
TABLE = assembly.grid_space((1, FILTERS), 10.0, ROWS, MAPS.depth)
MODEL = AssembledNetworks(
    kinds=Channels(1, KERNELS, BUCKETS),
    rows=(24, 24, 16),
    weights=20_000,
    links=ROWS * MAPS.depth,
    tasks=TASKS,
    classes=CLASSES,
    size=SIZE,
)
# Dropout as layers of their own, and images preprocessed
TYPED = dataclasses.replace(
    MODEL,
    kinds=Channels(1, (*KERNELS, NO_KERNEL), BUCKETS),
    preprocessing=tuple(IMAGES),
)
SPACES = {MODEL: SPACE, TYPED: typed_space(IMAGE_TYPES, KERNELS, *RANGES)}
SEED = 11
ACTIVATE = {"linear": lambda z: z, "relu": nn.relu, "elu": nn.elu, "selu": nn.selu}


@partial(jax.jit, static_argnums=1)
def grown(key, model=MODEL):
    """A network of CM with two rows, three depths, and modules that have grown."""
    keys, space = jax.random.split(key, 3), SPACES[model]
    rates, flag = neat.Rates(add_connection=0.7), Space((Flag("shared"),))
    config = neat.NEAT(space, flag, nodes=6, edges=10, species=4)
    population = neat.init(keys[0], config, rates, 8, rounds=jnp.arange(8) % 4)
    decoded = TABLE.decode(TABLE.sample(keys[1]).at[3:5].set(1.0))
    flags = config.whole.decode(population.graphs.whole)["shared"]
    maps = dataclasses.replace(MAPS, kernels=model.kinds.names)
    chosen = jax.random.randint(keys[2], (4,), 0, 8)
    alive = jnp.arange(4) < 2
    return assembly.grid(
        maps, space, population.graphs, chosen, alive, flags, decoded, ROWS
    )


ours = {model: run_by(model) for model in SPACES}


def plain(model, params, network, lies, images, key, rate):
    """The network as Flax's layers; what is read is computed when it is asked for."""
    table, layers = network.architecture, network.layers
    value = {INPUT: images}

    def widened(x, channels):
        return jnp.pad(x, [(0, 0)] * 3 + [(0, channels - x.shape[-1])])

    def read(node):
        into = np.flatnonzero(table.edge & (table.target == node))
        parts = [compute(int(table.source[e])) for e in into]
        for i, e in enumerate(into):
            for _ in range(table.resolution[node] - table.resolution[table.source[e]]):
                parts[i] = nn.max_pool(parts[i], (2, 2), (2, 2))
        if into[0] < MODEL.links:
            shares = nn.softmax(params["merge"][:, into], axis=1)
            shares = jnp.repeat(shares, BATCH, axis=0)
            parts = [x * shares[:, i, None, None, None] for i, x in enumerate(parts)]
        widest = max(x.shape[-1] for x in parts)
        return sum(widened(x, widest) for x in parts)

    def compute(node):
        if node not in value:
            x = read(node)
            value[node] = x if table.operation[node] == MERGE else layer(node, x)
        return value[node]

    def layer(node, x):
        filters = int(layers.filters[node])
        if model.kinds.names[layers.kernel[node]] == DROPOUT:
            assert x.shape[-1] == filters, "it is as wide as what it reads"
        else:
            x = convolution(node, x)
        whole = jnp.ones((*x.shape[:3], FILTERS))
        threshold = keep_threshold(float(layers.dropout[node]) * rate)
        kept = dropout(key, jnp.array([0, node]), whole, threshold)
        return x * kept[..., :filters]

    def convolution(node, x):
        slot, side = table.slot[node], KERNELS[layers.kernel[node]]
        filters = int(layers.filters[node])
        size = lies.size[slot]
        computed = min(b for b in BUCKETS if b >= filters)
        kernel = params["layers"]["kernels"][lies.begin[node] :][:size]
        kernel = kernel.reshape(side, side, -1, computed)
        kernel = kernel[:, :, : x.shape[-1], :filters]
        bias = params["layers"]["biases"][slot, :filters]
        conv = nn.Conv(filters, (side, side))
        x = conv.apply({"params": {"kernel": kernel, "bias": bias}}, x)
        return ACTIVATE[ACTIVATIONS[layers.activation[node]]](x)

    out = widened(read(OUTPUT), FILTERS).reshape(TASKS, BATCH, -1)
    heads = params["heads"]
    return jnp.einsum("tbf,tfl->tbl", out, heads["kernel"]) + heads["bias"][:, None]


@pytest.mark.parametrize(
    ("model", "seed", "rate", "preprocessing"),
    [
        (MODEL, SEED, 1.0, None),
        (MODEL, SEED + 1, 0.0, None),
        (TYPED, SEED, 1.0, "imagenet"),
    ],
)
def test_it_equals_plain_layers(model, seed, rate, preprocessing):
    keys = jax.random.split(jax.random.key(seed), 4)
    network = grown(keys[0], model)
    if preprocessing is not None:
        chosen = jnp.int32(model.preprocessing.index(preprocessing))
        network = network.replace(preprocessing=chosen)
    params = jax.jit(model.init)(keys[1], network)
    params["merge"] = jax.random.normal(keys[2], params["merge"].shape)
    images = jax.random.uniform(keys[3], (TASKS, BATCH, *SIZE, 1))
    logits, gradients, lists = ours[model](params, network, images, keys[3], rate)
    assert (np.asarray(lists.schedule.rows) <= MODEL.rows).all()
    assert lists.lies.total <= MODEL.weights
    table, lies = jax.tree.map(np.asarray, (network, lists.lies))

    def loss(params):
        flat = plain_images(preprocessing, images).reshape(-1, *SIZE, 1)
        found = plain(model, params, table, lies, flat, keys[3], rate)
        return loss_of(found), found

    found = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    (_, expected), slopes = found
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert_same_gradients(gradients, slopes)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_kernels_are_those_of_flax(name):
    network = grown(jax.random.key(1))
    network = network.replace(initializer=jnp.int32(INITIALIZERS.index(name)))
    uniform = {
        "glorot": nn.initializers.glorot_uniform,
        "he": nn.initializers.he_uniform,
    }
    lies = layer_weights.layout(network, MODEL.kinds)
    params = jax.jit(MODEL.init)(jax.random.key(2), network)["layers"]
    layers = network.layers
    for node in np.argsort(-lies.size)[:3]:
        side = KERNELS[int(layers.kernel[node])]
        shape = (side, side, int(layers.inputs[node]), int(layers.filters[node]))
        keys = jax.random.split(jax.random.key(0), 50)
        draws = jax.vmap(lambda key, shape=shape: uniform[name]()(key, shape))(keys)
        begin, size = int(lies.begin[node]), int(lies.size[node])
        largest = np.abs(params["kernels"][begin : begin + size]).max()
        np.testing.assert_allclose(largest, np.abs(draws).max(), rtol=0.02)
    assert not params["biases"].any()


def test_what_is_compared_has_everything():
    networks = [grown(jax.random.split(jax.random.key(SEED + i), 4)[0]) for i in (0, 1)]
    table, layers = networks[0].architecture, networks[0].layers
    convolves = np.asarray(table.active & (table.operation > MERGE))
    own = np.arange(len(table.slot)) == table.slot
    assert (~own & convolves).any(), "no weights are shared"
    # the activations of both together
    kinds = [
        set(np.asarray(n.layers.activation)[np.asarray(n.architecture.active)])
        for n in networks
    ]
    assert set.union(*kinds) == set(range(len(ACTIVATIONS)))
    assert set(np.asarray(layers.kernel)[convolves]) == set(range(len(KERNELS)))
    into = np.bincount(table.target[table.edge])
    assert (into[4:] > 1).any(), "no layer adds up what it reads"


def test_dropout_layers_are_compared_and_cost_nothing():
    network = grown(jax.random.split(jax.random.key(SEED), 4)[0], TYPED)
    host = jax.tree.map(np.asarray, network)
    table, layers = host.architecture, host.layers
    runs = table.active & (table.operation > MERGE)
    names = np.array(TYPED.kinds.names)[layers.kernel]
    assert DROPOUT in names[runs]
    assert len(set(names[runs])) > 2
    lies = jax.tree.map(np.asarray, layer_weights.layout(network, TYPED.kinds))
    params = jax.jit(TYPED.init)(jax.random.key(0), network)
    images = jnp.zeros((TASKS * BATCH, *SIZE, 1))
    # weights: of each slot's convolution, of the merges, of the decoders
    expected = sum(leaf.size for leaf in params["heads"].values())
    for node in np.flatnonzero(runs & (table.slot == np.arange(len(runs)))):
        if names[node] != DROPOUT:
            side = KERNELS[layers.kernel[node]]
            expected += layers.filters[node] * (side**2 * layers.inputs[node] + 1)
    into = np.bincount(table.target[: TYPED.links][table.edge[: TYPED.links]])
    expected += TASKS * into[into > 1].sum()
    outputs = TASKS * CLASSES
    assert TYPED.parameters(host, outputs) == expected
    assert jax.jit(TYPED.parameters, static_argnums=1)(network, outputs) == expected

    def every(params):
        return plain(TYPED, params, host, lies, images, jax.random.key(0), 0.0)

    whole = multiply_adds(jax.make_jaxpr(every)(params).jaxpr)
    for one in (host, network):
        assert TYPED.multiply_adds(one, outputs) == whole / (TASKS * BATCH)


def test_l2_weighs_each_kernel_by_its_own_strength():
    network = grown(jax.random.split(jax.random.key(SEED), 4)[0])
    lies = layer_weights.layout(network, MODEL.kinds)
    found = np.asarray(layer_weights.decay_of(network, lies, MODEL.capacity))
    expected = np.zeros_like(found)
    for node in np.flatnonzero(lies.size):
        begin, size = int(lies.begin[node]), int(lies.size[node])
        expected[begin : begin + size] = network.layers.decay[node]
    assert len(set(expected)) > 3
    np.testing.assert_array_equal(found, expected)
