"""The time that a program takes, measured inside it."""

import jax
import jax.numpy as jnp

from evojax_mtl.evaluation.latency import latency


def test_more_work_takes_longer():
    def run(x, rounds):
        return jax.lax.fori_loop(0, rounds, lambda _, x: jnp.sin(x @ x), x)

    @jax.jit
    def both(x):
        few, many = (latency(lambda x, n=n: run(x, n), x) for n in (1, 300))
        return few, many

    few, many = both(jnp.ones((128, 128)))
    assert few >= 1
    assert 5 * few < many < 60e6


def test_it_maps_over_inputs():
    found = jax.jit(jax.vmap(lambda x: latency(jnp.sin, x)))(jnp.ones((2, 10)))
    assert found.shape == (2,)
    assert (found >= 1).all()
