"""What MTNAS does on cells, part by part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evaluation.cell_synflow import log_synflow
from evojax_mtl.genomes.cells import neighbours, random_cells
from evojax_mtl.methods import method_on
from evojax_mtl.search.cell_state import CellState
from evojax_mtl.search.mtnas_cells import MTNASCells
from tests.search.cases import easy_data

TINY = method_on("mtnas", "digits").configure("tiny")
N, Q = TINY.population, TINY.kept


@pytest.fixture(scope="module")
def made():
    return MTNASCells(TINY, easy_data().dataset(0))


def state_of(made, **own):
    """A state of random parents in generation 1; what is trained is left out."""
    return CellState(
        key=(),
        generation=jnp.int32(1),
        system=(),
        kept=(),
        tally=(),
        candidates=(),
        parents=random_cells(jax.random.key(1), (2, N)),
        fitness=jnp.linspace(0.9, 0.4, N) + jnp.zeros((2, 1)),
        own=made.begin(jax.random.key(0)).replace(**own),
    )


@pytest.fixture(scope="module")
def propose(made):
    return jax.jit(made.propose)


def offered():
    """Three improvements of task 0, the second of the highest synflow."""
    genomes = random_cells(jax.random.key(2), (2, Q))
    flow = np.full((2, Q), -np.inf, np.float32)
    flow[0, :3] = 1.0, 5.0, 3.0
    return genomes, jnp.asarray(flow)


def test_a_task_takes_over_where_others_earn(made, propose):
    genomes, flow = offered()
    own = {"improvements": genomes, "flow": flow, "others": jnp.array([99.0, 99.0])}
    state = state_of(made, **own)
    rates = made.hyperparameters()
    candidates, told = propose(jax.random.key(0), rates, state)
    # task 1 takes; nothing is offered to task 0
    assert told.taken.tolist() == [False, True]
    assert told.transfers.tolist() == [0, 1]
    assert np.argwhere(told.used).tolist() == [[1, 0, 1]]
    source = np.asarray(genomes[0, 1])
    apart = (np.asarray(candidates[1]) != source).sum((1, 2, 3))
    assert apart.max() == 1
    # the best by synflow of it and its neighbours
    near = jnp.concatenate([source[None], neighbours(jnp.asarray(source))])
    every = np.asarray(jax.jit(log_synflow, static_argnums=1)(near, made.body))
    best = np.asarray(near)[np.argsort(-every, kind="stable")[:N]]
    np.testing.assert_array_equal(candidates[1], best)
    # at the next time another one, the second best
    state = state.replace(own=told, parents=state.parents.at[1].set(candidates[1]))
    again, told = propose(jax.random.key(0), rates, state)
    assert told.used[1, 0].tolist()[:4] == [False, True, True, False]
    held = (np.asarray(again[1])[:, None] == np.asarray(candidates[1])).all((2, 3, 4))
    assert not held.any()


def test_a_task_evolves_where_it_earns_itself(made, propose):
    genomes, flow = offered()
    own = {"improvements": genomes, "flow": flow, "own": jnp.array([99.0, 99.0])}
    state = state_of(made, **own)
    rates = made.hyperparameters() | {"mutation": 0.0}
    candidates, told = propose(jax.random.key(0), rates, state)
    assert not told.taken.any()
    blocks = {tuple(b) for b in np.asarray(state.parents[1]).reshape(-1, 4).tolist()}
    found = {tuple(b) for b in np.asarray(candidates[1]).reshape(-1, 4).tolist()}
    assert found <= blocks


def test_what_is_earned_is_forgotten_by_a_factor(made):
    learn = jax.jit(made.learn)
    state = state_of(made, own=jnp.array([1.0, 0.5]), others=jnp.array([2.0, 1.0]))
    rates = made.hyperparameters() | {"forgetting": 0.1}
    told = learn(rates, state, jnp.array([True, False]))
    np.testing.assert_allclose(told.own, [1.1, 0.05], rtol=1e-6)
    np.testing.assert_allclose(told.others, [0.2, 1.1], rtol=1e-6)
    np.testing.assert_array_equal(told.improvements[0, 0], state.parents[0, 0])
    assert np.isfinite(told.flow).tolist() == [[True] + [False] * (Q - 1), [False] * Q]
    # offered once, though it goes on improving
    again = learn(rates, state.replace(own=told), jnp.array([True, True]))
    assert np.isfinite(again.flow).sum(1).tolist() == [1, 1]
    # and in generation 0 nothing is earned
    first = learn(
        rates, state.replace(generation=jnp.int32(0)), jnp.array([True, True])
    )
    np.testing.assert_allclose(first.own, [0.1, 0.05], rtol=1e-6)
