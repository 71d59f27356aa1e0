"""What a step on gradients takes in memory, as the compiler plans it.

Shape legend: ``T`` tasks.
"""

import jax
import jax.numpy as jnp
import pytest

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.gradients import Passes
from evojax_mtl.balancing.registry import find_balancing
from evojax_mtl.networks.convolution import convolution
from tests.balancing.toys import names

TASKS, DEPTH, CHANNELS = 3, 4, 16
IMAGES = (8, 24, 32, CHANNELS)
LIMIT = 1.5
"""Of the memory of ``T`` backward passes, one after the other."""


def encode(kernels, images):
    for kernel in kernels:
        images = jax.nn.relu(convolution(images, kernel, (1, 1), "SAME"))
    return images


def score(heads, views):
    """A linear prediction a task, at every pixel."""
    predicted = jnp.einsum("tbhwc,tc->tbhw", views, heads)
    targets = jnp.arange(1.0, TASKS + 1)[:, None, None, None]
    return jnp.mean((predicted - targets) ** 2, (1, 2, 3))


def views_of(z):
    return jnp.broadcast_to(z, (TASKS, *z.shape))


def problem():
    draw = jax.random.split(jax.random.key(0), DEPTH + 2)
    shape = (3, 3, CHANNELS, CHANNELS)
    kernels = [jax.random.normal(key, shape) / 12 for key in draw[:DEPTH]]
    heads = jax.random.normal(draw[-2], (TASKS, CHANNELS))
    return kernels, heads, jax.random.normal(draw[-1], IMAGES)


def planned(function, *arguments):
    """Bytes at the peak, without the arguments."""
    compiled = jax.jit(function).lower(*arguments).compile()
    found = compiled.memory_analysis()
    return found.temp_size_in_bytes + found.output_size_in_bytes


@pytest.fixture(scope="module")
def separately():
    """``T`` times forward and backward, the gradients added."""
    kernels, heads, images = problem()

    def passes(kernels, heads, images):
        total = None
        for task in range(TASKS):

            def loss(weights, task=task, images=images):
                kernels, heads = weights
                return score(heads, views_of(encode(kernels, images)))[task]

            found = jax.grad(loss)((kernels, heads))
            # the next pass begins when this one is done
            images, found = jax.lax.optimization_barrier((images, found))
            total = found if total is None else jax.tree.map(jnp.add, total, found)
        return total

    return planned(passes, kernels, heads, images)


@pytest.mark.parametrize("passes", ["vmap", "loop", "recomputed"])
def test_a_gramian_method_takes_little_more_than_separate_passes(separately, passes):
    kernels, heads, images = problem()
    chosen: Passes = passes
    balancer = Balancer(find_balancing("mgda").build(), names(TASKS), passes=chosen)

    def step(kernels, heads, images, state):
        balanced, _ = balancer.update_with_heads(
            lambda kernels: (encode(kernels, images), None),
            lambda heads, views: (score(heads, views), None),
            (kernels, heads),
            state,
            key=jax.random.key(0),
        )
        return balanced

    state = balancer.init(kernels)
    assert planned(step, kernels, heads, images, state) <= LIMIT * separately
    update = jax.jit(step)(kernels, heads, images, state).update
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(update))
