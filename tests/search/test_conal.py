"""CoNAL on scenes: how it learns where to branch, and trains what it found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.dense_losses import dense_losses
from evojax_mtl.evaluation.dense_training import predict
from evojax_mtl.evaluation.relaxed_training import relaxed_step
from evojax_mtl.methods import find_method
from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.branching_network import POINTS
from evojax_mtl.tasks.dataset import VALIDATION
from tests.search.cases import assert_same_bits, compiled, same_bits


@pytest.fixture(scope="module")
def case():
    return compiled("conal")


def test_shares_follow_the_losses_of_other_scenes(case):
    """Adam's first moment is a tenth of the gradient, which differences confirm."""
    search, state = case.search, case.run(0, 1)[0]
    batch = case.data.batch_at(VALIDATION, 0, 6)
    choices = search.initial.choices
    key = jax.random.key(0)

    @jax.jit
    def learn(weights):
        return relaxed_step(
            search.network,
            search.chooser,
            weights,
            batch,
            choices,
            jnp.float32(0.1),
            architecture=jax.nn.softmax,
            penalty=lambda logits: 3 * logits[0, 0],
            key=key,
        )

    @jax.jit
    def loss(weights, logits):
        network, statistics = search.network, weights.statistics
        mix = jax.nn.softmax(logits)
        found, _ = network.encode(
            weights.encoder, statistics["encoder"], batch.images, mix, train=True
        )
        views = jax.tree.map(lambda x: jnp.broadcast_to(x, (3, *x.shape)), found)
        predictions, _ = network.decode(
            weights.own,
            statistics["own"],
            views,
            mix,
            batch.images.shape[1:3],
            key=key,
            train=True,
        )
        return jnp.sum(dense_losses(predictions, batch)) + 3 * logits[0, 0]

    weights = state.system.weights
    new = learn(weights)
    gradient = np.asarray(new.moments.mu) / 0.1
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.normal(size=choices.logits.shape).astype(np.float32)
        ends = [loss(weights, choices.logits + s * 0.05 * direction) for s in (1, -1)]
        slope = float(ends[0] - ends[1]) / 0.1
        np.testing.assert_allclose(slope, np.sum(gradient * direction), rtol=0.05)
    # Adam's first step is the rate, whatever the gradient
    step = np.asarray(new.logits - choices.logits)
    np.testing.assert_allclose(step, -0.1 * np.sign(gradient), rtol=1e-3)


def test_what_it_found_is_trained_anew(case):
    state, _ = case.run(0, 1)
    logits = jnp.zeros((3, POINTS)).at[jnp.arange(3), jnp.array([1, 4, 5])].set(9.0)
    old = state.architecture
    state = state.replace(
        architecture=old.replace(choices=old.choices.replace(logits=logits))
    )
    # the last tick of the last generation of the search
    begun, _ = case.advance(state, start=case.search.trained - 1)
    assert begun.architecture.points.tolist() == [1, 4, 5]
    mix = np.asarray(case.search.shown(begun.architecture))
    np.testing.assert_array_equal(mix, np.eye(POINTS)[[1, 4, 5]])
    for moments in jax.tree.leaves(begun.system.moments[1:]):
        assert not np.asarray(moments).any()
    stages = begun.system.weights.encoder["stages"]
    assert not same_bits(stages, state.system.weights.encoder["stages"])
    for part in begun.system.weights.own.values():
        assert_same_bits(part["private"], stages)
    assert case.search.completed(begun) == 0
    assert case.search.completed(state) == 1
    assert case.search.plain(begun)
    assert not case.search.plain(state)

    told = case.search.describe(jax.device_get(begun))
    assert told["branches"] == {
        "segmentation": "stage_1",
        "depth": "stage_4",
        "normals": None,
    }
    sizes = {name: leaf.size for name, leaf in stages.items()}
    private = sum(sizes[name] for name in STAGES[1:]) + sizes["stage_4"]
    assert told["parameters_of"]["private"] == private
    assert told["parameters_of"]["shared"] == sum(sizes.values())

    # no choice moves any more, and private stages that no task takes stay
    after, _ = case.advance(begun, stop=3)
    assert_same_bits(after.architecture, begun.architecture)
    own = after.system.weights.own
    assert same_bits(own["normals"]["private"], stages)
    assert same_bits(own["depth"]["private"]["stage_3"], stages["stage_3"])
    assert not same_bits(own["depth"]["private"]["stage_4"], stages["stage_4"])


def test_a_task_with_spoilt_weights_harms_itself_alone(case):
    state, _ = case.run(0, 1)
    weights = state.system.weights
    depth = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), weights.own["depth"])
    weights = weights.replace(own=weights.own | {"depth": depth})
    spoilt = state.replace(system=state.system.replace(weights=weights))
    after, metrics = case.advance(spoilt, stop=4)
    assert metrics["left_out"] == 4
    assert metrics["skipped_steps"] == 0
    assert np.isfinite(after.architecture.choices.logits).all()
    batch = case.data.batch_at(VALIDATION, 0, 6)
    shown = case.search.shown(after.architecture)
    found = jax.jit(
        lambda weights: predict(case.search.network, weights, batch, shown)
    )(after.system.weights)
    assert np.isnan(found["depth"]).all()
    assert np.isfinite(found["normals"]).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"searching": 250}, "--searching: found 250, must be below --generations"),
        ({"balancing": "rotograd"}, "--balancing: found rotograd, which works on"),
    ],
)
def test_wrong_choices_are_told(changes, told):
    with pytest.raises(UserError, match=f"^{told}"):
        find_method("conal").config(**changes)
