"""Soft ordering against Eq. 2 of Meyerson 2018 written down directly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.schedule import depths
from evojax_mtl.configs import SoftOrderingConfig
from evojax_mtl.search.soft_ordering import SoftOrdering
from evojax_mtl.tasks.dataset import stack_tasks
from tests.search.cases import easy_task

LAYERS, DEPTH, SIDE, FILTERS = 3, 2, 9, 4
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


@pytest.fixture(scope="module")
def search():
    config = SoftOrderingConfig(
        modules=LAYERS, depth=DEPTH, filters=FILTERS, dropout=0.0
    )
    return SoftOrdering(config, stack_tasks([easy_task(t, SIDE) for t in (0, 1)]))


def layer(params, x):
    kernel, bias = params["kernel"], params["bias"]
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=DIMENSIONS
    )
    return jax.nn.relu(y + bias)


def pool(x):
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


def equation_2(params, images):
    """``y^d = softmerge(W_1(y^(d-1)), ...)``, then each task's linear decoder."""
    layers = params["supernet"]["operation_0"]
    outputs = []
    for t, image in enumerate(images):
        y = jnp.pad(image, ((0, 0), (0, 0), (0, 0), (0, FILTERS - image.shape[-1])))
        for d in range(DEPTH):
            shares = jax.nn.softmax(params["merge"][t, d])
            y = sum(
                shares[i] * pool(layer(jax.tree.map(lambda x, i=i: x[i], layers), y))
                for i in range(LAYERS)
            )
        decoder = jax.tree.map(lambda x, t=t: x[t], params["decoders"])
        flat = y.reshape(len(y), -1)
        outputs.append(flat @ decoder["kernel"] + decoder["bias"])
    return jnp.stack(outputs)


def test_outputs_and_all_gradients_are_those_of_equation_2(search):
    rng = np.random.default_rng(0)
    genome = search.initial_genome()
    architecture = search.architecture(genome)
    capacities = search.initial_capacities(genome)
    images = jnp.asarray(rng.normal(size=(2, 2, SIDE, SIDE, 1)), jnp.float32)
    target = jnp.asarray(rng.normal(size=(2, 2, 3)), jnp.float32)
    model = search.model(genome)

    def ours(params):
        lists = search.schedule(architecture, capacities, depth=depths(architecture))
        return model.apply(
            {"params": params},
            images,
            architecture,
            lists,
            train=True,
            key=jax.random.key(0),
            rate=0.0,
        )

    def outcome(function):
        def loss(params):
            out = function(params)
            return jnp.sum((out - target) ** 2), out

        return jax.jit(jax.value_and_grad(loss, has_aux=True))

    state = jax.eval_shape(
        search.init, jax.random.key(0), search.hyperparameters(), search_data(search)
    )
    params = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), dict(state.params)
    )
    assert params["merge"].shape == (2, DEPTH, LAYERS)
    (_, got), got_gradients = outcome(ours)(params)
    (_, expected), gradients = outcome(lambda p: equation_2(p, images))(params)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradient))
        assert scale > 0
        for a, b in zip(
            jax.tree.leaves(got_gradients[name]), jax.tree.leaves(gradient), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * scale)


def search_data(search):
    return stack_tasks([easy_task(t, search.size[0]) for t in range(search.tasks)])


def test_the_layers_start_with_equal_shares(search):
    state = jax.jit(search.init)(
        jax.random.key(0), search.hyperparameters(), search_data(search)
    )
    assert (np.asarray(state.params["merge"]) == 0).all()
