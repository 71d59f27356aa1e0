"""Recon on scenes: its scores, its layers, and how these train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.conflicts import Conflicts
from evojax_mtl.evaluation.dense_losses import dense_losses
from evojax_mtl.evaluation.dense_training import predict
from evojax_mtl.methods import find_method
from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.layered_network import LayeredNetwork
from evojax_mtl.networks.small_backbone import small
from evojax_mtl.tasks.dataset import VALIDATION
from tests.search.cases import assert_same_bits, compiled, same_bits


@pytest.fixture(scope="module")
def case():
    return compiled("recon")


@pytest.fixture(scope="module")
def begun(case):
    return case.run(0, 1)[0]


def test_layers_are_what_a_module_holds():
    network = LayeredNetwork(small(3, 2), {"depth": 1}, (16, 16, 3))
    assert network.layers[:2] == ("stem/conv", "stem/norm")
    second = [name for name in network.layers if name.startswith("stage_2")]
    assert sorted(second) == [
        f"stage_2/{name}"
        for name in ("across", "conv_1", "conv_2", "norm_1", "norm_2", "norm_across")
    ]
    # 3x3 kernels of 3 to 6 channels; a scale and a bias of a norm
    place = network.places["stage_2"]
    sizes = {name: int(np.sum(place == network.layers.index(name))) for name in second}
    assert sizes["stage_2/conv_1"] == 9 * 3 * 6
    assert sizes["stage_2/norm_across"] == 2 * 6
    assert sum(sizes.values()) == network.stages[2].weights.size


def losses_of(network, weights, batch, specific, key):
    """Losses of the tasks, as a training step sees them."""
    found, _ = network.encode(weights.encoder, {}, batch.images, specific, train=True)
    views = jax.tree.map(lambda x: jnp.broadcast_to(x, (3, *x.shape)), found)
    predictions, _ = network.decode(
        weights.own,
        weights.statistics["own"],
        views,
        specific,
        batch.images.shape[1:3],
        key=key,
        train=True,
    )
    return dense_losses(predictions, batch)


def test_cosines_are_those_of_each_layer(case, begun):
    """Against gradients of trees, one task and one layer at a time."""
    network = case.search.network
    batch, key = case.data.batch_at(VALIDATION, 0, 6), jax.random.key(0)
    specific = jnp.zeros((len(network.layers),), bool)

    @jax.jit
    def gradients(weights):
        def losses(encoder):
            changed = weights.replace(encoder=encoder)
            return losses_of(network, changed, batch, specific, key)

        return jax.jacrev(losses)(weights.encoder)["stages"]

    each = gradients(begun.system.weights)
    found = np.asarray(jax.jit(lambda g: network.cosines(g, case.search.pairs))(each))
    parts = dict(zip(STAGES, network.stages, strict=True))
    trees = [
        {name: part.weights.unravel(each[name][t]) for name, part in parts.items()}
        for t in range(3)
    ]
    for p, (a, b) in enumerate(case.search.pairs):
        for i, layer in enumerate(network.layers):
            vectors = []
            for task in (a, b):
                tree = trees[task]
                for name in layer.split("/"):
                    tree = tree[name]
                leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(tree)]
                vectors.append(np.concatenate(leaves).astype(float))
            x, y = vectors
            expected = x @ y / (np.linalg.norm(x) * np.linalg.norm(y))
            np.testing.assert_allclose(found[p, i], expected, atol=1e-4, err_msg=layer)


def with_counts(state, counts, scores):
    conflicts = Conflicts(
        jnp.asarray(counts, jnp.int32), jnp.zeros(np.shape(counts)), jnp.int32(20)
    )
    known = state.architecture.replace(scores=jnp.asarray(scores, jnp.int32))
    sums = state.sums.replace(conflicts=conflicts)
    return state.replace(sums=sums, architecture=known)


def test_the_worst_layers_become_each_task_s_own(case, begun):
    search = case.search
    count = len(search.network.layers)
    counts = np.zeros((3, count), int)
    scores = np.zeros(count, int)
    counts[:, 4] = 2
    scores[4] = 1
    scores[[2, 6, 7, 9]] = 3
    state = search.observed(with_counts(begun, counts, scores))
    assert state.architecture.scores.tolist()[4] == 7
    chosen = search.found(state).specific
    # the highest score, and the first three of equals
    assert np.flatnonzero(chosen).tolist() == [2, 4, 6, 7]
    none = with_counts(begun, np.zeros((3, count)), np.zeros(count))
    assert not np.asarray(search.found(none).specific).any()


def test_what_it_found_is_trained_anew(case, begun):
    search = case.search
    count = len(search.network.layers)
    scores = np.zeros(count, int)
    scores[[0, 3]] = 1000
    scores[[5, 8]] = 999
    state = with_counts(begun, np.zeros((3, count)), scores)
    # the last mini-batch of the search may add a few conflicts
    after, _ = case.advance(state, start=search.trained - 1)
    assert np.flatnonzero(after.architecture.specific).tolist() == [0, 3, 5, 8]
    assert search.completed(after) == 0
    stages = after.system.weights.encoder["stages"]
    assert not same_bits(stages, begun.system.weights.encoder["stages"])
    own = after.system.weights.own
    for part in own.values():
        assert_same_bits(part["layers"], stages)
    told = search.describe(jax.device_get(after))
    names = [search.network.layers[i] for i in (0, 3, 5, 8)]
    assert told["specific"] == names
    places = np.concatenate(list(search.network.places.values()))
    copied = int(np.isin(places, [0, 3, 5, 8]).sum())
    assert told["parameters_of"]["layers"] == 3 * copied
    assert told["parameters_of"]["shared"] == len(places) - copied

    trained, metrics = case.advance(after, stop=3)
    assert metrics["specific_layers"] == 4
    assert_same_bits(trained.architecture, after.architecture)
    for stage, place in search.network.places.items():
        chosen = np.isin(place, [0, 3, 5, 8])
        shared = np.asarray(trained.system.weights.encoder["stages"][stage])
        moved = shared != np.asarray(stages[stage])
        assert not moved[chosen].any()
        assert moved[~chosen].any() or chosen.all()
        for part in trained.system.weights.own.values():
            own = np.asarray(part["layers"][stage])
            assert not (own != np.asarray(stages[stage]))[~chosen].any()
    depth, normals = (
        trained.system.weights.own[name]["layers"]["stem"]
        for name in ("depth", "normals")
    )
    assert not same_bits(depth, normals)


def test_shared_layers_of_a_task_are_those_of_all(case, begun):
    """Predictions with no layer of its own depend on the shared ones alone."""
    network = case.search.network
    batch = case.data.batch_at(VALIDATION, 0, 6)
    weights = begun.system.weights
    noise = {
        name: part | {"layers": jax.tree.map(lambda x: x + 1, part["layers"])}
        for name, part in weights.own.items()
    }
    run = jax.jit(lambda weights, specific: predict(network, weights, batch, specific))
    none = jnp.zeros((len(network.layers),), bool)
    expected = run(weights, none)
    assert_same_bits(run(weights.replace(own=noise), none), expected)
    changed = run(weights.replace(own=noise), none.at[0].set(True))
    assert not same_bits(changed, expected)


def test_too_long_a_search_is_told():
    with pytest.raises(UserError, match=r"^--searching: found 300, must be below"):
        find_method("recon").config(searching=300)
