"""Schedules of the learning rate, against optax and against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from evojax_mtl.evaluation.rate_schedules import Plateau, stepwise


def test_the_rate_falls_to_a_tenth_after_so_many_epochs_and_again():
    share = jax.jit(lambda examples: stepwise(examples, 50.0, 10))
    found = [float(share(n)) for n in (0, 499, 500, 999, 1000, 100_000)]
    np.testing.assert_allclose(found, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def shares(plateau, fitnesses):
    measured = jax.jit(plateau.measured)
    state, found = plateau.init(), []
    for fitness in fitnesses:
        state = measured(state, jnp.float32(fitness))
        found.append(float(state.scale))
    return found


def test_until_it_is_reset_it_is_that_of_optax():
    rng = np.random.default_rng(0)
    fitnesses = np.clip(0.4 + np.cumsum(rng.normal(0, 0.03, 60)), 0, 1)
    peer = optax.contrib.reduce_on_plateau(0.1, patience=8)
    update = jax.jit(lambda state, value: peer.update((), state, value=value)[1])
    state, expected = peer.init(jnp.zeros(())), []
    for fitness in fitnesses:
        state = update(state, jnp.float32(1 - fitness))
        expected.append(float(state.scale))
    assert 1e-9 < expected[-1] < 1e-3
    found = shares(Plateau(patience=8, lowerings=30), fitnesses)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_plateau_lowers_it_and_one_too_many_resets_it():
    fitnesses = [0.5, 0.5, 0.4, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    # 2 without progress, the best again, then every second one
    expected = [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 1, 1, 0.1, 0.1]
    found = shares(Plateau(patience=2, lowerings=2), fitnesses)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
