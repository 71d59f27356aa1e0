"""What KTNAS does on cells, part by part (Zhang 2024, Algorithms 1 to 4)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.cell_configs import KTNASCellConfig
from evojax_mtl.errors import UserError
from evojax_mtl.evolution import transfer_rank as ranking
from evojax_mtl.evolution.tournaments import NEITHER
from evojax_mtl.genomes.cells import random_cells
from evojax_mtl.methods import method_on
from evojax_mtl.search.cell_state import CellState
from evojax_mtl.search.ktnas_cells import KTNASCells
from evojax_mtl.tasks.streaming import Resident
from tests.search.cases import easy_data, easy_task

TINY = method_on("ktnas", "digits").configure("tiny")
N, M = TINY.population, TINY.transferred


@pytest.fixture(scope="module")
def made():
    return KTNASCells(TINY, easy_data().dataset(0))


def state_of(made, generation):
    """A state of random parents; what is trained is left out."""
    parents = random_cells(jax.random.key(generation), (2, N))
    fitness = jnp.linspace(0.9, 0.4, N) + jnp.zeros((2, 1))
    return CellState(
        key=(),
        generation=jnp.int32(generation),
        system=(),
        tally=(),
        kept=(),
        candidates=(),
        parents=parents,
        fitness=fitness,
        own=made.begin(jax.random.key(0)),
    )


def transferred(made, keys, candidates, history):
    """What each key transfers."""
    return jax.jit(jax.vmap(made.transfer, (0, None, None)))(keys, candidates, history)


def test_generation_0_is_the_population_and_some_of_the_others(made):
    state = state_of(made, 0)
    rates = made.hyperparameters()
    candidates, own = jax.jit(made.propose)(jax.random.key(1), rates, state)
    np.testing.assert_array_equal(candidates[:, :N], state.parents)
    for t in range(2):
        others = np.asarray(state.parents[1 - t]).reshape(N, -1)
        for one in np.asarray(candidates[t, N:]).reshape(M, -1):
            assert (others == one).all(1).any()
    assert (own.parents[:, :N] == NEITHER).all()
    np.testing.assert_array_equal(own.parents[0, N:, 0], np.arange(M))


def test_later_children_are_of_the_population_and_those_transferred(made):
    state = state_of(made, 1)
    rates = made.hyperparameters() | {"mutation": 0.0}
    candidates, own = jax.jit(made.propose)(jax.random.key(1), rates, state)
    for t in range(2):
        pool = np.concatenate([state.parents[t], candidates[t, N:]])
        blocks = {tuple(b) for g in pool for b in g.reshape(-1, 4).tolist()}
        for child in np.asarray(candidates[t, :N]):
            assert {tuple(b) for b in child.reshape(-1, 4).tolist()} <= blocks
        # a child's transferred parents left it blocks, at the same place
        for n in range(N):
            for m in set(own.parents[t, n].tolist()) - {NEITHER}:
                same = np.asarray(candidates[t, n] == candidates[t, N + m]).all(-1)
                assert same.any()
    assert (own.parents[:, N:] == NEITHER).all()


def test_children_are_labelled_and_those_transferred_do_not_survive(made):
    candidates = random_cells(jax.random.key(9), (2, N + M))
    state = state_of(made, 1)
    origins = np.full((2, N + M, 2), NEITHER)
    # task 0: child 0 is of the first transferred, child 1 of the second
    origins[0, 0], origins[0, 1] = (NEITHER, 0), (1, 1)
    # task 1: child 0 is of both
    origins[1, 0] = 0, 1
    accuracy = np.zeros((2, N + M), np.float32)
    accuracy[0, 0], accuracy[0, 1], accuracy[1, 0] = 0.95, 0.1, 0.85
    # never measured, whatever stands there
    accuracy[:, N:] = 1.0
    own = state.own.replace(parents=jnp.asarray(origins))
    state = state.replace(candidates=candidates, own=own)
    rates = made.hyperparameters() | {"ranking_ratio": 0.3}
    chosen = jax.jit(made.select)(
        rates,
        state,
        jnp.asarray(accuracy),
        jnp.ones((2, N + M), bool),
    )
    # the best two of six are the top
    assert chosen.own.labels.tolist() == [[1, -1], [1, 1]]
    np.testing.assert_array_equal(chosen.own.history.rows[:, 0], candidates[:, N:])
    np.testing.assert_array_equal(chosen.own.history.labels[:, 0], chosen.own.labels)
    np.testing.assert_array_equal(chosen.parents[0, 0], candidates[0, 0])
    np.testing.assert_allclose(chosen.fitness[0], [0.95, *state.fitness[0, :-1]])
    np.testing.assert_array_equal(chosen.parents[1, 1], candidates[1, 0])
    assert chosen.fitness.max() < 1


def test_generation_0_labels_those_transferred_by_their_own_rank(made):
    candidates = random_cells(jax.random.key(9), (2, N + M))
    state = state_of(made, 0)
    origins = np.full((2, N + M, 2), NEITHER)
    origins[:, N:] = np.arange(M)[:, None]
    accuracy = np.tile(np.linspace(0.6, 0.1, N + M, dtype=np.float32), (2, 1))
    accuracy[0, N] = 0.7
    own = state.own.replace(parents=jnp.asarray(origins))
    finite = jnp.ones((2, N + M), bool).at[1, 0].set(False)
    chosen = jax.jit(made.select)(
        made.hyperparameters(),
        state.replace(candidates=candidates, own=own),
        jnp.asarray(accuracy),
        finite,
    )
    assert chosen.own.labels.tolist() == [[1, -1], [-1, -1]]
    # of all that were measured the best survive, and what is not finite does not
    np.testing.assert_array_equal(chosen.parents[0, 0], candidates[0, N])
    np.testing.assert_array_equal(chosen.parents[0, 1], candidates[0, 0])
    np.testing.assert_array_equal(chosen.parents[1], candidates[1, 1 : N + 1])


def test_transfer_follows_the_rank(made):
    candidates = random_cells(jax.random.key(2), (N,))
    history = ranking.no_history(5, M, (2, 5, 4))
    # what was transferred is the candidates themselves: each is its own nearest
    history = ranking.update(
        history, candidates[jnp.array([3, 1])], jnp.array([1, -1]), 5
    )
    keys = jax.random.split(jax.random.key(3), 200)
    chosen = transferred(made, keys, candidates, history)
    flat = np.asarray(candidates).reshape(N, -1)
    found = np.asarray(chosen).reshape(-1, M, 40)
    number = (found[:, :, None] == flat).all(-1).argmax(-1)
    assert (number[:, 0] == 3).all()
    share = np.bincount(number[:, 1], minlength=N) / len(number)
    assert share[1] == share[3] == 0
    np.testing.assert_allclose(share[[0, 2, 4, 5]], 0.25, atol=0.1)


def test_without_transfer_rank_everyone_is_as_likely():
    config = dataclasses.replace(TINY, selection="random")
    made = KTNASCells(config, easy_data().dataset(0))
    candidates = random_cells(jax.random.key(2), (N,))
    history = ranking.no_history(5, M, (2, 5, 4))
    history = ranking.update(history, candidates[:2], jnp.array([-1, -1]), 5)
    keys = jax.random.split(jax.random.key(3), 300)
    chosen = transferred(made, keys, candidates, history)
    flat = np.asarray(candidates).reshape(N, -1)
    number = (np.asarray(chosen).reshape(-1, 1, 40) == flat).all(-1).argmax(-1)
    share = np.bincount(number, minlength=N) / len(number)
    np.testing.assert_allclose(share, 1 / N, atol=0.05)


def test_generation_0_alone_measures_those_transferred(made):
    data = easy_data().dataset(0)
    (_, trained), (_, evaluated) = made.phases(data)[1:3]
    assert evaluated - trained == 2 * (N + M)


def test_a_single_task_has_nothing_to_transfer():
    with pytest.raises(UserError, match="ktnas: found 1 task, must be at least 2"):
        KTNASCells(TINY, Resident([easy_task(0)]).dataset(0))


def test_the_published_setting_is_the_default():
    paper = method_on("ktnas", "digits").configure("paper")
    assert paper == KTNASCellConfig()
    # Table I, the DARTS column
    assert (paper.population, paper.tournament, paper.crossover) == (20, 2, 1.0)
    assert (paper.mutation, paper.ranking_ratio) == (0.02, 0.2)
    assert (paper.saved_generations, paper.transferred) == (5, 4)


def test_more_than_the_population_cannot_be_transferred():
    with pytest.raises(UserError, match="--transferred: found 21, must be at most"):
        KTNASCellConfig(transferred=21)
