"""Tournaments among a population and those transferred to it."""

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.evolution import multifactorial, tournaments
from evojax_mtl.genomes.cells import random_cells

TASKS, COUNT, TRANSFERRED = 2, 5, 2
WIDTH = COUNT + TRANSFERRED


def mating(seed=0, crossover=1.0, children=COUNT):
    own = jnp.tile(jnp.arange(COUNT, dtype=jnp.float32), (TASKS, 1))
    fitness = jnp.pad(own, ((0, 0), (0, TRANSFERRED)), constant_values=jnp.inf)
    found = tournaments.mate(jax.random.key(seed), fitness, children, 2, crossover)
    return jax.tree.map(np.asarray, found)


def test_who_wins_a_tournament_of_two():
    # of W individuals the k-th best wins if it meets one of the W - k below it
    chance = jax.random.uniform(jax.random.key(0), (4000, 4))
    fitness = jnp.array([0.3, 0.1, 0.2, 0.4])
    won = jax.vmap(lambda c: tournaments.winner(c, fitness, 2))(chance)
    share = np.bincount(won, minlength=4) / len(won)
    np.testing.assert_allclose(share, [2 / 6, 0, 1 / 6, 3 / 6], atol=0.03)


def test_of_equal_fitness_each_is_as_likely():
    chance = jax.random.uniform(jax.random.key(1), (4000, 3))
    fitness = jnp.array([jnp.inf, 0.5, jnp.inf])
    won = jax.vmap(lambda c: tournaments.winner(c, fitness, 2))(chance)
    share = np.bincount(won, minlength=3) / len(won)
    np.testing.assert_allclose(share, [0.5, 0, 0.5], atol=0.03)


def test_children_come_in_pairs_of_their_own_task():
    found = mating()
    assert (found.parents // WIDTH == np.arange(TASKS)[:, None, None]).all()
    np.testing.assert_array_equal(found.pair, [[0, 0, 1, 1, 2], [3, 3, 4, 4, 5]])
    np.testing.assert_array_equal(found.parents[:, 0], found.parents[:, 1])
    own = np.take_along_axis(found.parents, found.child[..., None], -1)[..., 0]
    np.testing.assert_array_equal(found.mapped, own)
    assert found.crossed.all()
    assert not mating(crossover=0.0).crossed.any()


def test_children_are_of_the_blocks_of_their_parents():
    found = mating(3)
    pool = random_cells(jax.random.key(4), (TASKS, WIDTH))
    children = multifactorial.breed(jax.random.key(5), pool, found, 1.0, 0.0)
    flat = np.asarray(pool).reshape(-1, 2, 5, 4)
    for t in range(TASKS):
        for n in range(COUNT):
            a, b = (flat[k] for k in found.parents[t, n])
            child = np.asarray(children[t, n])
            of_a, of_b = (child == a).all(-1), (child == b).all(-1)
            assert (of_a | of_b).all()


def test_which_parents_were_transferred():
    found = mating(6, crossover=0.5)
    told = np.asarray(tournaments.transferred_parents(found, WIDTH, TRANSFERRED))
    assert (told != tournaments.NEITHER).any()
    for t in range(TASKS):
        for n in range(COUNT):
            parents = (
                found.parents[t, n] if found.crossed[t, n] else [found.mapped[t, n]]
            )
            expected = {k % WIDTH - COUNT for k in parents if k % WIDTH >= COUNT}
            assert set(told[t, n].tolist()) - {tournaments.NEITHER} == expected
