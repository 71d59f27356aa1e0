"""The executors against a plain network, value by value and gradient by gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.schedule import schedule
from evojax_mtl.genomes import routings
from evojax_mtl.networks import batched, executor, tape
from evojax_mtl.networks.operations import ConvolutionModule
from evojax_mtl.networks.soft_merge import merge_weights
from tests.networks.reference import run_networks

TASKS, MODULES, CHANNELS, SIZE, BATCH = 2, 3, 4, 9, 2
INPUTS = jnp.array([0, 0, 1, 1])


def grown(mutations, key=0):
    start = routings.chain((SIZE, SIZE), MODULES, MODULES, 6)

    def grow(key):
        def mutate(i, routing):
            return routings.add_node(jax.random.fold_in(key, i), routing, MODULES)[0]

        return jax.lax.fori_loop(0, mutations, mutate, start)

    keys = jax.random.split(jax.random.key(key), len(INPUTS))
    return routings.decode(jax.jit(jax.vmap(grow))(keys))


def case(mutations, channels_in=1, train=False, capacity=40, key=0):
    architecture = grown(mutations, key)
    keys = jax.random.split(jax.random.key(7), 3)
    operation = ConvolutionModule()
    params = operation.init(keys[0], MODULES, CHANNELS)
    params["bias"] = 0.1 * jax.random.normal(keys[1], params["bias"].shape)
    logits = jax.random.normal(keys[1], architecture.source.shape)
    images = jax.random.normal(keys[2], (TASKS, BATCH, SIZE, SIZE, channels_in))
    resolutions = int(architecture.resolution.max()) + 1
    plan = tape.Plan((operation,), (capacity,) * resolutions, CHANNELS, train)
    return plan, architecture, params, logits, images


def run(plan, params, logits, images, architecture, key, rate=0.0, enabled=None):
    lists = schedule(
        architecture,
        INPUTS,
        plan.capacities,
        input_count=TASKS,
        enabled=enabled,
        stems=not plan.input_gradient,
    )
    nodes = architecture.operation.shape[1]
    weights = jax.vmap(merge_weights, (0, 0, 0, None))(
        logits, architecture.target, architecture.edge, nodes
    )
    return executor.execute(plan, (params,), weights, images, lists, key, rate)


def both(plan, architecture, params, logits, images, rate):
    key = jax.random.key(11)

    def ours(params, logits):
        return run(plan, params, logits, images, architecture, key, rate)

    def plain(params, logits):
        dropout_key = key if plan.train else None
        return run_networks(
            params, logits, images, architecture, INPUTS, dropout_key, rate
        )

    def loss(function):
        def scalar(params, logits):
            out = function(params, logits)
            target = jnp.sin(jnp.arange(out.size)).reshape(out.shape)
            return jnp.sum((out - target) ** 2)

        return scalar

    got = jax.jit(jax.value_and_grad(loss(ours), (0, 1)))(params, logits)
    expected = jax.jit(jax.value_and_grad(loss(plain), (0, 1)))(params, logits)
    return got, expected


@pytest.mark.parametrize("mutations", [0, 1, 5])
@pytest.mark.parametrize("train", [False, True])
def test_tape_equals_plain_networks(mutations, train):
    got, expected = both(*case(mutations, train=train), rate=0.3)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def lists_of(plan, architecture, logits, enabled=None):
    lists = schedule(
        architecture,
        INPUTS,
        plan.capacities,
        input_count=TASKS,
        enabled=enabled,
        stems=not plan.input_gradient,
    )
    nodes = architecture.operation.shape[1]
    weights = jax.vmap(merge_weights, (0, 0, 0, None))(
        logits, architecture.target, architecture.edge, nodes
    )
    return lists, weights.ravel()[lists.edge_order]


def complete(module, plan, arguments, axis=None):
    """Outputs and gradients of one executor, the buffers left out."""
    params, weights, images, lists, key, rate = arguments
    out, buffers = module.forward(plan, *arguments, **axis or {})
    target = jnp.cos(jnp.arange(out.size)).reshape(out.shape)
    gradients = module.backward(
        plan, params, weights, images, lists, rate, buffers, out - target, **axis or {}
    )
    return out, gradients


@pytest.mark.parametrize("block", [3, 64])
@pytest.mark.parametrize("input_gradient", [False, True])
def test_batched_executor_equals_tape(block, input_gradient):
    plan, architecture, params, logits, images = case(
        5, channels_in=CHANNELS if input_gradient else 1, train=True
    )
    plan = dataclasses.replace(plan, block=block, input_gradient=input_gradient)
    enabled = jnp.array([True, False, True, True])
    lists, weights = lists_of(plan, architecture, logits, enabled)
    rate, key = jnp.float32(0.3), jax.random.key(1)
    arguments = ((params,), weights, images, lists, key, rate)
    expected = jax.jit(lambda *a: complete(tape, plan, a))(*arguments)
    got = jax.jit(lambda *a: complete(batched, plan, a))(*arguments)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_batched_executor_folds_members_of_different_sizes():
    cases = [case(mutations, train=True, key=mutations) for mutations in (1, 5)]
    plan = cases[0][0]
    arguments = []
    for _, architecture, params, logits, images in cases:
        lists, weights = lists_of(plan, architecture, logits)
        key, rate = jax.random.key(1), jnp.float32(0.3)
        arguments.append(((params,), weights, images, lists, key, rate))
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *arguments)
    axis = {"axis": "members"}
    fold = jax.vmap(lambda *a: complete(batched, plan, a, axis), axis_name="members")
    got = jax.jit(fold)(*stacked)
    for i, one in enumerate(arguments):
        expected = complete(tape, plan, one)
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], got)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_vmap_of_the_executor_equals_a_loop():
    cases = [case(mutations, train=True, key=mutations) for mutations in (1, 5)]
    plan = cases[0][0]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *[c[1:] for c in cases])

    def loss(architecture, params, logits, images):
        key = jax.random.key(1)
        out = run(plan, params, logits, images, architecture, key, 0.3)
        return jnp.sum(jnp.sin(out))

    gradient = jax.value_and_grad(loss, (1, 2))
    got = jax.jit(jax.vmap(gradient))(*stacked)
    for i, (_, architecture, params, logits, images) in enumerate(cases):
        expected = jax.jit(gradient)(architecture, params, logits, images)
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], got)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
