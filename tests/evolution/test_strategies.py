"""Strategies that evolve points of the unit cube."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evolution.neat import Rates
from evojax_mtl.evolution.strategies import find_strategy, names
from evojax_mtl.genomes.hyperparameters import Choice, Real, Space

SPACE = Space((Real("a", 0.0, 1.0), Real("b", 0.0, 1.0), Choice("c", (1, 2, 3))))
PEOPLE, GENERATIONS = 16, 25
RATES = Rates(add_node=0.0, add_connection=0.0)


def fitness(values):
    """1 at a = 0.2, b = 0.9 and the second option."""
    found = SPACE.decode(values)
    near = jnp.abs(found["a"] - 0.2) + jnp.abs(found["b"] - 0.9)
    return 1 - near - 0.5 * (found["c"] != 1)


def best_of(name, seed=0):
    """Best fitness of each generation, all of it one compiled program."""
    strategy = find_strategy(name, SPACE, PEOPLE, 2)

    @jax.jit
    def run(key):
        begin, *keys = jax.random.split(key, GENERATIONS + 1)
        state, values = strategy.init(begin, PEOPLE)

        def generation(carry, key):
            state, values = carry
            found = fitness(values)
            carry = strategy.evolve(key, RATES, state, values, found, None)
            return carry, found.max()

        return jax.lax.scan(generation, (state, values), jnp.stack(keys))[1]

    return np.asarray(run(jax.random.key(seed)))


@pytest.mark.parametrize("name", ["neat", "CMA_ES", "DifferentialEvolution"])
def test_it_finds_more_than_as_many_random_points(name):
    budget = PEOPLE * GENERATIONS
    random = np.median(
        [
            fitness(SPACE.sample(jax.random.key(seed), (budget,))).max()
            for seed in range(9)
        ]
    )
    found = best_of(name)
    assert found.max() > max(0.97, random)
    assert found[-1] > found[0]


def test_elites_of_neat_are_never_lost():
    assert (np.diff(best_of("neat", 1)) >= 0).all()


def test_with_two_objectives_species_rank_by_pareto_fronts():
    # of equal fitness the smallest is the elite, and as fit ones before it breed
    strategy = find_strategy("neat", SPACE, PEOPLE, 1)
    state, values = jax.jit(strategy.init, static_argnums=1)(jax.random.key(0), PEOPLE)
    state = state.replace(species=jnp.zeros(PEOPLE, jnp.int32))
    small, rates = -values[:, 0], RATES.replace(mutate=0.0, crossover=0.0)
    rates = rates.replace(truncation=0.95)
    evolve = jax.jit(strategy.evolve)
    key, equal = jax.random.key(1), jnp.ones(PEOPLE)
    _, after = evolve(key, rates, state, values, equal, small)
    kept = np.asarray(values)[np.argmax(small)]
    np.testing.assert_array_equal(after, np.tile(kept, (PEOPLE, 1)))


@pytest.mark.parametrize(
    ("name", "people", "message"),
    [
        ("CMAES", PEOPLE, "--strategy: unknown 'CMAES', did you mean 'CMA_ES'"),
        ("SV_CMA_ES", PEOPLE, "SV_CMA_ES, which cannot serve: it has several popu"),
        ("PersistentES", PEOPLE, "cannot serve: it is for problems that unroll"),
        ("Open_ES", 7, "--strategy: found Open_ES with a population of 7: "),
    ],
)
def test_a_strategy_that_cannot_serve(name, people, message):
    with pytest.raises(UserError, match=message):
        find_strategy(name, SPACE, people, 1)


def test_random_search_draws_from_the_cube():
    strategy = find_strategy("RandomSearch", SPACE, PEOPLE, 1)
    state, values = strategy.init(jax.random.key(0), PEOPLE)
    for seed in range(2):
        found = fitness(values)
        key = jax.random.key(seed)
        state, values = strategy.evolve(key, RATES, state, values, found, None)
        assert values.shape == (PEOPLE, SPACE.size)
        assert ((values >= 0) & (values <= 1)).all()
    assert names()[0] == "neat"
    assert "RandomSearch" in names()
