"""CoNAL's network against plain applications of its stages."""

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.branching_network import POINTS, BranchingNetwork
from evojax_mtl.networks.small_backbone import small

OUTPUTS = {"segmentation": 2, "depth": 1}
SHAPE = (16, 16, 3)
IMAGES = jax.random.uniform(jax.random.key(7), (2, *SHAPE))
NETWORK = BranchingNetwork(small(3, 1), OUTPUTS, SHAPE)


def drawn():
    """Random weights, also of private stages."""
    weights = NETWORK.init(jax.random.key(0))
    own = {}
    for t, (name, part) in enumerate(weights.own.items()):
        keys = jax.random.split(jax.random.key(t + 1), len(STAGES))
        private = {
            stage: jax.random.normal(key, part["private"][stage].shape)
            for stage, key in zip(STAGES, keys, strict=True)
        }
        own[name] = part | {"private": private}
    return weights.replace(own=own)


WEIGHTS = drawn()


@jax.jit
def predict(weights, mix):
    """Predictions and statistics of the network."""
    statistics = weights.statistics
    found, _ = NETWORK.encode(
        weights.encoder, statistics["encoder"], IMAGES, mix, train=True
    )
    views = jax.tree.map(lambda x: jnp.broadcast_to(x, (2, *x.shape)), found)
    return NETWORK.decode(
        weights.own,
        statistics["own"],
        views,
        mix,
        SHAPE[:2],
        key=jax.random.key(0),
        train=True,
    )


@jax.jit
def by_hand(weights, mix):
    """The same, a tail at a time."""

    def apply(i, stages, x):
        statistics = weights.statistics["encoder"]["stages"][STAGES[i]]
        return NETWORK.stages[i].apply(stages[STAGES[i]], statistics, x, train=True)[0]

    maps = [IMAGES]
    for i in range(len(STAGES)):
        maps.append(apply(i, weights.encoder["stages"], maps[-1]))
    predictions = {}
    for t, name in enumerate(OUTPUTS):
        read = mix[t, -1] * maps[-1]
        for first in range(len(STAGES)):
            x = maps[first]
            for i in range(first, len(STAGES)):
                x = apply(i, weights.own[name]["private"], x)
            read = read + mix[t, first] * x
        predictions[name], _ = NETWORK.heads.parts[name].apply(
            weights.own[name]["head"],
            weights.statistics["own"][name]["head"],
            read,
            SHAPE[:2],
            train=True,
        )
    return predictions


def test_a_task_reads_the_shares_of_its_tails():
    mix = jax.random.uniform(jax.random.key(3), (2, POINTS))
    found, _ = predict(WEIGHTS, mix)
    expected = by_hand(WEIGHTS, mix)
    for name in OUTPUTS:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_a_branch_reads_its_own_tail_and_no_other_is_run():
    mix = jax.nn.one_hot(jnp.array([2, POINTS - 1]), POINTS)
    found, statistics = predict(WEIGHTS, mix)
    expected = by_hand(WEIGHTS, mix)
    for name in OUTPUTS:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    before = WEIGHTS.statistics["own"]
    moved = {
        (name, stage, point)
        for name in OUTPUTS
        for stage in STAGES
        for point in range(len(STAGES))
        if not np.array_equal(
            statistics[name]["private"][stage][point],
            before[name]["private"][stage][point],
        )
    }
    assert moved == {("segmentation", stage, 2) for stage in STAGES[2:]}


def test_private_stages_begin_as_the_shared_ones():
    weights = NETWORK.init(jax.random.key(5))
    for part in weights.own.values():
        for stage, leaf in part["private"].items():
            np.testing.assert_array_equal(leaf, weights.encoder["stages"][stage])
