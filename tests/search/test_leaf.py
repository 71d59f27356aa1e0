"""LEAF's searches of architectures: what is selected for, and what is told of it."""

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evolution import neat
from evojax_mtl.runs.drawings import draw
from evojax_mtl.search.codeepneat_state import Measured
from evojax_mtl.search.leaf_hyperparameters import OPTIMIZERS
from evojax_mtl.tasks.dataset import VALIDATION
from tests.evolution.test_pareto import algorithm_2, algorithm_3
from tests.search.cases import compiled, data_of, entry_of, host


@pytest.fixture(scope="module", params=["leaf@architecture", "leaf@images"])
def case(request):
    return compiled(request.param)


def other(case, **changes):
    """The search with some fields changed; nothing is compiled."""
    config = dataclasses.replace(case.search.config, **changes)
    return type(case.search)(config, case.data)


class _SeenError(Exception):
    """Both populations were handed to NEAT."""


def selected(search, state, rates):
    """What NEAT is told of modules and of blueprints: fitness, and scores."""
    seen = []

    def evolve(key, config, rates, population, fitness, scores):
        seen.append((fitness, scores))
        if len(seen) == 2:
            raise _SeenError
        return population, mock.Mock()

    with mock.patch.object(neat, "evolve", evolve), pytest.raises(_SeenError):
        search.evolve(state.key, state, search.rates(rates))
    return seen


@pytest.mark.parametrize("by_secondary", [False, True])
def test_modules_and_blueprints_rank_by_algorithm_2(case, by_secondary):
    order = "secondary" if by_secondary else "primary"
    state = case.init()
    assembled = state.assembled.replace(
        fitness=jnp.array([0.9, 0.6, 0.8, 0.0]), cost=jnp.array([40.0, 10.0, 30.0, 5.0])
    )
    # who failed counts as the most costly too
    x, y = np.array([0.9, 0.6, 0.8, 0.0]), -np.array([40.0, 10.0, 30.0, 40.0])
    search = other(case, front_order=order)
    seen = selected(search, state.replace(assembled=assembled), case.rates)
    tables = np.asarray(assembled.table)
    chosen, uses = np.asarray(assembled.chosen), np.asarray(assembled.uses)
    species = np.asarray(state.modules.species)
    within = [(chosen == m) & uses for m in range(len(species))]
    groups = [
        (species, [np.flatnonzero(inside.any(1)) for inside in within]),
        (np.zeros(4, int), [np.flatnonzero(tables == q) for q in range(4)]),
    ]
    for (fitness, scores), (species, networks) in zip(seen, groups, strict=True):
        known = [m for m, own in enumerate(networks) if len(own)]
        assert len(known) >= 2
        for m in known:
            np.testing.assert_allclose(fitness[m], x[networks[m]].mean(), rtol=1e-6)
        for own in set(species[known].tolist()):
            members = [m for m in known if species[m] == own]
            means = [
                {m: values[networks[m]].mean() for m in members} for values in (x, y)
            ]
            expected = algorithm_2(members, *means, by_secondary)
            found = sorted(members, key=lambda m: -scores[m])
            assert found == expected


@pytest.mark.parametrize(("survivors", "keep"), [("elites", False), ("all", True)])
def test_who_survives_is_as_asked_in_both_populations(case, survivors, keep):
    search = other(case, survivors=survivors)
    assert (search.module_neat.keep, search.table_neat.keep) == (keep, keep)


def test_with_one_objective_fitness_alone_ranks(case):
    state = case.init()
    search = other(case, objective="single")
    assert all(scores is None for _, scores in selected(search, state, case.rates))


def test_the_front_is_algorithm_3_over_all_networks(case):
    state, fitness, cost = case.init(), [], []
    for _ in range(2):
        last, _ = case.advance(state, stop=case.ticks - 1)
        fitness += last.assembled.fitness[:-1].tolist()
        cost += last.assembled.cost[:-1].tolist()
        assert (last.assembled.cost > 0).all()
        expected = algorithm_3(range(len(cost)), fitness, [-c for c in cost])
        if not state.generation:
            found = last.front
            members = np.flatnonzero(found.there)
            assert sorted(found.primary[members].tolist()) == sorted(
                fitness[i] for i in expected
            )
            assert sorted((-found.secondary[members]).tolist()) == sorted(
                cost[i] for i in expected
            )
        state, metrics = case.advance(state)
        told = np.asarray(metrics["front_cost"]), metrics["front_validation"]
        count = np.isfinite(told[0]).sum()
        assert (np.diff(told[0][:count]) > 0).all()
        assert (np.diff(told[1][:count]) > 0).all()
        assert max(fitness) <= told[1][count - 1]
        assert 0 < metrics["hypervolume"] < 1


def test_a_network_that_fails_is_on_no_front(case):
    state = case.init()
    networks = state.assembled.network
    rate = networks.learning_rate.at[0].set(np.float32(1e38))
    networks = networks.replace(learning_rate=rate)
    spoilt = state.replace(assembled=state.assembled.replace(network=networks))
    span = case.ticks // case.search.config.networks
    after, metrics = case.advance(spoilt, stop=span)
    assert metrics["nonfinite"] == 1
    assert after.assembled.fitness[0] == 0
    assert not after.front.there.any()
    assert metrics["hypervolume"] == 0


def test_the_result_is_described_and_drawn(case):
    state, metrics = case.run()
    found = case.search.describe(jax.device_get(state))
    assert found["parameters"] == metrics["parameters"]
    assert found["optimizer"] in OPTIMIZERS
    best = int(case.search.final_state(state).network.preprocessing)
    assert found["preprocessing"] == tuple(case.search.ways)[best]
    assert [member["cost"] for member in found["front"]] == [
        member["parameters"] for member in found["front"]
    ]
    told = np.asarray(metrics["front_validation"])
    np.testing.assert_allclose(
        [member["validation"] for member in found["front"]],
        told[np.isfinite(told)],
        rtol=1e-6,
    )
    for graph in (*found["networks"], *found["modules"]):
        assert draw(graph).count("<rect") == len(graph["nodes"])


def test_the_best_is_measured_as_it_was_kept(case):
    state, metrics = case.run()
    data = case.data.only(VALIDATION)
    again = jax.jit(case.search.measure)(state, case.rates, data)
    np.testing.assert_allclose(again["score"], metrics["kept"], atol=1e-6)
    assert 0.5 < again["auroc"] <= 1


def preprocessing_of(search, whole):
    return np.asarray(search.table_neat.whole.decode(whole)["preprocessing"])


def test_blueprints_carry_the_preprocessing_and_mutate_it(case):
    search = case.search
    state, _ = case.run(0, 1)
    for now in (case.init(), state):
        whole = now.tables.graphs.whole
        genes = preprocessing_of(search, whole)
        assert len(set(genes.tolist())) > 1
        assembled = now.assembled
        np.testing.assert_array_equal(
            assembled.network.preprocessing, genes[assembled.table]
        )
    space = search.table_neat.whole
    mutated = preprocessing_of(search, space.mutate(state.key, whole, 1.0, 0.2))
    assert (mutated != genes).all()
    assert set(mutated.tolist()) <= set(range(len(search.ways)))


def test_a_fixed_preprocessing_is_that_of_all(case):
    name = list(case.search.ways)[1]
    search = other(case, preprocessing=name)
    space, key = search.table_neat.whole, jax.random.key(1)
    drawn = space.sample(key, (9,))
    for whole in (drawn, space.mutate(key, drawn, 1.0, 0.2)):
        assert not preprocessing_of(search, whole).any()
    model = search.model(search.no_rows, 0)
    assert model.preprocessing == search.preprocessing == (name,)


@pytest.mark.parametrize("method", ["cm", "cmsr", "cmtr"])
def test_searches_of_liang_2018_have_none(method):
    entry, data = entry_of(method), data_of(method).dataset(0)
    search = entry.load()(entry.configure("tiny"), data)
    genes = {gene.name for gene in search.table_neat.whole.genes}
    assert {"learning_rate", "width", "initializer"} <= genes
    assert not {"preprocessing", "optimizer"} & genes
    assert not search.model((0,), 0).preprocessing
    arguments = jax.random.key(0), host(search.hyperparameters()), data
    found = jax.eval_shape(search.init, *arguments).best.network
    network = found.chain if method == "cmtr" else found
    assert network.preprocessing is None


def test_operations_as_the_cost(case):
    search, state = other(case, secondary="flops"), case.init()
    network = jax.tree.map(lambda x: x[0], state.assembled.network)
    model = search.model(state.rows, state.weights)
    expected = 2 * model.multiply_adds(
        jax.tree.map(np.asarray, network), sum(search.classes)
    )
    assert search.cost(network) == expected < search.most()


def test_the_time_that_a_network_takes_as_its_cost(case):
    search, state = other(case, secondary="latency"), case.init()
    assert search.cost(state.network) == 0
    first = search.first_final(state)
    turn = search.turns.at(state.generation, first, jnp.int32(1), 0)

    def measured(state, data):
        fitness, cost = jnp.full(data.tasks, 0.5), search.priced(state, turn, data)
        return search.noted(
            state,
            Measured(state.network, fitness, fitness[0], jnp.array(True), cost, turn),
        )

    noted = jax.jit(measured)(state, case.data)
    taken = noted.assembled.cost[1]
    # of one of the examples of a batch
    assert 1 / (search.config.batch * case.data.tasks) <= taken < 1e6
    assert noted.front.there.sum() == 1
    assert noted.front.secondary[0] == -taken


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--objective", "single", "--front-order", "secondary"), "--front-order"),
        (("--secondary", "size"), "--secondary"),
        (("--fewest-units", "99"), "--fewest-units"),
        (("--strategy", "CMA_ES"), "--strategy"),
        (("--survivors", "all", "--truncation", "0"), "--truncation"),
        (("--search", "hyperparameters", "--modules", "5"), "--modules"),
        (("--preprocessing", "imagenet"), "--preprocessing"),
        (("--search", "hyperparameters", "--preprocessing", "x"), "--preprocessing"),
        (("--tasks", "digits", "--preprocessing", "unit"), "--preprocessing"),
        (("--search", "hyperparameters", "--secondary", "latency"), "--secondary"),
    ],
)
def test_impossible_choices_are_one_clear_line(words, told, refused):
    assert told in refused(["run", "leaf", "--scale", "smoke", *words])
