"""What every search method of the registry keeps to (``search.protocol.Search``)."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.search.protocol import Search
from tests.search.cases import (
    CLASSES,
    assert_same_bits,
    compiled,
    entry_of,
    found,
    labels,
    on_host,
    same_bits,
)

METHODS = labels()
LEARNING = {False: np.float32(0.01), True: np.float32(0.03)}
"""Learning rates that suit the easy problem, on other networks and on cells."""


@pytest.fixture(scope="module", params=METHODS)
def label(request):
    return request.param


@pytest.fixture(scope="module")
def case(label):
    return compiled(label)


def test_it_is_a_search_of_its_method(case, label):
    assert isinstance(case.search, Search)
    entry = entry_of(label)
    assert (entry.name, entry.config) == (case.search.method, type(case.search.config))


def test_it_can_be_tested_before_any_generation(case):
    accuracy = case.test(case.init())
    assert accuracy.shape == (case.data.tasks,)
    assert np.isfinite(accuracy).all()
    if entry_of(case.label).data != "scenes":
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
    case.assert_compiled()


def test_every_hyperparameter_acts_and_compiles_nothing(case, label):
    # another value must not be a constant of the program, nor be ignored
    # a look-up tells less than training does: whether a rate acts shows later on tables
    # and what MTNAS earned is forgotten in its third generation
    long = entry_of(label).data == "table" or case.search.method == "mtnas"
    generations = case.search.config.generations if long else 2
    begun = case.search.grow(case.run(0, 1)[0])

    def early(rates):
        """Most rates show in the first ticks of a second generation."""
        return case.advance(begun, rates, stop=2)[0]

    @cache
    def late(changed, seed):
        state, rates = case.init(seed), rates_with(changed)
        for _ in range(generations):
            state, _ = case.advance(case.search.grow(state), rates)
        return state

    def rates_with(changed):
        """The rates, the one of this number halved."""
        leaves, structure = jax.tree.flatten(case.rates)
        if changed is not None:
            leaves[changed] = (leaves[changed] / 2).astype(leaves[changed].dtype)
        return jax.tree.unflatten(structure, leaves)

    expected = early(case.rates)
    for i in range(len(jax.tree.leaves(case.rates))):
        if same_bits(early(rates_with(i)), expected):
            # where a rate decides what is drawn, not every seed draws near it
            seeds = range(8)
            assert any(
                not same_bits(late(i, seed), late(None, seed)) for seed in seeds
            ), rates_with(i)
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
        # a weak type would become a strong one when it is read back, and compile anew
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, False)


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


def random_networks(case, count):
    """Test metrics of networks that nothing has trained or chosen."""
    if entry_of(case.label).data != "table":
        return np.stack([case.test(case.init(seed)) for seed in range(count)])

    @jax.jit
    def scores(keys, rates, data):
        def one(key):
            return case.search.test(case.search.init(key, rates, data), rates, data)

        return jax.lax.map(one, keys)

    keys = jax.vmap(jax.random.key)(jnp.arange(count))
    return np.asarray(scores(keys, case.rates, case.data))


def learning_rates(case):
    """Rates that suit the easy problem; few steps teach cells more without dropout."""
    rates = dict(case.rates) | {"learning_rate": LEARNING[case.cells]}
    none = np.float32(0)
    return rates | ({"dropout": none, "drop_path": none} if case.cells else {})


def generation(case, state, rates):
    """A generation; of cells, whose training is noisy, with each mini-batch twice."""
    state = case.search.grow(state)
    if not case.cells:
        return case.advance(state, rates)
    phases = case.search.phases(case.data)
    begin, end = (dict(phases[:2])[name] for name in ("evolution", "training"))
    state, _ = case.advance(state, rates, stop=end)
    return case.advance(state, rates, start=begin)


def test_it_learns_more_than_the_best_of_random_networks(case):
    generations, rates = case.search.config.generations, learning_rates(case)
    reached, tested = [], []
    for seed in range(2 if case.cells else 1):
        state = case.init(seed)
        for _ in range(generations):
            state, metrics = generation(case, state, rates)
        # cells: the best of a generation is chosen by samples, the best so far is kept
        reached.append(metrics["kept" if case.cells else "validation"])
        tested.append(case.test(state))
    # as many random networks as were evaluated
    budget = int(metrics["evaluations"]) * generations
    random = random_networks(case, budget).mean(1)
    # of scenes: two shares, and an error of depth below 0
    least = 0.5 if entry_of(case.label).data == "scenes" else 0.8
    assert np.mean(reached) > least
    assert np.mean(tested) > max(least, 1.5 / CLASSES, *random)
