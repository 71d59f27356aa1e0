"""Assembled networks against plain Flax layers, node by node."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import ACTIVATIONS, KERNELS, MERGE
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.evolution import neat
from evojax_mtl.genomes import assembly
from evojax_mtl.genomes.hyperparameters import Flag, Space
from evojax_mtl.networks import layer_weights
from evojax_mtl.networks.assembled import AssembledNetworks
from evojax_mtl.networks.dropout import dropout
from evojax_mtl.networks.layer_weights import Channels

SIZE, TASKS, BATCH, FILTERS = (8, 10), 2, 3, 6
BUCKETS = layer_weights.bucket_sizes(FILTERS, 2)
MAPS = assembly.Maps(SIZE, 1, BUCKETS, depth=3)
SPACE = assembly.layer_space((1, FILTERS), 0.5, (1e-3, 1e-1))
NEAT = neat.NEAT(SPACE, Space((Flag("shared"),)), nodes=6, edges=10, species=4)
TABLE = assembly.grid_space((1, FILTERS), 10.0, 3, 3)
MODEL = AssembledNetworks(
    Channels(1, BUCKETS),
    (24, 24, 16),
    20000,
    links=9,
    tasks=TASKS,
    classes=4,
    size=SIZE,
)
ACTIVATE = {"linear": lambda z: z, "relu": nn.relu, "elu": nn.elu, "selu": nn.selu}


@jax.jit
def grown(key):
    """A network of CM, its modules grown for some rounds."""
    keys = jax.random.split(key, 3)
    rates = neat.Rates(add_connection=0.7)
    population = neat.init(keys[0], NEAT, rates, 8, rounds=jnp.arange(8) % 4)
    table = TABLE.sample(keys[1]).at[3:5].set(0.9)
    decoded = TABLE.decode(table)
    flags = NEAT.whole.decode(population.graphs.whole)["shared"]
    chosen = jax.random.randint(keys[2], (4,), 0, 8)
    alive = jnp.arange(4) < 2
    return assembly.grid(
        MAPS, SPACE, population.graphs, chosen, alive, flags, decoded, 3
    )


@jax.jit
def ours(params, network, images, key, rate):
    lists = MODEL.lists(network)

    def loss(params):
        logits = MODEL.apply(params, lists, images, key, rate)
        return jnp.sum(jnp.sin(logits + jnp.arange(4))), logits

    (_, logits), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    return logits, gradients, lists.schedule.rows, lists.lies


def plain(params, network, lies, images, key, rate):
    """The network with Flax's layers, nodes in any order that their edges allow."""
    table, layers = network.architecture, network.layers
    edges = [
        (int(s), int(t), e < MODEL.links)
        for e, (s, t) in enumerate(zip(table.source, table.target, strict=True))
        if table.edge[e]
    ]
    merge = {}
    for node in {t for _, t, link in edges if link}:
        into = [
            e
            for e, (_, t) in enumerate(zip(table.source, table.target, strict=True))
            if t == node and table.edge[e]
        ]
        shares = nn.softmax(params["merge"][:, jnp.array(into)], axis=1)
        merge |= {e: shares[:, i] for i, e in enumerate(into)}
    value = {INPUT: images}

    def pooled(x, levels):
        for _ in range(levels):
            x = nn.max_pool(x, (2, 2), (2, 2))
        return x

    def read(node):
        total = 0.0
        for e in np.flatnonzero(np.asarray(table.edge & (table.target == node))):
            source = int(table.source[e])
            x = pooled(
                compute(source), int(table.resolution[node] - table.resolution[source])
            )
            if e < MODEL.links:
                x = x * jnp.repeat(merge[int(e)], BATCH)[:, None, None, None]
            wide = max(total.shape[-1] if node_has(total) else 0, x.shape[-1])
            total = pad(total, wide) + pad(x, wide)
        return total

    def node_has(x):
        return hasattr(x, "shape") and x.ndim == 4

    def pad(x, channels):
        if not node_has(x):
            return x
        return jnp.pad(x, [(0, 0)] * 3 + [(0, channels - x.shape[-1])])

    def compute(node):
        if node in value:
            return value[node]
        x = read(node)
        if table.operation[node] != MERGE:
            slot = int(table.slot[node])
            side, filters = KERNELS[int(layers.kernel[node])], int(layers.filters[node])
            reads_image = int(lies.size[slot]) == side**2 * bucket(filters)
            inputs = 1 if reads_image else FILTERS
            begin = int(lies.begin[node])
            size = side**2 * inputs * bucket(filters)
            kernel = params["layers"]["kernels"][begin : begin + size]
            kernel = kernel.reshape(side, side, inputs, -1)[
                :, :, : x.shape[-1], :filters
            ]
            bias = params["layers"]["biases"][slot, :filters]
            conv = nn.Conv(filters, (side, side))
            x = conv.apply({"params": {"kernel": kernel, "bias": bias}}, x)
            x = ACTIVATE[ACTIVATIONS[int(layers.activation[node])]](x)
            x = masked(x, node)
        value[node] = x
        return x

    def masked(x, node):
        share = float(layers.dropout[node]) * rate
        threshold = jnp.round((1 - share) * 256).astype(int)
        whole = jnp.ones((*x.shape[:3], FILTERS))
        kept = dropout(key, jnp.array([0, node]), whole, threshold)
        return x * kept[..., : x.shape[-1]]

    out = pad(read(OUTPUT), FILTERS).reshape(TASKS, BATCH, -1)
    heads = params["heads"]
    return jnp.einsum("tbf,tfl->tbl", out, heads["kernel"]) + heads["bias"][:, None]


def bucket(filters):
    return next(b for b in BUCKETS if b >= filters)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_it_equals_plain_layers(seed, rate):
    keys = jax.random.split(jax.random.key(seed), 4)
    network = grown(keys[0])
    params = jax.jit(MODEL.init)(keys[1], network)
    params["merge"] = jax.random.normal(keys[2], params["merge"].shape)
    images = jax.random.uniform(keys[3], (TASKS, BATCH, *SIZE, 1))
    logits, gradients, rows, lies = ours(params, network, images, keys[3], rate)
    assert (np.asarray(rows) <= MODEL.rows).all()
    assert lies.total <= MODEL.weights
    flat = images.reshape(-1, *SIZE, 1)

    def loss(params):
        found = plain(params, network, lies, flat, keys[3], rate)
        return jnp.sum(jnp.sin(found + jnp.arange(4))), found

    (_, expected), slopes = jax.value_and_grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(gradients),
        jax.tree.leaves(slopes),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, 1e-3, 1e-4, err_msg=jax.tree_util.keystr(path))
