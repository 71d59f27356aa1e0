"""Assembled networks for texts against plain Flax layers, text by text."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import (
    ACTIVATIONS,
    MERGE,
    SEQUENCE_TYPES,
    sequence_layers,
)
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.evaluation.complexity import multiply_adds
from evojax_mtl.evolution import neat
from evojax_mtl.genomes import assembly
from evojax_mtl.genomes.hyperparameters import Choice, Space
from evojax_mtl.genomes.layer_genes import typed_space
from evojax_mtl.networks import layer_weights
from evojax_mtl.networks.assembled_texts import AssembledTexts, Words
from evojax_mtl.networks.dropout import dropout, keep_threshold
from evojax_mtl.networks.layer_weights import bucket_sizes
from evojax_mtl.networks.preprocessing import WORDS
from evojax_mtl.networks.sequence_layers import SequenceLayers
from tests.networks.reference import (
    assert_same_gradients,
    loss_of,
    plain_words,
    run_by,
)

STEPS, DIMENSIONS, TASKS, BATCH, UNITS, CLASSES = 10, 5, 2, 2, 6, 2
LENGTHS = np.array([[10, 0], [0, 7]])
MASK = np.arange(STEPS) < LENGTHS[..., None]
TAPS, SPECIES, NODES = (1, 3), 4, 4
BUCKETS = bucket_sizes(UNITS, 2)
NAMES = sequence_layers(TAPS)
MAPS = assembly.Maps((STEPS,), None, NAMES, BUCKETS, depth=1)
SPACE = typed_space(SEQUENCE_TYPES, TAPS, (1, UNITS), 0.5, (1e-3, 1e-1))
NEAT = neat.NEAT(SPACE, nodes=6, edges=10, species=4)
GENES = Choice("optimizer", (0, 1)), Choice("preprocessing", tuple(WORDS))
TABLE = Space((*assembly.network_genes((2, UNITS), 2.0), *GENES))
BLUEPRINTS = neat.NEAT(
    assembly.node_space(SPECIES), TABLE, nodes=2 + NODES, edges=14, target=1, species=1
)
MODEL = AssembledTexts(
    kinds=SequenceLayers(TAPS, BUCKETS),
    rows=(24, 24),
    weights=8_000,
    links=BLUEPRINTS.edges,
    tasks=TASKS,
    classes=CLASSES,
    size=(STEPS,),
    dimensions=DIMENSIONS,
    preprocessing=tuple(WORDS),
)
ACTIVATE = {"linear": lambda z: z, "relu": nn.relu, "elu": nn.elu, "selu": nn.selu}


@jax.jit
def grown(key):
    """A network of four modules, all types of layers among their layers."""
    keys = jax.random.split(key, 4)
    rates = neat.Rates(add_connection=0.7)
    modules = neat.init(keys[0], NEAT, rates, 8, rounds=1 + jnp.arange(8) % 3)
    graphs = modules.graphs
    # the first layers are of one type after the other
    kind = (jnp.arange(8) % 4 + 0.5) / 4
    graphs = graphs.replace(genes=graphs.genes.at[:, 2, 0].set(kind))
    blueprints = neat.init(keys[1], BLUEPRINTS, rates, 4, rounds=NODES - 1)
    graph = jax.tree.map(lambda x: x[0], blueprints.graphs)
    points = (jnp.arange(graph.node.shape[0]) % SPECIES + 0.5) / SPECIES
    graph = graph.replace(genes=graph.genes.at[:, 0].set(points).at[:, 1].set(0.25))
    table = TABLE.decode(graph.whole)
    chosen = jnp.arange(SPECIES) + 4
    return assembly.blueprint(MAPS, SPACE, graphs, chosen, graph, table)[0]


ours = run_by(MODEL)


def gates(array, names, units, width):
    """The part of each gate that belongs to the first units, as Flax has them."""
    parts = array.reshape(*array.shape[:-1], -1, units)[..., :width]
    return {name: parts[..., k, :] for k, name in enumerate(names)}


def recurrent(name, flat, bias, units, read, width):
    """Flax's layer and its weights from those of the tape."""
    letters = {"lstm": "ifgo", "gru": "rzn"}[name]
    columns = len(letters) * units
    inputs, states = jnp.split(flat, [UNITS * columns])
    inputs = inputs.reshape(UNITS, columns)[:read]
    states = states.reshape(units, columns)[:width]
    bias = bias.reshape(4, UNITS)[:, :width]
    own = {
        f"i{g}": {"kernel": k} for g, k in gates(inputs, letters, units, width).items()
    }
    own |= {
        f"h{g}": {"kernel": k} for g, k in gates(states, letters, units, width).items()
    }
    biased = [f"h{g}" for g in "ifgo"] if name == "lstm" else ["ir", "iz", "in", "hn"]
    for k, gate in enumerate(biased):
        own[gate]["bias"] = bias[k]
    cell = nn.LSTMCell if name == "lstm" else nn.GRUCell
    return nn.RNN(cell(width)), {"cell": own}


def pooled(x, most):
    """The larger of every two words; an odd one is pooled alone, if there is room."""
    margin = ((0, 0), (0, x.shape[1] % 2), (0, 0))
    x = jnp.pad(x, margin, constant_values=-jnp.inf)
    return nn.max_pool(x, (2,), (2,))[:, :most]


def plain(params, network, lies, words, key, rate, task, text):
    """One text of one task without padding, layer by layer."""
    table, layers = network.architecture, network.layers
    length, width = LENGTHS[task, text], int(layers.filters[INPUT])
    encoder = params["encoder"]
    x = words.vectors[task, text, :length] @ encoder["kernel"][:, :width]
    value = {INPUT: (x + encoder["bias"][:width])[None]}

    def read(node):
        into = np.flatnonzero(table.edge & (table.target == node))
        parts = [compute(int(table.source[e])) for e in into]
        for i, e in enumerate(into):
            levels = table.resolution[[table.source[e], node]]
            for level in range(*levels):
                parts[i] = pooled(parts[i], STEPS >> (level + 1))
        if into[0] < MODEL.links:
            shares = nn.softmax(params["merge"][task][into])
            parts = [x * shares[i] for i, x in enumerate(parts)]
        widest = max(x.shape[-1] for x in parts)
        return sum(
            jnp.pad(x, [(0, 0), (0, 0), (0, widest - x.shape[-1])]) for x in parts
        )

    def compute(node):
        if node not in value:
            x = read(node)
            value[node] = x if table.operation[node] == MERGE else layer(node, x)
        return value[node]

    def layer(node, x):
        slot, name = table.slot[node], NAMES[layers.kernel[node]]
        filters = int(layers.filters[node])
        units = min(b for b in BUCKETS if b >= filters)
        flat = params["layers"]["kernels"][lies.begin[node] :][: lies.size[slot]]
        bias = params["layers"]["biases"][slot]
        if name.startswith("conv1d"):
            kernel = flat.reshape(-1, UNITS, units)[:, : x.shape[-1], :filters]
            own = {"kernel": kernel, "bias": bias[:filters]}
            x = nn.Conv(filters, kernel.shape[:1]).apply({"params": own}, x)
            return ACTIVATE[ACTIVATIONS[layers.activation[node]]](x)
        if name in ("lstm", "gru"):
            module, own = recurrent(name, flat, bias, units, x.shape[-1], filters)
            return module.apply({"params": own}, x)
        assert x.shape[-1] == filters, "a Dropout layer is as wide as what it reads"
        steps = STEPS >> table.resolution[node]
        whole = jnp.ones((TASKS * BATCH, steps, UNITS))
        threshold = keep_threshold(float(layers.dropout[node]) * rate)
        kept = dropout(key, jnp.array([0, node]), whole, threshold)
        return x * kept[task * BATCH + text, : x.shape[1], :filters]

    heads = params["heads"]
    out = read(OUTPUT).mean(1)[0]
    return out @ heads["kernel"][task][: out.shape[0]] + heads["bias"][task]


@pytest.fixture(scope="module")
def case():
    keys = jax.random.split(jax.random.key(5), 4)
    network = grown(keys[0])
    assert network.preprocessing in range(len(WORDS))
    chosen = jnp.int32(MODEL.preprocessing.index("standardized"))
    network = network.replace(preprocessing=chosen)
    params = jax.jit(MODEL.init)(keys[1], network)
    params["merge"] = jax.random.normal(keys[2], params["merge"].shape)
    biases = jax.random.normal(keys[2], params["layers"]["biases"].shape) / 2
    params["layers"]["biases"] = biases
    shape = (TASKS, BATCH, STEPS, DIMENSIONS)
    vectors = jax.random.normal(keys[3], shape)
    # what padding holds must not matter
    words = Words(jnp.where(MASK[..., None], vectors, 50.0), jnp.asarray(MASK))
    return network, params, words, keys[3]


def test_it_equals_plain_layers(case):
    network, params, words, key = case
    logits, gradients, lists = ours(params, network, words, key, 1.0)
    assert (np.asarray(lists.schedule.rows) <= MODEL.rows).all()
    assert lists.lies.total <= MODEL.weights
    table, lies = jax.tree.map(np.asarray, (network, lists.lies))
    vectors = plain_words("standardized", words.vectors, LENGTHS)
    words = words._replace(vectors=vectors.astype(np.float32))

    @jax.jit
    def expected(params):
        def loss(params):
            found = jnp.broadcast_to(params["heads"]["bias"][:, None], logits.shape)
            for task, text in zip(*np.nonzero(LENGTHS), strict=True):
                own = plain(params, table, lies, words, key, 1.0, task, text)
                found = found.at[task, text].set(own)
            return loss_of(found), found

        return jax.value_and_grad(loss, has_aux=True)(params)

    (_, wanted), slopes = expected(params)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)
    assert_same_gradients(gradients, slopes)


def test_what_is_compared_has_everything(case):
    network, _, _, _ = case
    table = network.architecture
    runs = np.asarray(table.active & (table.operation > MERGE))
    found = {NAMES[k] for k in np.asarray(network.layers.kernel)[runs]}
    assert found == set(NAMES)
    into = np.bincount(table.target[table.edge], minlength=len(runs))
    assert (into[runs] > 1).any(), "no layer adds up what it reads"
    assert (into[2:][~runs[2:]] > 1).any(), "no module soft-merges"


def test_parameters_are_those_of_plain_layers(case):
    network, _, _, _ = case
    host = jax.tree.map(np.asarray, network)
    lies = layer_weights.layout(network, MODEL.kinds)
    width = int(network.layers.filters[INPUT])
    expected = (DIMENSIONS + 1) * width + TASKS * CLASSES * (width + 1)
    for node in np.flatnonzero(np.asarray(lies.size)):
        name, filters = NAMES[host.layers.kernel[node]], int(host.layers.filters[node])
        x = jnp.zeros((1, 4, int(host.layers.inputs[node])))
        module = {
            "lstm": lambda f: nn.RNN(nn.LSTMCell(f)),
            "gru": lambda f: nn.RNN(nn.GRUCell(f)),
        }.get(name, lambda f, name=name: nn.Conv(f, (int(name[-1]),)))(filters)
        shapes = jax.eval_shape(module.init, jax.random.key(0), x)
        expected += sum(leaf.size for leaf in jax.tree.leaves(shapes))
    into = np.bincount(
        host.architecture.target[: MODEL.links][host.architecture.edge[: MODEL.links]]
    )
    expected += TASKS * into[into > 1].sum()
    found = MODEL.parameters(host, TASKS * CLASSES)
    assert found == expected
    assert jax.jit(lambda n: MODEL.parameters(n, TASKS * CLASSES))(network) == expected


def test_multiply_adds_are_those_of_plain_layers(case):
    network, params, words, key = case
    host = jax.tree.map(np.asarray, network)
    lies = jax.tree.map(np.asarray, layer_weights.layout(network, MODEL.kinds))

    def whole_text(params):
        return plain(params, host, lies, words, key, 1.0, 0, 0)

    expected = multiply_adds(jax.make_jaxpr(whole_text)(params).jaxpr)
    for one in (host, network):
        assert MODEL.multiply_adds(one, TASKS * CLASSES) == expected


def test_forget_gates_begin_open(case):
    network, _, _, _ = case
    params = jax.jit(MODEL.init)(jax.random.key(0), network)["layers"]
    rows = np.asarray(params["biases"]).reshape(-1, 4, UNITS)
    lstm = np.asarray(network.layers.kernel) == NAMES.index("lstm")
    assert lstm.any()
    assert (rows[lstm][:, 1] == 1).all()
    assert np.abs(rows).sum() == rows[lstm][:, 1].size
