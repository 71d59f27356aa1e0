"""Strategies that evolve points of the unit cube."""

from functools import lru_cache

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


@lru_cache
def search(name):
    """Best fitness of each generation by a key, all of it one compiled program."""
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

    return run


@pytest.mark.parametrize("name", ["neat", "CMA_ES", "DifferentialEvolution"])
def test_it_finds_more_than_as_many_random_points(name):
    budget = PEOPLE * GENERATIONS
    random = fitness(SPACE.sample(jax.random.key(1), (budget,))).max()
    found = np.asarray(search(name)(jax.random.key(0)))
    assert found.max() > max(0.97, float(random))
    assert found[-1] > found[0]


def test_elites_of_neat_are_never_lost():
    for seed in range(3):
        best = np.asarray(search("neat")(jax.random.key(seed)))
        assert (np.diff(best) >= 0).all()


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
