"""Batch norm against flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.networks.batch_norm import BatchNorm

SHAPE = (3, 5, 4, 6)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def problem():
    keys = jax.random.split(jax.random.key(0), 5)
    x, slope = (2 + jax.random.normal(key, SHAPE) for key in keys[:2])
    scale, bias, mean = (jax.random.normal(key, SHAPE[-1:]) for key in keys[2:])
    params = {"scale": scale, "bias": bias}
    return x, slope, params, {"mean": mean, "var": jnp.exp(mean)}


def loss(module, slope, params, x, statistics):
    variables = {"params": params, "batch_stats": statistics}
    y, changed = module.apply(variables, x, mutable=["batch_stats"])
    return jnp.sum(slope * y), (y, changed)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.usefixtures("platform")
def test_values_gradients_and_statistics_are_those_of_flax(running):
    x, slope, params, statistics = problem()
    ours = BatchNorm(running=running)
    theirs = nn.BatchNorm(use_running_average=running, momentum=0.9, epsilon=1e-5)
    found, expected = (
        jax.value_and_grad(loss, (2, 3), has_aux=True)(
            module, slope, params, x, statistics
        )
        for module in (ours, theirs)
    )
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), found, expected
    )


def test_the_first_statistics_are_flax_s():
    x, *_ = problem()
    key = jax.random.key(1)
    found = BatchNorm(running=False).init(key, x)
    expected = nn.BatchNorm(use_running_average=False).init(key, x)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_gradients_of_several_tasks_at_once():
    x, slope, params, statistics = problem()
    slopes = jnp.stack([slope, -slope, slope**2])
    gradient = jax.grad(loss, (2, 3), has_aux=True)
    module = BatchNorm(running=False)
    mapped, _ = jax.vmap(lambda s: gradient(module, s, params, x, statistics))(slopes)
    for i, one in enumerate(slopes):
        alone, _ = gradient(module, one, params, x, statistics)
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, **CLOSE),
            mapped,
            alone,
        )
