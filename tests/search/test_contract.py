"""What every search method of the registry keeps to (``search.protocol.Search``)."""

import json
import subprocess
import sys
from collections import defaultdict
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.methods import METHODS
from evojax_mtl.runs.compilation import CompilationCounter
from evojax_mtl.search.protocol import Search
from tests.search.cases import (
    CLASSES,
    assert_close,
    assert_same_bits,
    comparable,
    compiled,
    found,
    on_host,
    pieces,
    same_bits,
    weights_and_metrics,
)
from tests.search.sharded import SEARCHES

LEARNING = defaultdict(
    lambda: {"learning_rate": np.float32(0.01)},
    {"emt-nas": {"learning_rate": np.float32(0.03)}},
)
"""Rates that suit the easy problem."""


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    """Each method's searches over 8 virtual devices, by another process meanwhile."""
    path = tmp_path_factory.mktemp("sharded") / "states.npz"
    command = [sys.executable, "-m", "tests.search.sharded", str(path), *METHODS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    @lru_cache
    def finished():
        _, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors
        return dict(np.load(path))

    yield finished
    process.kill()
    process.wait()


@pytest.fixture(scope="module", params=METHODS)
def case(request, population):
    return compiled(request.param)


def test_it_is_a_search_of_its_method(case, request):
    assert isinstance(case.search, Search)
    assert METHODS[case.search.method].config is type(case.search.config)


def test_it_can_be_tested_before_any_generation(case):
    accuracy = case.test(case.init())
    assert accuracy.shape == (case.data.tasks,)
    assert ((accuracy >= 0) & (accuracy <= 1)).all()


def test_metrics_are_flat_numbers_that_agree(case):
    _, metrics = case.run()
    assert all(np.ndim(x) <= 1 for x in metrics.values())
    assert metrics["validation"].shape == (case.data.tasks,)
    mean = metrics.get("mean_validation", np.mean(metrics["validation"]))
    np.testing.assert_allclose(mean, np.mean(metrics["validation"]), rtol=1e-6)
    assert metrics["evaluations"] >= 1


@pytest.mark.parametrize("cuts", [[1], [19, 20, 21]])
def test_a_generation_in_pieces_ends_with_the_same_bits(case, cuts):
    state = case.init()
    cuts = [c for c in cuts if c < case.ticks]
    if not cuts:
        pytest.skip("a generation has fewer ticks, and is cut after the first above")
    for start, stop in zip([0, *cuts], [*cuts, case.ticks], strict=True):
        state, metrics = case.advance(state, start=start, stop=stop)
    assert_same_bits((state, metrics), case.run(0, 1))


def test_the_same_key_gives_the_same_bits(case):
    state, metrics = case.advance(case.init(3))
    again, metrics_again = case.advance(case.init(3))
    assert_same_bits((state, metrics), (again, metrics_again))


def test_different_keys_give_different_searches(case):
    assert not same_bits(found(case.init(0)), found(case.init(1)))
    state, _ = case.advance(case.init(0))
    # on tables a first generation may be drawn by ``init``, as weights are
    on_table = not hasattr(state, "params")
    begun = case.init(5) if on_table else case.init(0)
    other, _ = case.advance(begun.replace(key=jax.random.key(5)))
    assert not same_bits(found(state), found(other))


def test_later_generations_compile_nothing(case):
    state, _ = case.run(0, 1)
    with CompilationCounter() as counter:
        for _ in range(2):
            state, _ = case.advance(case.search.grow(state))
        jax.block_until_ready(state)
    assert counter.requests == 0
    assert case.traces == 1


def test_every_hyperparameter_acts_and_compiles_nothing(case):
    # another value must not be a constant of the program, nor be ignored
    # a look-up tells less than training does: whether a rate acts shows later on tables
    tables = METHODS[case.search.method].data == "table"
    generations = case.search.config.generations if tables else 2

    def outcome(rates):
        state = case.init()
        for _ in range(generations):
            state, _ = case.advance(case.search.grow(state), rates)
        return state

    expected = outcome(case.rates)
    leaves, structure = jax.tree.flatten(case.rates)
    for i, leaf in enumerate(leaves):
        changed = [*leaves[:i], (leaf / 2).astype(leaf.dtype), *leaves[i + 1 :]]
        changed = jax.tree.unflatten(structure, changed)
        assert not same_bits(outcome(changed), expected), changed
    assert case.traces == 1


def poison(state, network):
    """The state with NaN among the weights of one network's decoder."""
    decoders = jax.tree.map(
        lambda x: x.at[network].set(jnp.nan), dict(state.params["decoders"])
    )
    return state.replace(params=dict(state.params) | {"decoders": decoders})


def test_non_finite_weights_harm_their_own_individual_alone(case):
    state, _ = case.run(0, 1)
    if not hasattr(state, "params"):
        pytest.skip("no weights: tables are checked when they are loaded")
    if "decoders" not in state.params:
        pytest.skip("individuals share their task's weights: has a test of its own")
    state = poison(state, 0)
    before = state.params
    state, metrics = case.advance(state)
    assert metrics["validation"][0] == 0
    assert metrics["validation"][1:].min() > 0
    assert metrics["nonfinite"] >= 1
    assert metrics["nonfinite"] < metrics["evaluations"]
    assert metrics["skipped_steps"] == 0
    shared = jax.tree.leaves(state.params["supernet"])
    assert all(np.isfinite(leaf).all() for leaf in shared)
    assert not same_bits(state.params["supernet"], before["supernet"])
    others = jax.tree.map(lambda x: x[-1], state.params["decoders"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(others))
    assert np.isfinite(metrics["loss"])
    state, metrics = case.advance(state)
    assert state.generation == 3


def test_capacities_describe_the_state_to_restore(case):
    state, _ = case.run()
    static = json.loads(json.dumps(case.search.static(state)))
    template = case.search.restore_template(static, case.rates, case.data)
    assert jax.tree.structure(template) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(template), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


def test_a_state_restored_from_the_host_goes_on_to_the_same_bits(case):
    state, _ = case.run(0, 1)
    static = case.search.static(state)
    template = case.search.restore_template(static, case.rates, case.data)
    restored = jax.tree.unflatten(jax.tree.structure(template), on_host(state))
    assert_same_bits(case.advance(restored), case.run(0, 2))
    assert case.traces == 1


def test_a_state_with_room_grows_into_itself(case):
    state, _ = case.run(0, 1)
    assert case.search.grow(state) is state


def test_it_learns_more_than_the_best_of_random_networks(case):
    generations = case.search.config.generations
    rates = dict(case.rates) | LEARNING[case.search.method]
    state = case.init()
    for _ in range(generations):
        state, metrics = case.advance(case.search.grow(state), rates)
    # as many random networks as were evaluated
    budget = int(metrics["evaluations"]) * generations
    random = [case.test(case.init(seed)).mean() for seed in range(budget)]
    # cells: the best of a generation is chosen by samples, the best so far is kept
    told = "kept" if case.search.method == "emt-nas" else "validation"
    assert np.mean(metrics[told]) > 0.8
    assert case.test(state).mean() > max(0.8, 1.5 / CLASSES, *random)


# relative and absolute: a step of cells enlarges what the order of sums changes
NEAR = 1e-3, 5e-4


def in_pieces(case, seed):
    state = case.init(seed)
    for start, stop in pieces(case.search, case.data):
        state, metrics = case.advance(state, start=start, stop=stop)
    return state, metrics


# not a test of the fixture ``case``, so that it comes last, when the population is done
@pytest.mark.parametrize("method", METHODS)
def test_searches_vmapped_and_spread_over_devices_equal_a_loop(method, population):
    stored = population()
    for seed in range(SEARCHES):
        case = compiled(method)
        outcome = comparable(case.search, *in_pieces(case, seed))
        mine = {f"{method}/{i}": leaf for i, leaf in enumerate(outcome)}
        near = NEAR if method == "emt-nas" else ()
        assert_close({k: stored[k][seed] for k in mine}, mine, *near)


@pytest.mark.parametrize(
    ("axis", "method"),
    [(axis, method) for method in METHODS for axis in METHODS[method].mesh_axes],
)
def test_one_search_on_two_devices_equals_one_device(axis, method, population):
    outcome = weights_and_metrics(*in_pieces(compiled(method), 0))
    mine = {f"{axis}/{method}/{i}": leaf for i, leaf in enumerate(outcome)}
    assert_close({k: population()[k] for k in mine}, mine, *NEAR)
