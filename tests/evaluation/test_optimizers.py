"""Optimisers with a traced learning rate against optax with a fixed one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evojax_mtl.evaluation.optimizers import (
    TRANSFORMATIONS,
    apply_gradients,
    chosen_optimizer,
    optimizer,
)

FIXED = {
    "adam": lambda rate: optax.adam(rate),
    "adamw": lambda rate: optax.adamw(rate, weight_decay=1e-4),
    "sgd": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "rmsprop": lambda rate: optax.rmsprop(rate),
}
PARAMS = {"a": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array([[0.5]])}


def gradient(params):
    return jax.tree.map(lambda x: jnp.sin(3 * x) + x, params)


def test_every_optimiser_has_its_counterpart_here():
    assert set(FIXED) == set(TRANSFORMATIONS)


@pytest.mark.parametrize("name", FIXED)
def test_steps_equal_those_of_optax_at_any_rate_without_compiling_anew(name):
    transformation = optimizer(name)
    traces = 0

    @jax.jit
    def step(params, state, rate):
        nonlocal traces
        traces += 1
        return apply_gradients(transformation, gradient(params), state, params, rate)

    for rate in (0.1, 0.003):
        fixed = FIXED[name](rate)
        params, state = PARAMS, transformation.init(PARAMS)
        expected, fixed_state = PARAMS, fixed.init(PARAMS)
        for _ in range(5):
            params, state, taken = step(params, state, np.float32(rate))
            updates, fixed_state = fixed.update(
                gradient(expected), fixed_state, expected
            )
            expected = optax.apply_updates(expected, updates)
            assert taken
        for key in PARAMS:
            np.testing.assert_allclose(params[key], expected[key], rtol=2e-5)
            assert np.abs(params[key] - PARAMS[key]).max() > rate / 10
    assert traces == 1


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(name, value):
    transformation = optimizer(name)
    state = transformation.init(PARAMS)
    params, state, _ = apply_gradients(
        transformation, gradient(PARAMS), state, PARAMS, 0.1
    )
    broken = gradient(params) | {"b": jnp.array([[value]])}
    after, after_state, taken = apply_gradients(
        transformation, broken, state, params, 0.1
    )
    assert not taken
    for a, b in zip(
        jax.tree.leaves((after, after_state)),
        jax.tree.leaves((params, state)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_the_chosen_optimiser_steps_and_the_others_stay():
    names = ("adam", "rmsprop", "sgd")

    @jax.jit
    def step(choice, params, state):
        chosen = chosen_optimizer(names, choice)
        return apply_gradients(chosen, gradient(params), state, params, 0.1)[:2]

    for choice, name in enumerate(names):
        fixed = FIXED[name](0.1)
        params, state = PARAMS, chosen_optimizer(names, choice).init(PARAMS)
        begun, plain, plain_state = state, PARAMS, fixed.init(PARAMS)
        for _ in range(3):
            params, state = step(choice, params, state)
            updates, plain_state = fixed.update(gradient(plain), plain_state, plain)
            plain = optax.apply_updates(plain, updates)
        for a, b in zip(*map(jax.tree.leaves, (params, plain)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
        for other, (new, old) in enumerate(zip(state, begun, strict=True)):
            leaves = zip(*map(jax.tree.leaves, (new, old)), strict=True)
            assert all(np.array_equal(*pair) for pair in leaves) == (other != choice)
