"""Pareto fronts, Algorithms 2 and 3 of Liang 2019, and hypervolume."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evolution import hypervolume, neat, pareto
from evojax_mtl.evolution.neat import reproduction
from evojax_mtl.genomes.hyperparameters import NO_GENES

GOLDEN = json.loads((Path(__file__).parent / "golden" / "pareto.json").read_text())
SPECIES = 3
PEOPLE = 24

ranking = jax.jit(pareto.ranking, static_argnames="by_secondary")
fronts = jax.jit(pareto.fronts, static_argnames="distinct")
volume = jax.jit(hypervolume.hypervolume)


def algorithm_3(individuals, x, y, by_secondary=False):
    """The paper's words; ``sorted`` leaves equal ones as they were."""
    ordered = sorted(individuals, key=lambda i: (-x[i], -y[i]))
    front = [ordered[0]]
    for i in ordered[1:]:
        if y[i] > y[front[-1]]:
            front.append(i)
    return sorted(front, key=lambda i: -y[i]) if by_secondary else front


def algorithm_2(individuals, x, y, by_secondary=False):
    """Steps 3 to 6 for one species: its individuals, the best first."""
    left, ranked = list(individuals), []
    while left:
        front = algorithm_3(left, x, y, by_secondary)
        left = [i for i in left if i not in front]
        ranked += front
    return ranked


def drawn(seed, grid):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, grid, (2, PEOPLE)).astype(np.float32) / 8
    return x, y, rng.integers(0, SPECIES, PEOPLE)


def test_algorithm_3_by_hand():
    # sorted by accuracy: b, d, a, e, c; a is larger than d, c as large as e
    accuracy = jnp.array([0.7, 0.9, 0.5, 0.8, 0.6])
    size = jnp.array([30.0, 40.0, 10.0, 20.0, 10.0])
    assert pareto.front(accuracy, -size).tolist() == [False, True, False, True, True]
    assert pareto.ranking(accuracy, -size).tolist() == [3, 0, 4, 1, 2]
    by_size = pareto.ranking(accuracy, -size, by_secondary=True)
    assert by_size.tolist() == [4, 2, 3, 1, 0]


@pytest.mark.parametrize("by_secondary", [False, True])
@pytest.mark.parametrize(("seed", "grid"), [(0, 4), (1, 6), (2, 6), (3, 1000)])
def test_ranking_is_algorithm_2(seed, grid, by_secondary):
    x, y, species = drawn(seed, grid)
    found = np.asarray(ranking(x, y, species, by_secondary=by_secondary))
    for own in range(SPECIES):
        members = np.flatnonzero(species == own)
        expected = algorithm_2(members, x, y, by_secondary)
        assert [expected[place] for place in found[members]] == members.tolist()


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_fronts_and_hypervolume_are_pymoos(case):
    objectives = jnp.array(case["objectives"])
    np.testing.assert_array_equal(pareto.fronts(objectives), case["front"])
    found = volume(objectives, jnp.array(case["reference"]))
    np.testing.assert_allclose(found, case["hypervolume"], rtol=1e-5, atol=1e-7)


def test_of_equal_individuals_the_second_falls_to_the_next_front():
    objectives = jnp.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])
    assert pareto.fronts(objectives).tolist() == [0, 0, 0, 0]
    assert pareto.fronts(objectives, distinct=True).tolist() == [0, 1, 0, 2]


def test_the_order_of_individuals_does_not_matter():
    x, y, species = drawn(4, 5)
    objectives = np.stack([x, y], 1)
    order = np.random.default_rng(5).permutation(PEOPLE)
    np.testing.assert_array_equal(
        fronts(objectives[order], species[order]), fronts(objectives, species)[order]
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_who_failed_comes_last_however_small(bad):
    x, y, _ = drawn(6, 5)
    x[3], y[3] = bad, 100.0
    y[7] = bad
    found = np.asarray(ranking(x, y, np.zeros(PEOPLE, int)))
    assert set(found[[3, 7]]) == {PEOPLE - 2, PEOPLE - 1}
    others = np.delete(np.arange(PEOPLE), [3, 7])
    assert [np.argsort(found)[k] for k in range(PEOPLE - 2)] == algorithm_2(
        others, x, y
    )
    objectives = np.stack([x, y], 1)
    without = volume(np.delete(objectives, [3, 7], 0), jnp.zeros(2))
    np.testing.assert_allclose(volume(objectives, jnp.zeros(2)), without, rtol=1e-6)


@pytest.mark.parametrize("keep", [False, True])
def test_truncation_removes_the_end_of_the_ranking(keep):
    # one species: after F_l = 3 / 4 the children are of the first quarter
    config = neat.NEAT(NO_GENES, target=1, species=1, elites=1, keep=keep)
    rates = neat.Rates(truncation=0.75, crossover=0.0)
    species = jnp.zeros(PEOPLE, jnp.int32)

    @jax.jit
    def mate(x, y):
        score = pareto.scores(x, y, species)
        found = reproduction.rank(score, species, 1)
        offspring = jnp.array([PEOPLE])
        key = jax.random.key(1)
        return reproduction.mate(key, config, rates, found, offspring, score)

    x, y = (jnp.asarray(values) for values in drawn(8, 1000)[:2])
    mating = mate(x, y)
    kept = algorithm_2(range(PEOPLE), x.tolist(), y.tolist())[: PEOPLE // 4]
    assert set(mating.fitter.tolist()) == set(kept)
    elite = np.flatnonzero(mating.elite)
    # steps 8 to 10: who is left stays, new individuals are added to them
    assert mating.fitter[elite].tolist() == (kept if keep else kept[:1])


def test_hypervolume_never_falls_when_someone_joins():
    objectives = jax.random.uniform(jax.random.key(9), (12, 3))
    reference = jnp.full(3, 0.1)
    grown = [
        float(volume(jnp.where(jnp.arange(12)[:, None] < n, objectives, 0), reference))
        for n in range(13)
    ]
    assert grown[0] == 0
    assert (np.diff(grown) >= -1e-6).all()
    assert grown[-1] > grown[1]


def test_ranking_maps_over_populations():
    x, y = jax.random.uniform(jax.random.key(10), (2, 3, PEOPLE))
    many = jax.jit(jax.vmap(pareto.ranking))(x, y)
    for found, a, b in zip(many, x, y, strict=True):
        np.testing.assert_array_equal(found, ranking(a, b))


def test_a_reference_is_one_number_an_objective():
    with pytest.raises(UserError, match="3 objectives and a reference of shape"):
        hypervolume.hypervolume(jnp.ones((2, 3)), jnp.zeros(2))
