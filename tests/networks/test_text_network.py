"""The network for texts against one of Flax's plain layers."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import ACTIVATIONS
from evojax_mtl.networks.layer_weights import bucket_sizes
from evojax_mtl.networks.preprocessing import WORDS
from evojax_mtl.networks.text_network import TextNetwork, Traits
from tests.networks.reference import plain_words

TASKS, BATCH, STEPS, DIMENSIONS, CLASSES = 2, 1, 12, 5, 2
LENGTHS = np.array([[12], [8]])
MASK = jnp.asarray(np.arange(STEPS) < LENGTHS[..., None])
NETWORK = TextNetwork(DIMENSIONS, TASKS, CLASSES, 2, 3, "gru", (3, 6), tuple(WORDS))
ACTIVATE = {"relu": nn.relu, "linear": lambda z: z, "elu": nn.elu, "selu": nn.selu}


def traits(width, activation="elu", dropout=0.0, he=False, preprocessing="none"):
    return Traits(
        width=jnp.int32(width),
        activation=jnp.int32(ACTIVATIONS.index(activation)),
        dropout=jnp.float32(dropout),
        he=jnp.asarray(he),
        preprocessing=jnp.int32(NETWORK.preprocessing.index(preprocessing)),
    )


@jax.jit
def ours(params, traits, vectors, mask, rate):
    def of(units, params):
        def loss(params):
            out = NETWORK.apply(
                units, params, traits, vectors, mask, jax.random.key(1), rate
            )
            return jnp.sum(jnp.sin(out + jnp.arange(CLASSES))), out

        return jax.value_and_grad(loss, has_aux=True)(params)

    return NETWORK.in_bucket(traits, of, params)


def flat(params, width):
    """Weights of a network of this width, as Flax's layers have them."""
    units = NETWORK.units
    layers = {}
    for i, own in enumerate(params["convolutions"]):
        read = DIMENSIONS if i == 0 else width
        kernel = own["kernel"][:, :read, :width]
        layers[f"conv_{i}"] = {"kernel": kernel, "bias": own["bias"][:width]}
    layer = params["recurrent"]

    def gates(leaf, names):
        parts = leaf.reshape(*leaf.shape[:-1], -1, units)[..., :width]
        return {name: parts[..., k, :] for k, name in enumerate(names)}

    bias = gates(layer.bias, ("ir", "iz", "in", "hn"))
    cell = {
        name: {"kernel": kernel, "bias": bias[name]}
        for name, kernel in gates(layer.inputs[:width], ("ir", "iz", "in")).items()
    }
    for name, kernel in gates(layer.states[:width], ("hr", "hz", "hn")).items():
        cell[name] = {"kernel": kernel}
    cell["hn"]["bias"] = bias["hn"]
    heads = params["heads"]
    return layers | {"cell": cell, "kernel": heads["kernel"][:, :width]}, heads["bias"]


def plain(params, width, activation, vectors):
    """Each text alone, without padding."""
    own, bias = flat(params, width)
    out = jnp.zeros((TASKS, BATCH, CLASSES))
    for t, b in np.ndindex(TASKS, BATCH):
        x = vectors[t, b, : LENGTHS[t, b]][None]
        for i in range(NETWORK.layers):
            layer = nn.Conv(width, (NETWORK.taps,))
            x = ACTIVATE[activation](layer.apply({"params": own[f"conv_{i}"]}, x))
            x = nn.max_pool(x, (2,), strides=(2,))
        x = nn.RNN(nn.GRUCell(width)).apply({"params": {"cell": own["cell"]}}, x)
        out = out.at[t, b].set(x.mean(1)[0] @ own["kernel"][t] + bias[t])
    return out


@pytest.fixture(scope="module")
def vectors():
    return jax.random.normal(jax.random.key(2), (TASKS, BATCH, STEPS, DIMENSIONS))


def test_values_and_gradients_are_those_of_plain_layers(vectors):
    width, activation = 6, "selu"
    own = traits(width, activation, preprocessing="unit")
    params = NETWORK.init(jax.random.key(0), own)
    read = plain_words("unit", vectors, LENGTHS)
    (_, out), gradients = ours(params, own, vectors, MASK, 0.0)

    @jax.jit
    @partial(jax.grad, has_aux=True)
    def learn(params):
        out = plain(params, width, activation, jnp.asarray(read, jnp.float32))
        return jnp.sum(jnp.sin(out + jnp.arange(CLASSES))), out

    expected, wanted = learn(params)
    np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)
    for got, wanted in zip(*map(jax.tree.leaves, (gradients, expected)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)
    used = sum(int((leaf != 0).sum()) for leaf in jax.tree.leaves(expected))
    assert used == NETWORK.parameters(width)


def test_a_narrow_network_is_one_of_fewer_units(vectors):
    own = traits(2, "relu")
    params = NETWORK.init(jax.random.key(0), own)
    (_, out), _ = ours(params, own, vectors, MASK, 0.0)
    expected = jax.jit(partial(plain, width=2, activation="relu"))(
        params, vectors=vectors
    )
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_a_bucket_is_the_narrowest_that_holds_the_width():
    found = [int(NETWORK.bucket(traits(width))) for width in (1, 3, 4, 6)]
    assert found == [0, 0, 1, 1]
    assert bucket_sizes(192, 2) == (96, 192)
    assert bucket_sizes(5, 3) == (2, 3, 5)
    assert bucket_sizes(1, 3) == (1,)


def test_dropout_acts_in_training_alone(vectors):
    own = traits(6, dropout=0.5)
    params = NETWORK.init(jax.random.key(0), own)
    (_, calm), _ = ours(params, own, vectors, MASK, 0.0)
    (_, dropped), _ = ours(params, own, vectors, MASK, 1.0)
    (_, without), _ = ours(params, traits(6), vectors, MASK, 1.0)
    np.testing.assert_array_equal(calm, without)
    assert np.abs(dropped - calm).max() > 1e-3


def test_a_text_without_words_gets_what_the_bias_says(vectors):
    own = traits(6)
    params = NETWORK.init(jax.random.key(0), own)
    heads = params["heads"] | {"bias": jnp.arange(4.0).reshape(TASKS, CLASSES)}
    mask = MASK.at[1, 0].set(False)
    (_, out), gradients = ours(params | {"heads": heads}, own, vectors, mask, 0.0)
    np.testing.assert_array_equal(out[1, 0], [2, 3])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
