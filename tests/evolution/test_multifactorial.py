"""Multifactorial evolution: who mates, what is inherited, who survives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evolution import multifactorial
from evojax_mtl.genomes import cells

TASKS, COUNT = 2, 6


def mating(seed=0, random_mating=0.3, fitness=None):
    fitness = np.linspace(0.1, 1, TASKS * COUNT) if fitness is None else fitness
    fitness = jnp.asarray(fitness, jnp.float32).reshape(TASKS, COUNT)
    return jax.tree.map(
        np.asarray,
        jax.jit(multifactorial.mate)(jax.random.key(seed), fitness, random_mating),
    )


def test_roulette_normalises_within_each_task():
    fitness = jnp.array([[1.0, 3.0], [10.0, 10.0], [0.0, -1.0]])
    expected = np.array([0.25, 0.75, 0.5, 0.5, 0.5, 0.5]) / 3
    np.testing.assert_allclose(multifactorial.roulette(fitness), expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_children_of_one_task_cross_and_those_of_two_do_so_by_chance(seed):
    never, always = mating(seed, 0.0), mating(seed, 1.0)
    for found, crossing in ((never, False), (always, True)):
        task = np.arange(TASKS)[:, None]
        own = found.parents // COUNT
        mixed = own[..., 0] != own[..., 1]
        np.testing.assert_array_equal(found.crossed, ~mixed | crossing)
        np.testing.assert_array_equal(found.mapped // COUNT, task + 0 * found.mapped)
        # every pair has both its children, in one task each where it has two
        for pair in np.unique(found.pair):
            here = np.argwhere(found.pair == pair)
            assert len(here) == 2
            assert sorted(found.child[tuple(h)] for h in here) == [0, 1]
            if mixed[tuple(here[0])]:
                assert {h[0] for h in here} == {0, 1}
        of_parent = np.take_along_axis(found.parents, found.child[..., None], -1)[
            ..., 0
        ]
        kept = of_parent[~mixed]
        np.testing.assert_array_equal(found.mapped[~mixed], kept)
        if not crossing:
            np.testing.assert_array_equal(found.mapped, of_parent)


def test_two_tasks_go_to_the_children_of_both_by_a_fair_coin():
    kept = swapped = 0
    for seed in range(40):
        found = mating(seed, 1.0)
        own = found.parents // COUNT
        mixed = own[..., 0] != own[..., 1]
        inherited = np.take_along_axis(own, found.child[..., None], -1)[..., 0]
        same = inherited == np.arange(TASKS)[:, None]
        kept += np.sum(same & mixed)
        swapped += np.sum(~same & mixed)
    assert 0.35 < kept / (kept + swapped) < 0.65


def test_fitter_parents_are_drawn_in_proportion():
    fitness = np.tile([1.0, 1, 1, 1, 1, 5], TASKS)
    drawn = np.concatenate([mating(s, 0.3, fitness).parents for s in range(60)])
    share = np.mean(drawn % COUNT == COUNT - 1)
    assert share == pytest.approx(0.5, abs=0.06)


def test_room_that_no_pair_fits_is_filled_within_the_task():
    fitness = jnp.ones((1, 3))
    found = jax.jit(multifactorial.mate)(jax.random.key(0), fitness, 0.3)
    assert (np.asarray(found.pair) >= 0).all()
    assert not np.asarray(found.crossed)[0, 2]


def test_children_have_whole_blocks_of_their_parents():
    found = mating(1, 1.0)
    population = cells.random_cells(jax.random.key(3), (TASKS, COUNT))
    bred = jax.jit(multifactorial.breed, static_argnames="step")
    children = bred(jax.random.key(4), population, found, 1.0, 0.0)
    flat = np.asarray(population).reshape(-1, 2, 5, 4)
    children = np.asarray(children)
    for place in np.ndindex(TASKS, COUNT):
        a, b = flat[found.parents[place]]
        assert ((children[place] == a) | (children[place] == b)).all(-1).all()
    for pair in np.unique(found.pair):
        (one, other) = (children[tuple(h)] for h in np.argwhere(found.pair == pair))
        first = np.argwhere(found.pair == pair)[0]
        a, b = flat[found.parents[tuple(first)]]
        np.testing.assert_array_equal(one + other, a + b)
    copies = np.asarray(bred(jax.random.key(4), population, found, 0.0, 0.0))
    own = np.take_along_axis(found.parents, found.child[..., None], -1)[..., 0]
    np.testing.assert_array_equal(copies, flat[own])


@pytest.mark.parametrize("step", [False, True])
def test_mutation_keeps_to_the_space_and_to_its_rate(step):
    parents = cells.random_cells(jax.random.key(0), (400,))
    children = np.asarray(cells.mutate(jax.random.key(1), parents, 0.2, step=step))
    most = np.broadcast_to(cells.choices(), children.shape)
    assert ((children >= 0) & (children < most)).all()
    changed = children != parents
    if step:
        away = (children - np.asarray(parents)) % most
        assert set(np.unique(away[changed & (most > 2)])) >= {1}
        assert ((away == 0) | (away == 1) | (away == most - 1)).all()
        assert changed.mean() == pytest.approx(0.2, abs=0.01)
    else:
        assert changed.mean() == pytest.approx(np.mean(0.2 * (1 - 1 / most)), abs=0.01)


def test_reevaluation_is_equation_2():
    got = multifactorial.reevaluate(jnp.array([0.8]), jnp.array([0.5]), 10, 100)
    np.testing.assert_allclose(got, 0.5 + 0.3 * 0.5, rtol=1e-6)
    last = multifactorial.reevaluate(jnp.array([0.8]), jnp.array([0.5]), 100, 100)
    np.testing.assert_allclose(last, 0.8, rtol=1e-6)
    alone = multifactorial.reevaluate(jnp.array([0.8]), jnp.array([0.5]), 2, 1)
    np.testing.assert_allclose(alone, 0.8)


def test_the_best_survive_and_of_equal_genomes_the_last():
    a, b, c, d = cells.random_cells(jax.random.key(0), (4,))
    parents, children = jnp.stack([a, b, c]), jnp.stack([a, d, d])
    population, fitness = jax.jit(multifactorial.survive)(
        parents, jnp.array([0.9, 0.5, 0.3]), children, jnp.array([0.4, 0.2, 0.6])
    )
    np.testing.assert_allclose(fitness, [0.6, 0.5, 0.4])
    np.testing.assert_array_equal(population, jnp.stack([d, b, a]))
    population, fitness = jax.jit(multifactorial.survive)(
        jnp.stack([a, a]), jnp.array([0.1, 0.2]), jnp.stack([a]), jnp.array([0.3])
    )
    np.testing.assert_allclose(fitness, [0.3, 0.2])


def test_within_tasks_no_parent_is_of_another():
    fitness = jnp.array([[0.5, 0.1, 0.4], [0.2, 0.9, 0.3]])
    mating = jax.jit(multifactorial.mate_within)(jax.random.key(0), fitness)
    own = np.arange(2)[:, None]
    assert (np.asarray(mating.mapped) // 3 == own).all()
    assert (np.asarray(mating.parents) // 3 == own[..., None]).all()
    pairs = np.asarray(mating.pair)
    assert not set(pairs[0]) & set(pairs[1])
