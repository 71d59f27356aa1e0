"""MAMO and its baselines on scenes, generation by generation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.conflicts import Conflicts
from evojax_mtl.evaluation.dense_training import features_of, predict
from evojax_mtl.methods import find_method
from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.tasks.dataset import VALIDATION
from tests.search.cases import compiled, easy_scenes, same_bits


@pytest.fixture(scope="module")
def case():
    return compiled("mamo")


@pytest.fixture(scope="module")
def begun(case):
    """After one generation."""
    return case.run(0, 1)


def counted(state, counts):
    """The state as if the mini-batches had had these conflicts."""
    counts = jnp.asarray(counts, jnp.int32)
    conflicts = Conflicts(counts, jnp.zeros(counts.shape), jnp.asarray(20))
    return state.replace(sums=state.sums.replace(conflicts=conflicts))


def counts_of(*places):
    counts = np.zeros((3, len(STAGES)), int)
    for place in places:
        counts[place] = 9
    return counts


def test_detections_come_when_they_should(case, begun):
    config = find_method("mamo").configure("tiny")
    config = dataclasses.replace(config, pretraining=3, interval=2, detections=2)
    search = find_method("mamo").load()(config, case.data)
    state = begun[0]

    def at(g):
        return state.replace(generation=jnp.asarray(g))

    assert [g for g in range(12) if search.detects(at(g))] == [2, 4]
    assert [g for g in range(12) if search.plain(at(g))] == [0, 1, 2]


def test_a_kernel_begins_as_its_stage_with_moments_and_statistics(case, begun):
    state = begun[0].replace(architecture=case.search.initial)
    grown = case.search.activate(counted(state, counts_of((1, 2), (2, 0))))
    assert np.argwhere(grown.architecture).tolist() == [[1, 2], [2, 0]]
    parts = [grown.system.weights.encoder]
    parts += [moment["encoder"] for moment in grown.system.moments[1:]]
    for part in parts:
        for row, stage in ((1, "stage_2"), (2, "stem")):
            kernel, shared = part["kernels"][stage][row], part["stages"][stage]
            np.testing.assert_array_equal(kernel, shared)
            assert np.asarray(shared).any()
    statistics = grown.system.weights.statistics["encoder"]
    for name in STAGES[2:]:
        own, shared = statistics["kernels"][name][1], statistics["stages"][name]
        np.testing.assert_array_equal(own, shared)
    again = case.search.activate(counted(grown, counts_of((0, 0), (2, 0))))
    assert np.argwhere(again.architecture).tolist() == [[0, 0], [1, 2], [2, 0]]
    assert same_bits(
        again.system.weights.encoder["kernels"]["stage_2"],
        grown.system.weights.encoder["kernels"]["stage_2"],
    )


def test_kernels_in_use_are_trained_and_idle_ones_are_not(case):
    state = case.search.activate(counted(case.init(), counts_of((0, 1))))
    before = state.system.weights.encoder["kernels"]
    after, metrics = case.advance(state, stop=3)
    kernels = after.system.weights.encoder["kernels"]
    assert not same_bits(kernels["stage_1"][0], before["stage_1"][0])
    assert same_bits(kernels["stage_1"][1:], before["stage_1"][1:])
    assert same_bits(kernels["stage_3"], before["stage_3"])
    assert metrics["active_kernels"] == 1


def test_a_task_with_spoilt_weights_harms_itself_alone(case, begun):
    state = begun[0]
    weights = state.system.weights
    own = weights.own | {
        "depth": jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), weights.own["depth"])
    }
    spoilt = state.replace(
        system=state.system.replace(weights=weights.replace(own=own))
    )
    after, metrics = case.advance(spoilt)
    assert metrics["left_out"] == case.search.trained
    assert metrics["skipped_steps"] == 0
    assert metrics["nonfinite"] == 1
    assert metrics["validation"][1] < -100
    assert np.isnan(metrics["absolute_error"])
    assert metrics["validation"][0] > 0
    encoder = jax.tree.leaves(after.system.weights.encoder)
    assert all(np.isfinite(leaf).all() for leaf in encoder)
    assert not same_bits(encoder, weights.encoder)


def test_what_it_found_is_told(case, begun):
    state = begun[0].replace(architecture=case.search.initial)
    state = case.search.activate(counted(state, counts_of((0, 1), (0, 4))))
    told = case.search.describe(jax.device_get(state))
    assert told["streams"][0] == {
        "tasks": ["segmentation", "depth"],
        "kernels": ["stage_1", "stage_4"],
    }
    sizes = told["parameters_of"]
    stages = state.system.weights.encoder["stages"]
    assert sizes["kernels"] == stages["stage_1"].size + stages["stage_4"].size
    assert sizes["fusion"] == 2
    assert sum(sizes.values()) == told["parameters"]
    whole = 3 * sum(leaf.size for leaf in stages.values())
    assert told["idle_kernel_bytes"] == 12 * (whole - sizes["kernels"])


def test_rotated_features_are_also_those_that_are_evaluated():
    case = compiled("hps", balancing="rotograd")
    state = case.init()
    learned = state.system.balancing.generators
    turned = jax.random.normal(jax.random.key(1), learned.values.shape)
    balancing = state.system.balancing.replace(
        generators=learned.replace(values=turned)
    )
    changed = state.replace(system=state.system.replace(balancing=balancing))
    assert not same_bits(case.test(changed), case.test(state))

    network, weights = case.search.network, state.system.weights
    batch = case.data.batch_at(VALIDATION, 0, 4)
    statistics, idle = weights.statistics, network.idle()

    @jax.jit
    def by_hand(weights, turned):
        found, _ = network.encode(
            weights.encoder, statistics["encoder"], batch.images, idle, train=False
        )
        turns = jax.vmap(jax.scipy.linalg.expm)(turned - turned.mT)
        views = jnp.stack([found["features"] @ turn.T for turn in turns])
        return network.decode(
            weights.own,
            statistics["own"],
            {"features": views, "positions": ()},
            idle,
            batch.images.shape[1:3],
            key=jax.random.key(0),
            train=False,
        )[0]

    @jax.jit
    def found(weights, balancing):
        features = features_of(case.search.balancer, balancing)
        return predict(network, weights, batch, idle, features)

    expected = by_hand(weights, turned)
    for name, values in found(weights, balancing).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-3)


WRONG = [
    ("mamo", {"balancing": "rotograd"}, "--balancing: found rotograd, which works on"),
    ("mamo", {"kernels": "exclusive", "fusion": "concat"}, "--fusion: found concat"),
    ("hps", {"balancing": "mdga"}, "--balancing: unknown 'mdga', did you mean 'mgda'"),
    ("hps", {"normalizer": "l2"}, "--normalizer: found l2 with --balancing equal"),
]


@pytest.mark.parametrize(("method", "changes", "told"), WRONG)
def test_wrong_choices_are_told(method, changes, told):
    with pytest.raises(UserError, match=f"^{told}"):
        dataclasses.replace(find_method(method).configure("tiny"), **changes)


def test_a_single_task_has_no_conflicts():
    scenes = easy_scenes()
    data = scenes.dataset(0)
    one = data.replace(
        names=data.names[:1], labels={"segmentation": data.labels["segmentation"]}
    )
    entry = find_method("mamo")
    with pytest.raises(UserError, match=r"^tasks: found one, segmentation; must be"):
        entry.load()(entry.configure("tiny"), one)


# one of each way in which gradients are balanced
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("hps", {"balancing": "rotograd"}),
        ("hps", {"balancing": "famo"}),
        ("mamo", {"balancing": "cagrad", "kernels": "exclusive"}),
    ],
)
def test_variants_train(method, changes):
    case = compiled(method, **changes)
    state = case.init()
    _, first = case.advance(state, stop=1)
    state, _ = case.advance(state)
    state, metrics = case.advance(state)
    assert metrics["loss"] < first["loss"]
    assert metrics["skipped_steps"] == 0
