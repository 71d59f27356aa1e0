"""LEAF's search of hyperparameters, step by step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.leaf_configs import LEAFHyperparameterConfig
from evojax_mtl.networks.preprocessing import WORDS
from evojax_mtl.search.leaf_hyperparameters import (
    ACTIVATIONS,
    OPTIMIZERS,
    LEAFHyperparameters,
)
from evojax_mtl.tasks.dataset import VALIDATION
from tests.evolution.test_pareto import algorithm_3
from tests.search.cases import assert_same_bits, compiled, data_of

PLAIN = {
    "adam": optax.adam,
    "rmsprop": optax.rmsprop,
    "sgd": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
}


def standardized(vectors, there):
    """Each text by the mean and deviation of what is there."""
    found = jnp.where(there[..., None], vectors, jnp.nan)
    mean, deviation = (
        function(found, (-2, -1), keepdims=True)
        for function in (jnp.nanmean, jnp.nanstd)
    )
    return jnp.nan_to_num((found - mean) / deviation)


def unit(vectors, there):
    """Each word at length 1."""
    return jnp.nan_to_num(vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True))


READ = {"standardized": standardized, "unit": unit}


@pytest.fixture(scope="module")
def case():
    return compiled("leaf@hyperparameters")


def fitness(state):
    return np.where(state.failed, -np.inf, np.asarray(state.scores).mean(1))


def by_hand(case, individual):
    """Validation accuracies of one individual of generation 0, trained by optax."""
    search, data, state = case.search, case.data, case.init()
    values = state.values[individual]
    genes = jax.tree.map(lambda x: x.item(), search.space.decode(values))
    traits = search._traits(values)
    rate = float(case.rates["learning_rate"]) * genes["learning_rate_factor"]
    transformation = PLAIN[OPTIMIZERS[genes["optimizer"]]](rate)
    key = jax.random.fold_in(jax.random.fold_in(state.key, 0), individual)
    # what the network reads is preprocessed here
    network = dataclasses.replace(search.network, preprocessing=())

    def logits(params, tokens, key, rate):
        there = tokens > 0
        words = READ[tuple(WORDS)[genes["preprocessing"]]](data.vectors(tokens), there)
        return network.apply(network.units, params, traits, words, there, key, rate)

    def loss(params, batch, key):
        found = optax.softmax_cross_entropy_with_integer_labels(
            logits(params, batch.tokens, key, 1.0), batch.labels
        )
        kernels = [
            params["heads"]["kernel"],
            *(own["kernel"] for own in params["convolutions"]),
            *params["recurrent"][:2],
        ]
        squares = sum(jnp.sum(kernel**2) for kernel in kernels)
        return found.mean(1).sum() + genes["decay"] * squares

    @jax.jit
    def train(params, key):
        def step(carry, turn):
            params, moments = carry
            sample_key, drop_key = jax.random.split(jax.random.fold_in(key, turn))
            batch = data.sample(sample_key, search.config.batch)
            slopes = jax.grad(loss)(params, batch, drop_key)
            updates, moments = transformation.update(slopes, moments, params)
            return (optax.apply_updates(params, updates), moments), None

        start = params, transformation.init(params)
        (params, _), _ = jax.lax.scan(step, start, jnp.arange(search.trained))
        every = data.batch_at(VALIDATION, 0, data.split_sizes[VALIDATION])
        found = logits(params, every.tokens, key, 0.0).argmax(-1)
        return params, (found == every.labels).mean(1)

    return train(network.init(key, traits), key)


def test_an_individual_is_trained_as_its_table_says(case):
    values = case.search.space.decode(case.init().values)
    others = (values["optimizer"] != OPTIMIZERS.index("adam")) & (
        values["preprocessing"] != tuple(WORDS).index("none")
    )
    individual, state = int(np.flatnonzero(others)[0]), case.run(0, 1)[0]
    _, scores = by_hand(case, individual)
    np.testing.assert_allclose(state.scores[individual], scores, atol=1e-6)


def test_the_best_of_all_generations_is_the_result(case):
    first, _ = case.run(0, 1)
    second, metrics = case.run(0, 2)
    most = max(fitness(first).max(), fitness(second).max())
    np.testing.assert_allclose(second.best.scores.mean(), most, rtol=1e-6)
    np.testing.assert_array_equal(metrics["validation"], second.best.scores)
    np.testing.assert_allclose(metrics["best_of_generation"], fitness(second).max())
    genes = case.search.space.decode(second.best.values)
    assert_same_bits(second.best.genes, genes)


def test_the_front_of_all_networks_and_its_hypervolume(case):
    begun = case.init()
    state, metrics = case.run(0, 1)
    widths = np.asarray(case.search.space.decode(begun.values)["width"]).tolist()
    config, network = case.search.config, case.search.network
    accuracy = fitness(state).tolist()
    cost = [network.parameters(width) for width in widths]
    members = algorithm_3(range(len(cost)), accuracy, [-c for c in cost])[::-1]
    told = case.search.describe(jax.device_get(state))
    assert [entry["width"] for entry in told["front"]] == [widths[i] for i in members]
    assert [entry["cost"] for entry in told["front"]] == [cost[i] for i in members]
    most, area, before = np.log(network.parameters(config.units)), 0.0, 0.0
    for i in members:
        area += (accuracy[i] - before) * (1 - np.log(cost[i]) / most)
        before = accuracy[i]
    np.testing.assert_allclose(metrics["hypervolume"], area, rtol=1e-5)


def test_what_is_told_of_the_best(case):
    state, _ = case.run(0, 1)
    told = case.search.describe(jax.device_get(state))
    table = told["hyperparameters"]
    assert table["optimizer"] in OPTIMIZERS
    assert table["activation"] in ACTIVATIONS
    assert (
        table["preprocessing"] == tuple(WORDS)[int(state.best.genes["preprocessing"])]
    )
    assert told["parameters"] == case.search.network.parameters(table["width"])


def test_a_network_that_fails_is_the_worst_and_harms_no_other(case):
    each = case.ticks // case.search.config.population
    state, _ = case.advance(case.init(), stop=each + 5)
    broken = jax.tree.map(lambda x: x * jnp.nan, state.weights)
    state = state.replace(weights=broken)
    state, metrics = case.advance(state, start=each + 5)
    assert metrics["nonfinite"] == 1
    assert metrics["skipped_steps"] == case.search.trained - 5
    assert np.isfinite(metrics["loss"])
    expected, _ = case.run(0, 1)
    others = np.arange(case.search.config.population) != 1
    np.testing.assert_array_equal(state.scores[others], expected.scores[others])
    assert not state.scores[1].any()
    assert np.isfinite(state.values).all()


def test_networks_that_all_fail_do_not_end_the_search(case):
    rates = case.rates | {"learning_rate": np.float32(np.inf)}
    state, metrics = case.advance(case.init(), rates)
    assert metrics["nonfinite"] == metrics["evaluations"]
    assert metrics["hypervolume"] == 0
    state, metrics = case.advance(state)
    assert metrics["nonfinite"] == 0
    assert metrics["validation"].min() > 0


def search_of(**changes):
    config = LEAFHyperparameterConfig(
        **LEAFHyperparameterConfig.presets["tiny"] | changes
    )
    return LEAFHyperparameters(config, data_of("leaf@hyperparameters").dataset(0))


def test_a_fixed_preprocessing_is_that_of_all():
    search, key = search_of(preprocessing="unit"), jax.random.key(0)
    drawn = search.space.sample(key, (6,))
    for values in (drawn, search.space.mutate(key, drawn, 1.0, 0.2)):
        for own in values:
            genes = jax.device_get(search.space.decode(own))
            assert search.named(genes)["preprocessing"] == "unit"
    assert search.network.preprocessing == ("unit",)


@pytest.mark.parametrize(("survivors", "count"), [("elites", 1), ("all", 3)])
def test_with_two_objectives_the_smallest_of_equals_survive(survivors, count):
    search = search_of(objective="multi", survivors=survivors)
    data, rates = data_of("leaf@hyperparameters").dataset(0), search.hyperparameters()
    state = jax.jit(search.init)(jax.random.key(0), rates, data)
    strategy = state.strategy.replace(species=jnp.zeros_like(state.strategy.species))
    widths = search.space.decode(state.values)["width"]
    # the smallest but for one that failed
    failed = jnp.arange(len(widths)) == jnp.argmin(widths)
    scores = jnp.where(failed[:, None], 0, jnp.ones_like(state.scores))
    state = state.replace(strategy=strategy, scores=scores, failed=failed)
    calm = rates | {"mutate": 0.0, "crossover": 0.0}
    after = jax.jit(search._evolve)(calm, state)
    now = np.sort(search.space.decode(after.values)["width"])
    # fronts have one network each: the order is that of the widths
    left = np.sort(widths[~failed])
    assert now[0] == left[0]
    assert set(now.tolist()) <= set(left[: len(widths) // 2].tolist())
    # the first ones as they were, the others with another of every gene
    wild = jax.jit(search._evolve)(calm | {"mutate": 1.0}, state)
    before = {tuple(own) for own in state.values.tolist()}
    assert sum(tuple(own) in before for own in wild.values.tolist()) == count


@pytest.mark.parametrize("strategy", ["CMA_ES", "SimpleGA"])
def test_a_strategy_of_evosax_keeps_the_states_shapes(strategy):
    search = search_of(strategy=strategy)
    data, rates = data_of("leaf@hyperparameters").dataset(0), search.hyperparameters()
    assert list(rates) == ["learning_rate"]
    state = jax.eval_shape(search.init, jax.random.key(0), rates, data)
    after, _ = jax.eval_shape(search.step, state, rates, data)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"taps": 2}, "--taps: found 2, must be odd"),
        ({"fewest_units": 9}, "--fewest-units: found 9, must be at most the widest"),
        ({"species": 6}, "--population: found 6, must be at least 7"),
        (
            {"strategy": "CMA_ES", "objective": "multi"},
            "--objective: found multi with --strategy CMA_ES",
        ),
        (
            {"strategy": "CMA_ES", "truncation": 0.3},
            "--truncation: found 0.3 with --strategy CMA_ES, which has none",
        ),
        (
            {"strategy": "CMA_ES", "survivors": "all"},
            "--survivors: found all with --strategy CMA_ES, which has none",
        ),
        (
            {"survivors": "all", "truncation": 0.0},
            "--truncation: found 0.0 with --survivors all",
        ),
        ({"strategy": "CMA"}, "--strategy: unknown 'CMA', did you mean 'CMA_ES'"),
    ],
)
def test_what_does_not_fit(changes, message):
    with pytest.raises(UserError, match=message):
        search_of(**changes)
