"""The executors against a plain network, value by value and gradient by gradient."""

import dataclasses
from functools import lru_cache, partial

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

TASKS, MODULES, CHANNELS, SIZE, BATCH, ROOM = 2, 3, 4, 9, 2, 6
INPUTS = np.array([0, 0, 1, 1], np.int32)
START = routings.chain((SIZE, SIZE), MODULES, MODULES, ROOM)
RESOLUTIONS = int(START.resolution.max()) + 1
RATE, ZERO = np.float32(0.3), np.float32(0)
CAPACITY = 26


def plan_of(capacity=CAPACITY, **changes):
    return tape.Plan(
        (ConvolutionModule(),), (capacity,) * RESOLUTIONS, CHANNELS, True, **changes
    )


@jax.jit
def grow(key, mutations):
    def one(key):
        def mutate(i, routing):
            return routings.add_node(jax.random.fold_in(key, i), routing, MODULES)[0]

        return jax.lax.fori_loop(0, mutations, mutate, START)

    return routings.decode(jax.vmap(one)(jax.random.split(key, len(INPUTS))))


def case(mutations, channels_in=1, seed=0, dtype=np.float32):
    """Architecture, module weights, merge logits, images."""
    rng = np.random.default_rng(seed)
    architecture = grow(jax.random.key(seed), np.int32(mutations))
    params = {
        "kernel": rng.normal(size=(MODULES, 3, 3, CHANNELS, CHANNELS)) / 5,
        "bias": rng.normal(size=(MODULES, CHANNELS)) / 10,
    }
    logits = rng.normal(size=architecture.source.shape)
    images = rng.normal(size=(TASKS, BATCH, SIZE, SIZE, channels_in))
    floats = jax.tree.map(lambda x: x.astype(dtype), (params, logits, images))
    return jax.tree.map(np.asarray, (architecture, *floats))


def lists_of(plan, architecture, logits, enabled=None):
    """The schedule, and the merge weight of every edge."""
    lists = schedule(
        architecture,
        jnp.asarray(INPUTS),
        plan.capacities,
        input_count=TASKS,
        enabled=enabled,
        stems=not plan.input_gradient,
    )
    weights = jax.vmap(partial(merge_weights, nodes=architecture.operation.shape[1]))(
        logits, architecture.target, architecture.edge
    )
    return lists, weights


def distance(out):
    """A loss whose gradient differs everywhere."""
    return jnp.sum((out - jnp.sin(jnp.arange(out.size)).reshape(out.shape)) ** 2)


def loss(plan, architecture, params, logits, images, key, rate):
    lists, weights = lists_of(plan, architecture, logits)
    return distance(
        executor.execute(plan, (params,), weights, images, lists, key, rate)
    )


@lru_cache
def learn(plan):
    """Loss, and its gradients with respect to module weights and merge logits."""
    return jax.jit(jax.value_and_grad(partial(loss, plan), (1, 2)))


def assert_close(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        scale = float(np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5 * max(scale, 1))


KEY = jax.random.key(11)


@pytest.mark.parametrize("mutations", [0, 1, 6])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_tape_equals_plain_networks(mutations, rate):
    architecture, params, logits, images = case(mutations)

    def plain(params, logits):
        return distance(
            run_networks(params, logits, images, architecture, INPUTS, KEY, rate)
        )

    got = learn(plan_of())(architecture, params, logits, images, KEY, np.float32(rate))
    assert_close(got, jax.value_and_grad(plain, (0, 1))(params, logits))


def test_gradients_equal_finite_differences_in_float64():
    with jax.enable_x64(True):
        architecture, params, logits, images = case(6, dtype=np.float64)
        rest = images, KEY, RATE
        value, gradients = learn(plan_of())(architecture, params, logits, *rest)
        assert value.dtype == np.float64
        rng = np.random.default_rng(1)
        for _ in range(4):
            step = jax.tree.map(lambda x: rng.normal(size=x.shape), (params, logits))
            slopes = jax.tree.map(lambda g, d: np.vdot(g, d), gradients, step)
            for part in ("kernel", "bias", "logits"):
                if part == "logits":
                    move = jax.tree.map(np.zeros_like, params), step[1]
                    slope = slopes[1]
                else:
                    still = jax.tree.map(np.zeros_like, params)
                    move = still | {part: step[0][part]}, np.zeros_like(logits)
                    slope = slopes[0][part]

                def at(eps, move=move):
                    moved = jax.tree.map(
                        lambda x, d: x + eps * d, (params, logits), move
                    )
                    return learn(plan_of())(architecture, *moved, *rest)[0]

                numeric = (at(1e-6) - at(-1e-6)) / 2e-6
                np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-6)


def test_idle_capacity_changes_no_bit():
    arguments = *case(6), KEY, RATE
    pair = (learn(plan_of(capacity))(*arguments) for capacity in (CAPACITY, 80))
    for a, b in zip(*map(jax.tree.leaves, pair), strict=True):
        np.testing.assert_array_equal(a, b)


def test_padding_of_the_tables_changes_no_bit():
    architecture, params, logits, images = case(3)
    lists = learn(plan_of())(architecture, params, logits, images, KEY, ZERO)
    rng = np.random.default_rng(2)
    # what unused nodes and edges hold must not matter
    unused = ~architecture.edge
    other = architecture.replace(
        source=np.where(unused, 1 + rng.integers(0, 8), architecture.source),
        slot=np.where(architecture.active, architecture.slot, MODULES - 1),
        resolution=np.where(architecture.active, architecture.resolution, 1),
    )
    changed = learn(plan_of())(
        other,
        params,
        np.where(unused, 50, logits).astype(np.float32),
        images,
        KEY,
        ZERO,
    )
    for a, b in zip(jax.tree.leaves(lists), jax.tree.leaves(changed), strict=True):
        np.testing.assert_array_equal(a, b)


def complete(module, plan, arguments, axis=None):
    """Outputs and gradients of one executor, the buffers left out."""
    params, weights, images, lists, _, rate = arguments
    out, buffers = module.forward(plan, *arguments, **axis or {})
    target = jnp.cos(jnp.arange(out.size)).reshape(out.shape)
    gradients = module.backward(
        plan, params, weights, images, lists, rate, buffers, out - target, **axis or {}
    )
    return out, gradients


ENABLED = np.array([True, False, True, True])


@lru_cache
def ordered(plan):
    @jax.jit
    def build(architecture, logits, enabled):
        lists, weights = lists_of(plan, architecture, logits, enabled)
        return lists, weights.ravel()[lists.edge_order]

    return build


def arguments_of(plan, mutations, seed=0, channels_in=1, enabled=ENABLED):
    architecture, params, logits, images = case(mutations, channels_in, seed)
    lists, weights = ordered(plan)(architecture, logits, enabled)
    assert (lists.rows <= np.array(plan.capacities)).all()
    return (params,), weights, images, lists, jax.random.key(1), RATE


@lru_cache
def by_tape(plan):
    return jax.jit(lambda *a: complete(tape, plan, a))


def test_evaluation_drops_nothing():
    plan = plan_of()
    evaluating = dataclasses.replace(plan, train=False)
    arguments = arguments_of(plan, 6)
    got, _ = jax.jit(partial(tape.forward, evaluating))(*arguments)
    expected, _ = by_tape(plan)(*arguments[:-1], ZERO)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    dropped, _ = by_tape(plan)(*arguments)
    assert np.abs(dropped - got).max() > 0.1


@pytest.mark.parametrize("input_gradient", [False, True])
def test_batched_executor_equals_tape(input_gradient):
    plan = plan_of(input_gradient=input_gradient)
    channels = CHANNELS if input_gradient else 1
    arguments = arguments_of(plan, 6, channels_in=channels)
    in_blocks = dataclasses.replace(plan, block=3)
    got = jax.jit(lambda *a: complete(batched, in_blocks, a))(*arguments)
    assert_close(got, by_tape(plan)(*arguments))


def test_batched_executor_folds_members_of_different_sizes():
    plan = plan_of()
    members = [arguments_of(plan, mutations, mutations) for mutations in (1, 6)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *members)
    axis = {"axis": "members"}
    fold = jax.vmap(lambda *a: complete(batched, plan, a, axis), axis_name="members")
    got = jax.jit(fold)(*stacked)
    for i, one in enumerate(members):
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], got)
        assert_close(mine, by_tape(plan)(*one))


def test_a_disabled_network_outputs_zeros_and_gets_no_gradient():
    plan = plan_of()
    arguments = arguments_of(plan, 6)
    out, (_, edges, _) = by_tape(plan)(*arguments)
    assert (np.asarray(out[1]) == 0).all()
    assert np.abs(out[0]).max() > 0
    lists = arguments[3]
    owner = lists.edge_order // (len(lists.edge_order) // len(INPUTS))
    assert (np.asarray(edges)[np.asarray(owner) == 1] == 0).all()


def test_vmap_of_the_executor_equals_a_loop():
    members = [case(mutations, seed=mutations) for mutations in (1, 6)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *members)
    every = (0, 0, 0, 0, None, None)
    got = jax.jit(jax.vmap(learn(plan_of()), every))(*stacked, KEY, RATE)
    for i, one in enumerate(members):
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], got)
        assert_close(mine, learn(plan_of())(*one, KEY, RATE))
