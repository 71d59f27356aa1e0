"""MAMO's network against plain applications of its stages, and the published sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.mediative_network import MediativeNetwork
from evojax_mtl.networks.resnet import resnet50
from evojax_mtl.networks.small_backbone import small
from evojax_mtl.networks.task_network import TaskNetwork

OUTPUTS = {"segmentation": 2, "depth": 1, "normals": 3}
SHAPE = (16, 16, 3)
IMAGES = jax.random.uniform(jax.random.key(7), (2, *SHAPE))


def build(kernels="mediative", fusion="sum"):
    return MediativeNetwork(small(3, 1), OUTPUTS, SHAPE, kernels, fusion)


def active(*places):
    found = np.zeros((3, len(STAGES)), bool)
    for place in places:
        found[place] = True
    return jnp.asarray(found)


def drawn(network):
    """Random weights, also of kernels and fusion."""
    weights = network.init(jax.random.key(0))
    kernels = {
        name: jax.random.normal(jax.random.fold_in(jax.random.key(1), i), leaf.shape)
        for i, (name, leaf) in enumerate(weights.encoder["kernels"].items())
    }
    own = {
        name: part | {"fusion": jnp.array([0.5, -1.0, 2.0]) + len(name)}
        for name, part in weights.own.items()
    }
    return weights.replace(encoder=weights.encoder | {"kernels": kernels}, own=own)


def encode(network):
    """From the encoder's weights and what is active to the representation."""

    @jax.jit
    def run(encoder, statistics, architecture):
        found, _ = network.encode(
            encoder, statistics["encoder"], IMAGES, architecture, train=True
        )
        return found

    return run


def plain_stream(network, weights, maps, row, own):
    """Eq. 7 as written down, a stage at a time."""
    z = None
    for i, (name, stage) in enumerate(zip(STAGES, network.stages, strict=True)):
        statistics = weights.statistics["encoder"]["stages"][name]
        kernel = weights.encoder["kernels"][name][row]
        shared = weights.encoder["stages"][name]
        if own[i]:
            first = maps[i] if z is None else maps[i] + z
            if network.kernels == "exclusive" and z is not None:
                first = z
            z, _ = stage.apply(kernel, statistics, first, train=True)
        elif z is not None:
            z, _ = stage.apply(shared, statistics, z, train=True)
    return z


@pytest.mark.parametrize("kernels", ["mediative", "exclusive"])
def test_streams_are_those_of_equation_7(kernels):
    network = build(kernels)
    weights = drawn(network)
    chosen = active((0, 1), (0, 3), (2, 0), (2, 4), (2, 3))
    found = encode(network)(weights.encoder, weights.statistics, chosen)
    maps = [IMAGES]
    for name, stage in zip(STAGES, network.stages, strict=True):
        own = weights.encoder["stages"][name]
        statistics = weights.statistics["encoder"]["stages"][name]
        maps.append(stage.apply(own, statistics, maps[-1], train=True)[0])
    np.testing.assert_allclose(found["features"], maps[-1], atol=1e-5)
    for row in (0, 2):
        own = tuple(np.asarray(chosen[row]).tolist())
        plain = jax.jit(lambda w, m: plain_stream(network, w, m, row, own))  # noqa: B023
        expected = plain(weights, maps)
        np.testing.assert_allclose(
            found["streams"][row], expected, atol=1e-4, rtol=1e-4
        )
    assert not found["streams"][1].any()


def test_heads_read_the_sum_of_equation_8():
    network = build()
    weights = drawn(network)
    chosen = active((0, 1), (2, 4))
    found = encode(network)(weights.encoder, weights.statistics, chosen)
    views = jax.tree.map(lambda x: jnp.broadcast_to(x, (3, *x.shape)), found)
    predictions, _ = network.decode(
        weights.own,
        weights.statistics["own"],
        views,
        chosen,
        SHAPE[:2],
        key=jax.random.key(0),
        train=True,
    )
    # pairs in order: 01, 02, 12; task 0 has a stream of the first alone
    for name, rows in (("segmentation", [0]), ("depth", [0, 2]), ("normals", [2])):
        own = weights.own[name]
        mixed = found["features"]
        for row in rows:
            mixed = mixed + own["fusion"][row] * found["streams"][row]
        expected, _ = network.heads.parts[name].apply(
            own["head"],
            weights.statistics["own"][name],
            mixed,
            SHAPE[:2],
            train=True,
        )
        np.testing.assert_allclose(predictions[name], expected, atol=1e-4, rtol=1e-4)


def test_idle_kernels_are_not_computed():
    """NaN in weights that are read anywhere would spread, also times 0."""
    network = build()
    weights = drawn(network)
    chosen = active((0, 2), (1, 4))
    spoilt = {
        name: jnp.where(chosen[:, i, None], leaf, jnp.nan)
        for i, (name, leaf) in enumerate(weights.encoder["kernels"].items())
    }
    spoilt = weights.encoder | {"kernels": spoilt}

    @jax.jit
    def slope(encoder):
        def total(encoder):
            found, _ = network.encode(
                encoder, weights.statistics["encoder"], IMAGES, chosen, train=True
            )
            return sum(jnp.sum(x**2) for x in jax.tree.leaves(found))

        return jax.value_and_grad(total)(encoder)

    (value, gradient), (clean, expected) = slope(spoilt), slope(weights.encoder)
    assert np.isfinite(value)
    assert value == clean
    for i, name in enumerate(STAGES):
        idle = ~np.asarray(chosen[:, i])
        assert not np.asarray(gradient["kernels"][name])[idle].any()
        assert np.asarray(gradient["kernels"][name])[~idle].any(1).all()
    for a, b in zip(*map(jax.tree.leaves, (gradient, expected)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_kernel_at_an_early_stage_alone_has_a_gradient():
    network = build()
    weights = drawn(network)

    def total(encoder):
        chosen = active((1, 0))
        statistics = weights.statistics["encoder"]
        found, _ = network.encode(encoder, statistics, IMAGES, chosen, train=True)
        return jnp.sum(found["streams"][1] ** 3)

    gradient = jax.jit(jax.grad(total))(weights.encoder)
    assert np.asarray(gradient["kernels"]["stem"][1]).any()
    # through the shared weights of the stages after it
    assert np.asarray(gradient["stages"]["stage_4"]).any()


@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_new_kernels_repeat_the_stages_that_they_mediate(fusion):
    network = build(fusion=fusion)
    weights = network.init(jax.random.key(0))
    first, second = active((0, 1), (1, 0)), active((0, 1), (1, 0), (1, 1), (0, 4))
    encoder = network.grow(weights.encoder, first)
    run = encode(network)
    found = run(encoder, weights.statistics, first)
    for row in (0, 1):
        np.testing.assert_allclose(
            found["streams"][row], found["features"], atol=1e-5, rtol=1e-4
        )
    # both fusions begin with the same numbers, whatever else is active
    whole = run(network.grow(encoder, second & ~first), weights.statistics, second)
    plain = build()
    sums = encode(plain)(
        plain.grow(plain.init(jax.random.key(0)).encoder, second),
        plain.init(jax.random.key(0)).statistics,
        second,
    )
    np.testing.assert_allclose(whole["streams"], sums["streams"], atol=1e-4, rtol=1e-3)


def test_fusion_begins_at_one_over_the_streams_and_one():
    network = build()
    own = network.init(jax.random.key(0)).own
    first, second = active((0, 1)), active((0, 1), (2, 3), (0, 4))
    own = network.begin_fusion(own, active(), first)
    fusion = np.array([part["fusion"] for part in own.values()])
    np.testing.assert_allclose(fusion, [[0.5, 0, 0], [0.5, 0, 0], [0, 0, 0]])
    own = network.begin_fusion(own, first, second)
    fusion = np.array([part["fusion"] for part in own.values()])
    np.testing.assert_allclose(fusion, [[0.5, 0, 0], [0.5, 0, 1 / 3], [0, 0, 0.5]])


NYU = {"segmentation": 13, "depth": 1, "normals": 3}


def millions(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree)) / 1e6


@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_resnet_has_the_published_sizes(fusion):
    """MAMO's 142 M (Fig. 3); 152.8 M with kernels that read two maps."""
    network = MediativeNetwork(resnet50(), NYU, (288, 384, 3), "mediative", fusion)
    weights = jax.eval_shape(network.init, jax.random.key(0))
    kernels = millions(weights.encoder["kernels"])
    shared = MediativeNetwork(resnet50(), NYU, (288, 384, 3), "none")
    weights = jax.eval_shape(shared.init, jax.random.key(0))
    assert millions(weights.encoder) == pytest.approx(23.508, abs=5e-4)
    hps = millions((weights.encoder, weights.own))
    assert hps == pytest.approx(71.89, abs=5e-3)
    expected = {"sum": 142.41, "concat": 152.80}[fusion]
    assert hps + kernels == pytest.approx(expected, abs=1e-2)
    assert shared.stages[-1].output == (36, 48, 2048)


def test_single_task_learning_has_the_published_size():
    network = TaskNetwork(resnet50(), NYU, (288, 384, 3))
    weights = jax.eval_shape(network.init, jax.random.key(0))
    assert millions((weights.encoder, weights.own)) == pytest.approx(118.9, abs=0.05)


def test_named_arrays_of_a_network():
    network = build("none")
    weights = network.init(jax.random.key(0))
    trees = network.trees(weights)
    kernel = trees.encoder["stages"]["stage_2"]["conv_1"]["kernel"]
    assert kernel.shape == (3, 3, 3, 6)
    assert trees.own["depth"]["head"]["predict"]["bias"].shape == (1,)
    layout = network.stages[2].weights
    again = layout.ravel(trees.encoder["stages"]["stage_2"])
    np.testing.assert_array_equal(again, weights.encoder["stages"]["stage_2"])
