"""Operations on sequences against Flax's plain layers, values and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.networks import sequences
from evojax_mtl.networks.sequence_operations import (
    Conv1D,
    Fans,
    RecurrentLayer,
    SequenceOperation,
    pool,
    run,
)

BATCH, STEPS, INPUTS, UNITS, WIDTH = 3, 5, 5, 6, 4
LENGTHS = np.array([5, 3, 0])
MASK = jnp.asarray(np.arange(STEPS) < LENGTHS[:, None])
LSTM, GRU = RecurrentLayer("lstm"), RecurrentLayer("gru")
WEIGHTED = [Conv1D(1), Conv1D(5), LSTM, GRU]


def case(operation, dtype=np.float32, seed=0):
    """Weights of one slot, an input, and what its output is compared with."""
    rng = np.random.default_rng(seed)
    drawn = operation.init(jax.random.key(0), 1, INPUTS, UNITS)
    params = jax.tree.map(
        lambda leaf: (rng.normal(size=leaf.shape[1:]) / 2).astype(dtype), drawn
    )
    x = rng.normal(size=(BATCH, STEPS, INPUTS)).astype(dtype)
    target = rng.normal(size=(BATCH, STEPS, UNITS)).astype(dtype)
    return jax.tree.map(jnp.asarray, (params, x, target))


def of_gates(array, names, width):
    """The part of each gate that belongs to the first units."""
    parts = np.split(array, len(names), axis=-1)
    return {name: part[..., :width] for name, part in zip(names, parts, strict=True)}


def flax_layer(operation, params, width):
    """The same layer of ``width`` units in Flax, and its weights."""
    if isinstance(operation, Conv1D):
        own = {"kernel": params["kernel"][..., :width], "bias": params["bias"][:width]}
        return nn.Conv(width, (operation.taps,)), own
    states = params.states[:width]
    if operation.kind == "lstm":
        names = [f"i{gate}" for gate in "ifgo"], [f"h{gate}" for gate in "ifgo"]
        biases = of_gates(params.bias, names[1], width)
        weights = {
            n: {"kernel": k}
            for n, k in of_gates(params.inputs, names[0], width).items()
        }
        for name, kernel in of_gates(states, names[1], width).items():
            weights[name] = {"kernel": kernel, "bias": biases[name]}
        return nn.RNN(nn.LSTMCell(width)), {"cell": weights}
    names = ["ir", "iz", "in"], ["hr", "hz", "hn"]
    biases = of_gates(params.bias, [*names[0], "hn"], width)
    weights = {
        name: {"kernel": kernel, "bias": biases[name]}
        for name, kernel in of_gates(params.inputs, names[0], width).items()
    }
    for name, kernel in of_gates(states, names[1], width).items():
        weights[name] = {"kernel": kernel}
    weights["hn"]["bias"] = biases["hn"]
    return nn.RNN(nn.GRUCell(width)), {"cell": weights}


def plain(operation, params, x, width):
    """What Flax makes of each sequence, one at a time and without padding."""
    layer, weights = flax_layer(operation, params, width)
    y = jnp.zeros((BATCH, STEPS, UNITS))
    for b, length in enumerate(LENGTHS):
        if length:
            out = layer.apply({"params": weights}, x[b : b + 1, :length])
            y = y.at[b, :length, :width].set(out[0])
    return y


def of_flax(operation, width):
    def loss(params, x, target):
        return jnp.sum((plain(operation, params, x, width) - target) ** 2)

    return jax.jit(jax.value_and_grad(loss, (0, 1)))


def of_ours(operation):
    def loss(params, x, target, width):
        y = run(operation, params, x, MASK, width)
        return jnp.sum((y - target) ** 2), y

    return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))


@pytest.fixture(scope="module", params=WEIGHTED, ids=str)
def operation(request):
    return request.param


@pytest.fixture(scope="module")
def ours(operation):
    return of_ours(operation)


def assert_close(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_values_and_gradients_are_flaxs(operation, ours):
    width = WIDTH
    params, x, target = case(operation)
    (value, y), gradients = ours(params, x, target, width)
    expected = of_flax(operation, width)(params, x, target)
    assert_close((value, gradients), expected)
    assert not y[..., width:].any()
    assert not y[~MASK].any()
    assert isinstance(operation, SequenceOperation)


def test_what_padded_steps_hold_does_not_matter(operation, ours):
    params, x, target = case(operation)
    filled = np.where(MASK[..., None], x, 1e3).astype(np.float32)
    pair = [ours(params, one, target, WIDTH) for one in (x, filled)]
    assert_close(*pair)
    assert not pair[1][1][1][~MASK].any()


def test_nodes_of_a_block_are_one_product(operation):
    """``jax.vmap`` over nodes of different slots and widths, as a block runs them."""
    made = operation.init(jax.random.key(1), 3, INPUTS, UNITS)
    slots, widths = np.array([2, 0, 2]), np.array([UNITS, WIDTH, 2])
    _, _, gradient = case(operation)
    x = np.random.default_rng(2).normal(size=(3, BATCH, STEPS, INPUTS))
    x = x.astype(np.float32)

    def node(slot, width, x):
        params = jax.tree.map(lambda leaf: leaf[slot], made)
        y = operation.forward(params, x, MASK, width)
        return y, operation.backward(params, x, MASK, width, gradient)

    together = jax.jit(jax.vmap(node))(slots, widths, x)
    one = jax.jit(node)
    for n in range(3):
        mine = jax.tree.map(lambda leaf, n=n: leaf[n], together)
        assert_close(mine, one(slots[n], widths[n], x[n]))


def test_random_weights_follow_their_fans():
    draws = {
        (he, inputs): Conv1D(3).init(
            jax.random.key(0), 2, 40, 60, Fans(inputs, 30, np.bool_(he))
        )["kernel"]
        for he in (False, True)
        for inputs in (10, 40)
    }
    for (he, inputs), kernel in draws.items():
        assert kernel.shape == (2, 3, 40, 60)
        limit = np.sqrt(6 / (3 * (inputs + (0 if he else 30))))
        assert 0.98 * limit < np.abs(kernel).max() <= limit
    assert not np.array_equal(*draws[False, 10])
    lstm = LSTM.init(jax.random.key(0), 2, INPUTS, UNITS)
    assert lstm.bias[:, UNITS : 2 * UNITS].min() == lstm.bias.sum() / (2 * UNITS) == 1


def test_pooling_is_flaxs_where_nothing_is_padded():
    x = jax.random.normal(jax.random.key(3), (2, STEPS, INPUTS))
    there = jnp.ones((2, STEPS), bool)

    def of(pooling):
        return jax.value_and_grad(lambda x: jnp.sum(jnp.sin(pooling(x))))(x)

    got = of(lambda x: pool(x, there))
    assert_close(got, of(lambda x: nn.max_pool(x, (2,), strides=(2,))))


def test_pooling_sees_no_padding():
    x = -1 - jnp.arange(BATCH * STEPS, dtype=jnp.float32).reshape(BATCH, STEPS, 1)
    mask = jnp.arange(STEPS) < jnp.array([5, 3, 0])[:, None]
    y = pool(x, mask)[..., 0]
    np.testing.assert_array_equal(y, [[-1, -3], [-6, -8], [0, 0]])
    after = sequences.pooled_mask(mask)
    np.testing.assert_array_equal(after, [[True] * 2, [True] * 2, [False] * 2])
    received = jax.grad(lambda x: pool(x, mask).sum())(x)[..., 0]
    expected = np.zeros((BATCH, STEPS))
    expected[0, [0, 2]] = expected[1, [0, 2]] = 1
    np.testing.assert_array_equal(received, expected)


def test_of_equal_values_the_first_receives_the_gradient():
    x, there = jnp.zeros((1, 4, 1)), jnp.ones((1, 4), bool)
    received = jax.grad(lambda x: pool(x, there).sum())(x)
    assert received.ravel().tolist() == [1, 0, 1, 0]


def test_the_mean_over_time():
    x = case(LSTM)[1]
    found = sequences.mean_over_time(x, MASK)
    np.testing.assert_allclose(found[0], x[0].mean(0), rtol=1e-5)
    np.testing.assert_allclose(found[1], x[1, :3].mean(0), rtol=1e-5)
    assert not found[2].any()
