"""CMTR (Liang 2018, 3.4): CTR inside CoDeepNEAT; one compiled search for all tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evolution import neat
from evojax_mtl.genomes.graphs import FIXED
from evojax_mtl.runs.drawings import draw
from evojax_mtl.search.codeepneat_populations import neat as called
from tests.search.cases import (
    assert_measured_as_kept,
    assert_same_bits,
    compiled,
    same_bits,
)

TASKS = 2


@pytest.fixture(scope="module")
def case():
    return compiled("cmtr")


@pytest.fixture(scope="module")
def span(case):
    """Ticks of a meta-iteration."""
    return case.ticks // (case.search.config.networks * case.search.bouts)


@pytest.fixture(scope="module")
def bouts(case, span):
    """The states after each meta-iteration of the first generation but the last."""
    state, found = case.init(), []
    for end in range(span, case.ticks, span):
        state, _ = case.advance(state, start=end - span, stop=end)
        found.append(state)
    return found


def test_a_set_is_measured_by_the_best_of_its_meta_iterations(case, bouts):
    count = case.search.bouts
    for n in range(case.search.config.networks - 1):
        own = bouts[n * count : (n + 1) * count]
        champions = []
        for state in own:
            tally = state.tally
            accuracy = np.asarray(tally.right / tally.seen).reshape(TASKS, 2)
            champions.append(accuracy.max(1).mean())
        expected = np.maximum.accumulate(champions)
        reached = [float(state.assembled.fitness[n]) for state in own]
        np.testing.assert_allclose(reached, expected, rtol=1e-6)
        assert (np.asarray(own[0].assembled.fitness[n + 1 :]) == 0).all()


def test_each_set_begins_with_chains_and_weights_of_its_own(case, bouts):
    count = case.search.bouts
    for n in range(case.search.config.networks - 1):
        first, last = bouts[n * count], bouts[(n + 1) * count - 1]
        # the challengers of the first meta-iteration have one node more than chains
        chain = FIXED + case.search.config.depth
        assert (first.routing.nodes <= chain + 1).all()
        assert (last.routing.nodes >= first.routing.nodes).all()
        assert (last.routing.nodes <= chain + count).all()
        chosen = jax.tree.map(lambda x, n=n: x[n], first.assembled.network)
        assert_same_bits(last.network, chosen)
    kernels = [s.params["layers"]["kernels"] for s in bouts[:: case.search.bouts]]
    assert np.abs(kernels[0] - kernels[1]).mean() > 0.05


def test_the_best_system_of_any_meta_iteration_is_kept_whole(bouts):
    means = [float(s.assembled.fitness.max()) for s in bouts]
    for before, state, mean in zip(bouts, bouts[1:], means[1:], strict=False):
        if mean > float(before.best.fitness.mean()):
            held = state.params, state.network, state.routing
        else:
            held = before.best.params, before.best.network, before.best.routing
        best = state.best
        assert_same_bits((best.params, best.network, best.routing), held)
    np.testing.assert_allclose(best.fitness.mean(), max(means), rtol=1e-6)


def test_a_module_has_the_mean_fitness_of_the_sets_that_contain_it(case, monkeypatch):
    search, state = case.search, case.init()
    count = search.config.networks
    fitness = np.random.default_rng(0).uniform(size=count).astype(np.float32)
    assembled = state.assembled.replace(fitness=jnp.asarray(fitness))
    seen = []

    class StopError(Exception):
        pass

    def evolve(key, config, rates, population, given, scores):
        seen.append(np.asarray(given))
        raise StopError

    monkeypatch.setattr(called, "evolve", evolve)
    rates = neat.Rates()
    with pytest.raises(StopError):
        search.evolve(state.key, state.replace(assembled=assembled), rates)
    monkeypatch.undo()
    genes = np.asarray(state.modules.graphs.genes)
    sets = np.asarray(state.assembled.network.modules.genes)
    contained = [
        [n for n in range(count) if (sets[n] == one).all((1, 2)).any()] for one in genes
    ]
    assert sum(map(len, contained)) >= count
    for found, own in zip(seen[0], contained, strict=True):
        if own:
            np.testing.assert_allclose(found, fitness[own].mean(), rtol=1e-6)


def test_selection_is_that_of_ctr(case):
    state = case.init()
    params = jax.tree.map(
        lambda x: jnp.arange(x.size, dtype=jnp.float32).reshape(x.shape), state.params
    )
    nodes = state.routing.nodes.at[:, 1].add(1)
    state = state.replace(
        params=params,
        routing=state.routing.replace(nodes=nodes),
        tally=state.tally.replace(
            right=jnp.array([3, 3, 2, 4]), seen=jnp.full(4, 8, jnp.int32)
        ),
    )
    selected = jax.jit(case.search.selected)
    after, champions, sound = selected(state, case.data)
    np.testing.assert_allclose(champions, [3 / 8, 4 / 8])
    assert sound
    # a tie keeps the champion, a better challenger takes its place
    assert after.routing.nodes[:, 0].tolist() == [nodes[0, 0], nodes[1, 1]]
    for name in ("merge", "heads"):
        old, new = params[name], after.params[name]
        for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
            np.testing.assert_array_equal(b[0::2], jnp.stack([a[0], a[3]]))
    assert_same_bits(after.params["layers"], params["layers"])
    assert after.tallied["replaced"] == 1
    # nor can one win that is not finite, or a task be without a champion
    tally = state.tally.replace(finite=jnp.array([True, True, True, False]))
    after, champions, sound = selected(state.replace(tally=tally), case.data)
    np.testing.assert_allclose(champions, [3 / 8, 2 / 8])
    assert sound
    tally = state.tally.replace(finite=jnp.array([False, False, True, True]))
    assert not selected(state.replace(tally=tally), case.data)[2]


@pytest.fixture(scope="module")
def propose(case):
    return jax.jit(case.search.proposed)


def test_challengers_without_room_stay_copies_and_make_room(case, propose):
    search, state = case.search, case.init()
    grown = propose(jax.random.key(2), state, case.rates)
    assert (grown.routing.nodes[:, 1] == grown.routing.nodes[:, 0] + 1).all()
    assert grown.tallied["crowded"] == 0
    chains = np.asarray(search.needs(jax.tree.map(lambda x: x, state.network)))[:-1]
    full = state.replace(rows=tuple(int(r) for r in chains))
    crowded = propose(jax.random.key(2), full, case.rates)
    assert crowded.tallied["crowded"] == TASKS
    assert_same_bits(
        jax.tree.map(lambda x: x[:, 1], crowded.routing),
        jax.tree.map(lambda x: x[:, 0], crowded.routing),
    )
    assert same_bits(crowded.params["merge"][1::2], crowded.params["merge"][::2])
    wished = np.asarray(crowded.assembled.needs)[:-1]
    assert (wished >= chains).all()
    assert (wished > chains).any()
    assert (np.asarray(search.grow(crowded).rows) >= wished).all()


def test_the_best_sets_go_on_from_turn_to_turn_without_decay(case, span):
    search = case.search
    state, _ = case.run(0, 2)
    turn = span * search.bouts
    after, _ = case.advance(search.grow(state), stop=turn)
    later, metrics = case.advance(after, start=turn, stop=turn + span)
    assert metrics["final_training"] == 1
    assert_same_bits(later.network, after.network)
    assert (later.routing.nodes[:, 0] >= after.routing.nodes[:, 0]).all()
    count = jax.tree.leaves(later.optimizer)[0]
    assert count == (search.bouts + 1) * search.config.iterations
    first = search.first_final(later)
    turns = [search.turns.at(later.generation, first, jnp.int32(n), 0) for n in (0, 2)]
    rates = [
        search._learning_rate(later, case.rates, own, jnp.int32(i))
        for own, i in zip((*turns, turns[0]), (0, 9, 9), strict=True)
    ]
    assert len({float(rate) for rate in rates}) == 1


def test_a_set_that_fails_is_the_worst_and_not_the_end(case):
    state = case.init()
    table = dict(state.assembled.network.table)
    table["learning_rate"] = table["learning_rate"].at[1].set(np.float32(1e38))
    sets = state.assembled.network.replace(table=table)
    spoilt = state.replace(assembled=state.assembled.replace(network=sets))
    state, metrics = case.advance(spoilt)
    assert metrics["nonfinite"] == 1
    assert metrics["least_fitness"] == 0
    assert metrics["mean_validation"] > 0
    assert np.isfinite(metrics["loss"])
    _, metrics = case.advance(case.search.grow(state))
    assert metrics["nonfinite"] == 0


def test_the_result_is_described_and_drawn(case):
    state, _ = case.run()
    found = case.search.describe(jax.device_get(state))
    assert [network["name"] for network in found["networks"]] == list(case.data.names)
    assert len(found["modules"]) == case.search.config.depth
    kept = state.best
    for t, network in enumerate(found["networks"]):
        assert len(network["nodes"]) == kept.routing.nodes[t, 0]
        assert draw(network).count("<rect") == len(network["nodes"])
        into = {}
        for edge in network["edges"]:
            total = into.get(edge["target"], 0) + edge["weight"]
            into[edge["target"]] = total
        np.testing.assert_allclose(list(into.values()), 1, rtol=1e-5)
    weights = 0
    for k, module in enumerate(found["modules"]):
        draw(module)
        assert module["name"] == f"module M{k + 1}"
        layers = module["nodes"][2:]
        width = layers[-1]["filters"]
        for layer in layers:
            joined = [
                e["source"] for e in module["edges"] if e["target"] == layer["id"]
            ]
            made = {node["id"]: node.get("filters", width) for node in layers}
            inputs = max(made.get(source, width) for source in joined)
            weights += layer["filters"] * (layer["kernel"] ** 2 * inputs + 1)
    heads = [np.asarray(x)[::2].size for x in jax.tree.leaves(kept.params["heads"])]
    merges = [[e["target"] for e in network["edges"]] for network in found["networks"]]
    scales = sum(into.count(node) > 1 for into in merges for node in into)
    assert found["parameters"] == weights + sum(heads) + scales


def test_the_kept_system_is_measured_as_it_was_kept(case):
    assert_measured_as_kept(case)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("meta-iterations", "0", "must be at least 1"),
        ("alpha", "1.5", "below 1"),
        ("modules", "2", "must be at least"),
        ("sharing", "off", "unknown"),
    ],
)
def test_impossible_choices_are_one_clear_line(field, value, words, refused):
    error = refused(["run", "cmtr", "--scale", "smoke", f"--{field}", value])
    assert f"--{field}" in error
    assert words in error
