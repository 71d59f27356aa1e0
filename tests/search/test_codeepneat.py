"""What the searches that assemble networks do in their generations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import KERNELS
from evojax_mtl.networks import layer_weights
from evojax_mtl.runs.drawings import draw
from tests.search.cases import (
    assert_measured_as_kept,
    assert_same_bits,
    compiled,
    same_bits,
)


@pytest.fixture(scope="module", params=["cm", "cmsr"])
def case(request):
    return compiled(request.param)


@pytest.fixture(scope="module")
def cm():
    return compiled("cm")


def test_a_network_that_fails_is_the_worst_and_not_the_end(case):
    state = case.init()
    networks = state.assembled.network
    rates = networks.learning_rate.at[1].set(np.float32(1e38))
    spoilt = state.assembled.replace(network=networks.replace(learning_rate=rates))
    state, metrics = case.advance(state.replace(assembled=spoilt))
    assert metrics["nonfinite"] == 1
    assert metrics["least_fitness"] == 0
    assert metrics["mean_validation"] > 0
    assert (state.finalists.fitness > 0).all()
    assert np.isfinite(metrics["loss"])
    _, metrics = case.advance(state)
    assert metrics["nonfinite"] == 0


def test_all_networks_may_fail(case):
    rates = dict(case.rates) | {"learning_rate": np.float32(1e38)}
    state, metrics = case.advance(case.init(), rates)
    assert metrics["nonfinite"] == metrics["evaluations"]
    assert not np.any(metrics["validation"])
    accuracy = case.test(state)
    assert ((accuracy >= 0) & (accuracy <= 1)).all()
    _, metrics = case.advance(case.search.grow(state))
    assert metrics["mean_validation"] > 0


def test_the_best_networks_are_trained_on_in_the_end(case):
    search, config = case.search, case.search.config
    assert (config.generations, config.finals, config.finalists) == (3, 1, 1)
    begun, measured = case.init(), []
    for _ in range(2):
        middle, _ = case.advance(begun, stop=case.ticks - 1)
        begun, metrics = case.advance(begun)
        assert metrics["final_training"] == 0
        fitness = np.asarray(middle.assembled.fitness[:-1])
        measured += [*fitness, metrics["mean_fitness"] * 3 - fitness.sum()]
    best = begun.finalists
    np.testing.assert_allclose(best.fitness, max(measured), rtol=1e-6)
    np.testing.assert_allclose(begun.best.fitness.mean(), max(measured), rtol=1e-6)
    state, metrics = case.advance(search.grow(begun))
    assert metrics["final_training"] == 1
    chosen = jax.tree.map(lambda x: x[0], best.network)
    assert_same_bits(state.network, chosen)
    assert_same_bits(state.modules, begun.modules)
    # the finalist goes on from network to network, three times as long in all
    span = case.ticks // config.networks
    after, _ = case.advance(begun, stop=span)
    later, _ = case.advance(after, start=span, stop=span + 1)
    assert same_bits(later.network, after.network)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), later.params, after.params)
    count = jax.tree.leaves(later.optimizer)[0]
    assert count == config.iterations + 1
    assert max(jax.tree.leaves(moved)) < 0.1
    assert metrics["kept"].mean() >= begun.best.fitness.mean()
    assert search.finished(state) is False


def test_l2_shrinks_kernels(cm):
    state = cm.init()
    rates = dict(cm.rates) | {"learning_rate": np.float32(0.03)}

    def mean(strength):
        layers = state.assembled.network.layers
        layers = layers.replace(decay=jnp.full_like(layers.decay, strength))
        network = state.assembled.network.replace(layers=layers)
        begun = state.replace(assembled=state.assembled.replace(network=network))
        after, _ = cm.advance(begun, rates, stop=cm.search.config.iterations)
        used = layer_weights.layout(after.network, cm.search.kinds).total
        return np.abs(after.params["layers"]["kernels"][: int(used)]).mean()

    assert mean(10.0) < 0.5 * mean(0.0)


def test_it_ends_where_there_is_no_progress(cm):
    state, _ = cm.run(0, 1)
    patience = cm.search.config.patience
    waiting = state.replace(
        progress=jnp.int32(1 - patience), best=state.best.replace(fitness=jnp.ones(2))
    )
    waiting, metrics = cm.advance(waiting)
    assert metrics["final_training"] == 0
    assert waiting.final == waiting.generation == 2
    assert not cm.search.finished(waiting)
    ended, metrics = cm.advance(waiting)
    assert metrics["final_training"] == 1
    assert cm.search.finished(ended)
    # beside others of a sweep that go on, it tells its result and does nothing
    after, metrics = cm.advance(ended)
    assert metrics["evaluations"] == 0
    np.testing.assert_array_equal(metrics["validation"], ended.best.fitness)
    assert_same_bits(after.best, ended.best)


def test_growth_changes_nothing_but_capacities(cm):
    state = cm.init()
    needs = np.asarray(state.assembled.needs)
    small = state.replace(
        assembled=state.assembled.replace(
            needs=jnp.asarray([state.rows[0] + 1, *needs[1:-1], state.weights + 1])
        )
    )
    grown = cm.search.grow(small)
    assert grown.rows[0] > state.rows[0]
    assert grown.weights > state.weights
    template = cm.search.restore_template(cm.search.static(grown), cm.rates, cm.data)
    assert jax.tree.structure(template) == jax.tree.structure(grown)
    shapes = [(x.shape, x.dtype) for x in jax.tree.leaves(template)]
    assert shapes == [(x.shape, x.dtype) for x in jax.tree.leaves(grown)]
    # what was there is the same, and so are random weights
    size = state.params["layers"]["kernels"].shape[0]
    for old, new in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(grown.params), strict=True
    ):
        np.testing.assert_array_equal(np.ravel(new)[: old.size], np.ravel(old))
    draws = []
    for held in (state, grown):
        model = cm.search.model(held.rows, held.weights)
        params = model.init(jax.random.key(0), state.network)
        draws.append(params["layers"]["kernels"])
    total = size - cm.search.kinds.largest
    np.testing.assert_array_equal(draws[1][:total], draws[0][:total])


def test_the_result_is_described_and_drawn(case):
    state, _ = case.run()
    found = case.search.describe(jax.device_get(state))
    kept = case.search.final_state(state).network
    convolutions = np.asarray(kept.architecture.operation) > 0
    own = np.arange(len(convolutions)) == np.asarray(kept.architecture.slot)
    counted = 0
    for node in np.flatnonzero(convolutions & own):
        side = KERNELS[int(kept.layers.kernel[node])]
        counted += int(kept.layers.filters[node]) * (
            side**2 * int(kept.layers.inputs[node]) + 1
        )
    heads = case.search.final_state(state).params["heads"]
    counted += sum(leaf.size for leaf in heads.values())
    extra = found["parameters"] - counted
    assert extra % case.data.tasks == 0
    assert 0 <= extra <= case.data.tasks * case.search.links()
    assert [network["name"] for network in found["networks"]] == list(case.data.names)
    for network in found["networks"]:
        assert draw(network).count("<rect") == len(network["nodes"])
        into = {}
        for edge in network["edges"]:
            total = into.get(edge["target"], 0) + edge["weight"]
            into[edge["target"]] = total
        np.testing.assert_allclose(list(into.values()), 1, rtol=1e-5)
    used = {n["module"] for n in found["networks"][0]["nodes"] if "module" in n}
    assert used == set(range(len(found["modules"])))
    for module in found["modules"]:
        draw(module)
        kinds = [node["kind"] for node in module["nodes"]]
        assert kinds[:2] == ["input", "output"]
        assert len(kinds) >= 4, "a layer and the final one"
        final = module["nodes"][-1]
        assert (final["kernel"], final["activation"]) == (1, "linear")


@pytest.mark.parametrize("shared", [False, True])
def test_places_that_share_weights_are_told(case, shared):
    state = jax.device_get(case.init())
    networks = state.assembled.network
    most = max(range(len(networks.module)), key=lambda j: networks.module[j].max())
    network = jax.tree.map(lambda x: x[most], networks)
    slot = np.arange(len(network.module))
    each = case.search.config.layers + 1
    # the input, the output and merges come first, then each place's layers
    first = len(slot) % each
    if shared:
        # all have the weights of the first one's layers
        slot[first:] = first + (slot[first:] - first) % each
    network = network.replace(architecture=network.architecture.replace(slot=slot))
    found = case.search.describe(
        state.replace(best=state.best.replace(network=network))
    )
    for routing in found["networks"]:
        modules = [n for n in routing["nodes"] if n["kind"] == "module"]
        assert len(modules) > 1
        expected = [0] * len(modules) if shared else list(range(len(modules)))
        assert [n["weights"] for n in modules] == expected
        assert f"weights {max(expected) + 1}</title>" in draw(routing)


def test_the_best_is_measured_as_it_was_kept(case):
    assert_measured_as_kept(case)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("largest-kernel", "4", "must be 1, 3, 5 or 7"),
        ("modules", "3", "must be at least"),
        ("fewest-filters", "99", "must be at most"),
        ("finalists", "99", "must be at most"),
        ("finals", "4", "must be below the generations"),
        ("initial-nodes", "99", "must be at most --nodes"),
    ],
)
def test_impossible_choices_are_one_clear_line(field, value, words, refused):
    error = refused(["run", "cmsr", "--scale", "smoke", f"--{field}", value])
    assert f"--{field}" in error
    assert words in error
