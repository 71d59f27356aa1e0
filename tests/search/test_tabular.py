"""Searches on tables: what each does, against closed forms and plain rules."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evaluation.table_predictor import Log, fit, predict
from evojax_mtl.evaluation.tabular import (
    NOTHING,
    directions,
    look_up,
    no_archive,
    table_data,
)
from evojax_mtl.evolution.tabular import best_of, fittest, mutant, tournament
from evojax_mtl.search.emt_nas_tabular import EMTNASTable
from evojax_mtl.search.gcn_predictor import GCNPredictorSearch
from evojax_mtl.search.ktnas import KTNAS
from evojax_mtl.search.local_search import LocalSearch
from evojax_mtl.search.mtnas import MTNAS
from evojax_mtl.search.random_search import RandomSearch
from evojax_mtl.search.rea import REA
from evojax_mtl.search.weaknas import WeakNAS
from evojax_mtl.search.zero_cost import ZeroCost
from evojax_mtl.tabular_configs import (
    EMTNASTableConfig,
    GCNPredictorConfig,
    KTNASConfig,
    LocalSearchConfig,
    MTNASConfig,
    RandomSearchConfig,
    REAConfig,
    WeakNASConfig,
    ZeroCostConfig,
)
from evojax_mtl.tasks.sources import load_tasks
from evojax_mtl.tasks.tabular import Space, TableTask, product_genes

KEYS = jax.random.split(jax.random.key(0), 4000)


def small_space():
    genes = product_genes((3, 3, 3))
    strings = tuple("".join(map(str, row)) for row in genes.tolist())
    return Space("small", genes, (3, 3, 3), strings, ("a", "b", "c"))


@cache
def targeted(tasks):
    """27 architectures on related tasks, all values different."""
    space, rng = small_space(), np.random.default_rng(0)
    common = rng.normal(size=27)
    tables = []
    for t in range(tasks):
        value = common + rng.normal(0, 0.3, 27)
        ones = np.ones(27)
        tables.append(TableTask(f"t{t}", space, value, -value, "accuracy", ones, ones))
    vectors = np.eye(3)[space.genes].reshape(27, -1)
    best = np.array([np.float32(t.validation.max()) for t in tables])
    proxy = np.stack([rng.random(27) for _ in tables])
    return table_data(tables, proxy, vectors, best)


def small_data(targets=True, tasks=2):
    """The same tables every time, so that one program runs over all of them."""
    data = targeted(tasks)
    return data if targets else data.replace(target=jnp.full_like(data.target, jnp.inf))


@cache
def program(kind, config):
    """A search, and the one program of its whole runs."""
    search = kind(config, small_data())
    return search, jax.jit(search.run)


def reached(search, data, keys):
    """Evaluations of each search and task until the target."""
    rates = search.hyperparameters()
    run = jax.jit(jax.vmap(lambda key: search.run_to_target(key, rates, data).archive))
    archive = jax.tree.map(np.asarray, run(keys))
    assert (archive.fitness >= np.asarray(data.target)).all()
    return archive.spent


def test_random_search_needs_what_the_closed_form_says():
    data = small_data()
    search = RandomSearch(RandomSearchConfig(generations=27, batch=1), data)
    spent = reached(search, data, KEYS)
    error = spent.std() / np.sqrt(spent.size)
    assert abs(spent.mean() - (27 + 1) / 2) < 3 * error
    assert sorted(set(spent.ravel())) == list(range(1, 28))


def test_batches_count_up_to_the_target_only():
    data = small_data()
    search = RandomSearch(RandomSearchConfig(generations=6, batch=5), data)
    one = RandomSearch(RandomSearchConfig(generations=27, batch=1), data)
    few = KEYS[:50]
    alone = reached(one, data, few)
    assert alone.mean() == pytest.approx(reached(search, data, few).mean(), rel=0.2)


SEARCHES = [
    (RandomSearch, RandomSearchConfig(generations=3, batch=4)),
    (REA, REAConfig(generations=30, population=4, tournament=2)),
    (LocalSearch, LocalSearchConfig(generations=30, beam=8)),
    (MTNAS, MTNASConfig(generations=60, population=4, tournament=2, turn=3)),
    (EMTNASTable, EMTNASTableConfig(generations=20, population=5)),
    (KTNAS, KTNASConfig(generations=20, population=5, transferred=2, tournament=3)),
    (
        KTNAS,
        KTNASConfig(
            generations=20,
            population=5,
            transferred=2,
            tournament=3,
            predictor="on",
            evaluated=2,
            remembered=8,
        ),
    ),
    (
        WeakNAS,
        WeakNASConfig(generations=9, initial=4, batch=3, top=5, steps=5, remembered=8),
    ),
    (ZeroCost, ZeroCostConfig(generations=7, batch=4)),
]


@pytest.mark.parametrize(("kind", "config"), SEARCHES)
def test_what_was_spent_is_what_was_seen(kind, config):
    data = small_data(targets=False)
    search, run = program(kind, config)
    state, metrics = run(jax.random.key(1), search.hyperparameters(), data)
    archive = state.archive
    assert archive.spent.tolist() == archive.seen.every().sum(1).tolist()
    assert metrics["evaluations"].sum() == archive.spent.sum()
    known = np.where(archive.seen.every(), data.validation, -np.inf)
    np.testing.assert_array_equal(archive.fitness, known.max(1))
    np.testing.assert_array_equal(archive.best, known.argmax(1))
    assert (np.diff(metrics["validation"], axis=0) >= 0).all()
    tested = search.test(state, search.hyperparameters(), data)
    np.testing.assert_array_equal(tested, -archive.fitness)


@pytest.mark.parametrize(("kind", "config"), SEARCHES[1:])
def test_targets_end_tasks(kind, config):
    data = small_data()
    search, run = program(kind, config)
    _, metrics = run(jax.random.key(2), search.hyperparameters(), data)
    found = np.asarray(metrics["validation"]) >= np.asarray(data.target)
    spent = np.asarray(metrics["spent"])
    for t in range(2):
        after = spent[found[:, t], t]
        assert len(set(after)) <= 1
    assert (spent[-1] <= 27).all()


def test_look_up_stops_at_the_target_and_counts_nothing_twice():
    data = small_data()
    best = int(np.asarray(data.validation[0]).argmax())
    others = [r for r in range(27) if r != best][:3]
    archive = no_archive(data, jnp.zeros(2, jnp.int32))
    row = [others[0], others[0], NOTHING, others[1], best, others[2]]
    archive, fitness = look_up(archive, data, jnp.array([row, [NOTHING] * 6]))
    assert archive.spent.tolist() == [3, 0]
    assert fitness[0, 5] == -jnp.inf
    assert not archive.seen.every()[0, others[2]]
    assert archive.best[0] == best
    assert (fitness[1] == -jnp.inf).all()
    again, _ = look_up(archive, data, jnp.array([[others[2]] * 6, [1] * 6]))
    assert again.spent.tolist() == [3, 1]


@pytest.mark.parametrize(("kind", "config"), SEARCHES[1:])
def test_budgets_end_tasks(kind, config):
    free = small_data(targets=False)
    data = free.replace(budget=jnp.asarray(9, jnp.int32))
    search, run = program(kind, config)
    state, metrics = run(jax.random.key(5), search.hyperparameters(), data)
    assert state.archive.spent.tolist() == [9, 9]
    assert state.archive.seen.every().sum(1).tolist() == [9, 9]
    # up to there it is the search without a budget
    _, unlimited = run(jax.random.key(5), search.hyperparameters(), free)
    same = np.asarray((unlimited["spent"] <= 9).all(1))
    np.testing.assert_array_equal(
        np.asarray(metrics["validation"])[same],
        np.asarray(unlimited["validation"])[same],
    )


def test_directions_keep_cosines_in_fewer_dimensions():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 64))
    found = directions(vectors)
    assert found.shape == (40, 5)
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ vectors.T / np.outer(lengths, lengths)
    np.testing.assert_allclose(found @ found.T, cosines, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_tournaments_draw_each_subset_as_often(size):
    fitness = np.array([2.0, 4.0, 1.0, 3.0], np.float32)
    chance = (jnp.arange(1200) + 0.5) / 1200
    won = jax.vmap(lambda c: tournament(c, jnp.asarray(fitness), size))(chance)
    subsets = list(itertools.combinations(range(4), size))
    expected = [max(own, key=lambda i: fitness[i]) for own in subsets]
    np.testing.assert_allclose(
        np.bincount(won, minlength=4) / 1200,
        np.bincount(expected, minlength=4) / len(subsets),
        atol=2e-3,
    )


def test_mutants_are_new_neighbours_each_as_likely():
    near = jnp.array([5, 6, -1, 8, 9])
    seen = jnp.array([False, True, False, False, True])
    chance = jax.random.uniform(jax.random.key(1), (3000,))
    found = np.asarray(jax.vmap(lambda c: mutant(c, near, seen))(chance))
    assert set(found) == {5, 8}
    assert np.mean(found == 5) == pytest.approx(0.5, abs=0.04)
    used = jax.vmap(lambda c: mutant(c, near, jnp.ones(5, bool)))(chance)
    assert set(np.asarray(used)) == {5, 6, 8, 9}


def test_the_best_of_those_allowed():
    score = jnp.array([9.0, 3.0, 5.0, 5.0])
    allowed = jnp.array([False, True, True, True])
    chance = jax.random.uniform(jax.random.key(2), (400,))
    found = np.asarray(jax.vmap(lambda c: best_of(c, score, allowed))(chance))
    assert set(found) == {2, 3}


def test_fittest_ranks_as_a_stable_sort():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, 12).astype(np.float32)
    rows, kept, place = fittest(jnp.arange(12), jnp.asarray(values), 7)
    order = np.argsort(-values, kind="stable")
    np.testing.assert_array_equal(rows, order[:7])
    np.testing.assert_array_equal(kept, values[order[:7]])
    np.testing.assert_array_equal(np.asarray(place)[order], np.arange(12))


def test_ktnas_transfers_from_other_tasks_and_never_evaluates_it():
    data = small_data(targets=False, tasks=3)
    config = KTNASConfig(population=4, transferred=3, tournament=2, screened=0)
    search = KTNAS(config, data)
    rates = search.hyperparameters()
    state, _ = search.step(search.init(jax.random.key(0), rates, data), rates, data)
    for _ in range(3):
        before = np.asarray(state.own.rows)
        seen = np.asarray(state.archive.seen.every())
        state, _ = search.step(state, rates, data)
        for t in range(3):
            others = np.delete(before, t, axis=0)
            moved = np.asarray(state.own.transferred[t])
            assert np.isin(moved, others).all()
            new = np.flatnonzero(np.asarray(state.archive.seen.every()[t]) & ~seen[t])
            near = np.asarray(data.neighbours)[before[t]]
            assert np.isin(new, near).all()


@pytest.mark.parametrize("predictor", ["off", "on"])
def test_ktnas_goes_on_where_all_neighbours_were_seen(predictor):
    """All of a population's neighbourhoods but the optimum are used up."""
    data = small_data(targets=False)
    evaluated = None if predictor == "off" else 1
    config = KTNASConfig(
        generations=150,
        population=2,
        transferred=1,
        tournament=1,
        predictor=predictor,
        evaluated=evaluated,
        remembered=8,
    )
    search = KTNAS(config, data)
    run = jax.jit(search.run)
    state, _ = run(jax.random.key(0), search.hyperparameters(), data)
    assert state.archive.seen.every().all()


def test_the_predictor_is_a_gaussian_process():
    gaussian_process = pytest.importorskip("sklearn.gaussian_process")
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    data = small_data(targets=False)
    rates = {"steepness": 2.0, "relation": 1.0, "noise": 0.2, "trust": 0.0}
    rows = np.array([[3, 9, 20, NOTHING], [5, 6, 26, 11]])
    fitness = np.where(
        rows < 0,
        -np.inf,
        np.take_along_axis(np.asarray(data.validation), np.maximum(rows, 0), 1),
    ).astype(np.float32)
    fitted = fit(Log(jnp.asarray(rows), jnp.asarray(fitness)), data, rates)
    found = predict(fitted, jnp.asarray(0), jnp.arange(27), data, rates)
    there = rows >= 0
    target = np.concatenate(
        [
            1 - 2 * np.argsort(np.argsort(-own[here])) / (here.sum() - 1)
            for own, here in zip(fitness, there, strict=True)
        ]
    )
    genes = small_space().genes
    steep = 2.0 / float(data.spread) / 3  # a differing gene is a third of the distance

    class Hamming(kernels.ConstantKernel):
        def __call__(self, X, Y=None, eval_gradient=False):
            Y = X if Y is None else Y
            return np.exp(-steep * (X[:, None] != Y).sum(-1))

    process = gaussian_process.GaussianProcessRegressor(
        Hamming(1.0, "fixed"), alpha=0.2, optimizer=None
    )
    process.fit(genes[rows[there]], target - target.mean())
    expected = target.mean() + process.predict(genes)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_without_a_second_task_there_is_nothing_to_transfer():
    from evojax_mtl.errors import UserError

    data = small_data(tasks=1)
    for kind, config in ((KTNAS, KTNASConfig()), (MTNAS, MTNASConfig())):
        with pytest.raises(UserError, match="found 1 task, must be at least 2"):
            kind(config, data)


def test_zero_cost_follows_the_proxy():
    data = small_data(targets=False)
    search = ZeroCost(ZeroCostConfig(generations=3, batch=4), data)
    own = np.asarray(search.begin(jax.random.key(0), {}, data))
    for order, proxy in zip(own, np.asarray(data.proxy), strict=True):
        np.testing.assert_array_equal(order[:27], np.argsort(-proxy))
    level = data.replace(proxy=jnp.round(data.proxy))
    first, again = (np.asarray(search.begin(key, {}, level)) for key in KEYS[:2])
    assert (np.diff(np.take_along_axis(level.proxy, first[:, :27], 1)) <= 0).all()
    assert (np.sort(first[:, :27]) == np.arange(27)).all()
    assert (first != again).any()


def test_weaknas_draws_from_the_top_by_its_predictor():
    data = small_data(targets=False)
    config = WeakNASConfig(initial=6, batch=2, top=5, steps=40)
    search = WeakNAS(config, data)
    rates = search.hyperparameters()
    step, propose = jax.jit(search.step), jax.jit(search.propose)
    state, _ = step(search.init(jax.random.key(0), rates, data), rates, data)
    assert state.archive.spent.tolist() == [6, 6]
    everyone = WeakNAS(WeakNASConfig(initial=6, batch=5, top=5, steps=40), data)
    best, _ = jax.jit(everyone.propose)(KEYS[0], state, rates, data)
    rows, _ = propose(KEYS[0], state, rates, data)
    for t in range(2):
        assert len(set(np.asarray(rows[t, :2]))) == 2
        assert set(np.asarray(rows[t, :2])) < set(np.asarray(best[t, :5]))
        assert not np.asarray(state.archive.seen.every()[t])[
            np.asarray(best[t, :5])
        ].any()
    assert (rows[:, 2:] == NOTHING).all()


def test_what_is_predicted_best_is_better_than_random():
    tables = load_tasks("nasbench-toy:2")
    data = table_data(tables)
    config = GCNPredictorConfig(initial=40, batch=10, steps=60)
    search = GCNPredictorSearch(config, data)
    rates = search.hyperparameters()
    step = jax.jit(search.step)
    state, first = step(search.init(jax.random.key(0), rates, data), rates, data)
    _, second = step(state, rates, data)
    assert (second["candidates_rank"] < 0.25 * first["candidates_rank"]).all()


def test_ktnas_screens_by_the_graph_convolutional_predictor():
    data = table_data(load_tasks("nasbench-toy:2"), vectors=np.ones((15625, 1)))
    sizes = {"population": 8, "transferred": 2, "evaluated": 3, "remembered": 20}
    rank = {}
    for predictor in ("off", "gcn"):
        evaluated = None if predictor == "off" else sizes["evaluated"]
        config = KTNASConfig(
            generations=4, **sizes | {"evaluated": evaluated}, predictor=predictor
        )
        search = KTNAS(config, data)
        rates = search.hyperparameters()
        run = jax.jit(jax.vmap(lambda key: search.run(key, rates, data)[0]))  # noqa: B023
        archive = run(KEYS[:3]).archive
        rows = np.asarray(archive.best)
        rank[predictor] = np.log(1 + np.asarray(data.order)[np.arange(2), rows]).mean()
        if predictor == "gcn":
            assert (archive.spent <= 8 + 2 + 3 * 3).all()
    assert rank["gcn"] < rank["off"]
