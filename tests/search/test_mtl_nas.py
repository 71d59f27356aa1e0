"""MTL-NAS on scenes: its network, its edges, and how they are learned."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy

from evojax_mtl.evaluation.dense_training import predict
from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.fused_network import FusedNetwork
from evojax_mtl.networks.resnet import resnet50
from evojax_mtl.networks.small_backbone import small
from evojax_mtl.search.mtl_nas import entropy
from evojax_mtl.tasks.dataset import VALIDATION
from tests.search.cases import assert_same_bits, compiled, same_bits

OUTPUTS = {"segmentation": 2, "depth": 1, "normals": 3}
SHAPE = (16, 16, 3)


def test_fusion_is_a_pointwise_mixture_of_gated_maps():
    """Against an einsum for each task, and batch norm written down."""
    network = FusedNetwork(small(3, 1), OUTPUTS, SHAPE)
    weights = network.init(jax.random.key(0))
    # begins with 0.9 of its own map, and 0.05 of each of two others
    first = network.fusions[0].weights.unravel(weights.encoder["fusions"]["stem"][1])
    begun = np.asarray(first["mix"]["kernel"]).reshape(3, 3, 3)
    for block, share in zip(begun, (0.9, 0.05, 0.05), strict=True):
        np.testing.assert_allclose(block, share * np.eye(3), rtol=1e-6)
    fusions = {
        name: jax.random.normal(jax.random.key(i), leaf.shape)
        for i, (name, leaf) in enumerate(weights.encoder["fusions"].items())
    }
    encoder = weights.encoder | {"fusions": fusions}
    images = jax.random.uniform(jax.random.key(7), (2, *SHAPE))
    gates = jax.random.uniform(jax.random.key(8), (3, 2, len(STAGES)))
    statistics = weights.statistics["encoder"]

    @jax.jit
    def fused(encoder, gates):
        found, _ = network.encode(encoder, statistics, images, gates, train=True)
        return found["features"]

    @jax.jit
    def by_hand(encoder, gates):
        maps = [images] * 3
        for i, name in enumerate(STAGES):
            run = partial(network.stages[i].apply, train=True)
            stages = encoder["stages"][name], statistics["stages"][name]
            maps = jax.vmap(run)(*stages, jnp.stack(maps))[0]
            fused = []
            for t, others in enumerate(([1, 2], [0, 2], [0, 1])):
                tree = network.fusions[i].weights.unravel(encoder["fusions"][name][t])
                channels = maps[t].shape[-1]
                mix = tree["mix"]["kernel"].reshape(3, channels, channels)
                x = jnp.einsum("bhwc,cd->bhwd", maps[t], mix[0])
                for place, other in enumerate(others):
                    gated = gates[t, place, i] * maps[other]
                    x += jnp.einsum("bhwc,cd->bhwd", gated, mix[1 + place])
                mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
                x = (x - mean) / jnp.sqrt(variance + 1e-5)
                x = x * tree["norm"]["scale"] + tree["norm"]["bias"]
                fused.append(jnp.maximum(x, 0))
            maps = fused
        return jnp.stack(maps)

    np.testing.assert_allclose(
        fused(encoder, gates), by_hand(encoder, gates), atol=2e-3
    )
    # through shut edges nothing passes: another task's backbone does not matter
    shut = jnp.zeros_like(gates)
    moved = jax.tree.map(lambda x: x.at[2].add(1.0), encoder["stages"])
    before, after = fused(encoder, shut), fused(encoder | {"stages": moved}, shut)
    assert same_bits(before[:2], after[:2])
    assert not same_bits(before[2], after[2])
    open_edge = fused(encoder | {"stages": moved}, shut.at[0, 1, 3].set(1.0))
    assert not same_bits(open_edge[0], before[0])
    assert same_bits(open_edge[1], before[1])


def test_it_is_larger_than_single_task_learning_by_its_fusions():
    network = FusedNetwork(resnet50(), OUTPUTS, (288, 384, 3))
    extra = 3 * sum(part.weights.size for part in network.fusions)
    channels = np.array([64, 256, 512, 1024, 2048])
    assert extra == 3 * np.sum(3 * channels**2 + 2 * channels)
    # with the published 118.9 M: 169 M, where Tan 2024, Fig. 3 shows some 180 M
    assert extra == pytest.approx(50.2e6, rel=0.01)


def test_the_penalty_is_the_mean_entropy():
    logits = np.random.default_rng(0).normal(0, 3, (3, 2, 5)).astype(np.float32)
    share = 1 / (1 + np.exp(-logits.astype(float)))
    expected = np.mean(scipy_entropy(np.stack([share, 1 - share])))
    np.testing.assert_allclose(entropy(jnp.asarray(logits)), expected, rtol=1e-5)
    far = jax.grad(lambda x: entropy(x))(jnp.full((1, 1, 1), 200.0))
    assert np.isfinite(far).all()
    # downhill is away from an even chance, on either side
    slope = jax.grad(lambda x: entropy(x))(jnp.array([[[-1.0, 1.0]]]))
    assert np.sign(slope).ravel().tolist() == [1, -1]


@pytest.fixture(scope="module")
def case():
    return compiled("mtl-nas")


def test_gates_close_or_open_as_the_search_goes(case):
    _, metrics = case.run(0, 1)
    assert 0 < metrics["entropy"] < np.log(2)
    _, later = case.run(0, 2)
    assert later["entropy"] < metrics["entropy"]
    free = dict(case.rates) | {"entropy_weight": np.float32(0)}
    _, without = case.advance(case.init(), free)
    assert without["entropy"] > metrics["entropy"]


def test_the_strongest_edges_are_evaluated_and_told(case):
    search, (state, _) = case.search, case.run(0, 1)
    logits = jnp.full((3, 2, len(STAGES)), -0.1).at[2, 0, 4].set(0.1)
    logits = logits.at[0, 1, 2].set(0.2)
    choices = state.architecture.replace(logits=logits)
    state = state.replace(architecture=choices)
    hard = np.asarray(search.evaluated(choices))
    assert np.argwhere(hard).tolist() == [[0, 1, 2], [2, 0, 4]]
    batch = case.data.batch_at(VALIDATION, 0, 6)
    weights = state.system.weights
    run = jax.jit(lambda gates: predict(search.network, weights, batch, gates))
    soft = run(search.shown(choices))
    assert not same_bits(soft, run(jnp.asarray(hard)))
    # what is scored are the hard edges: softer ones of the same signs score the same
    softer = state.replace(architecture=choices.replace(logits=100 * logits))
    assert_same_bits(case.test(state), case.test(softer))
    told = search.describe(jax.device_get(state))
    assert told["edges"] == [
        {"stage": "stage_2", "from": "normals", "to": "segmentation"},
        {"stage": "stage_4", "from": "segmentation", "to": "normals"},
    ]
    channels = [part.output[-1] for part in search.network.stages]
    expected = sum(3 * (c**2 + 2 * c) for c in channels)
    expected += channels[2] ** 2 + channels[4] ** 2
    assert told["parameters_of"]["fusions"] == expected
