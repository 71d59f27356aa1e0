"""NEAT's species and generations."""

import dataclasses
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evolution import neat
from evojax_mtl.evolution.neat import NEAT, Rates, reproduction, speciation
from evojax_mtl.genomes import graphs
from evojax_mtl.genomes.hyperparameters import Real, Space
from tests.evolution.neat.graphs_of import CONFIG, assert_sound, take

RATES = Rates(add_node=0.3, add_connection=0.3)
COUNT = 40
EVOLVE = jax.jit(neat.evolve, static_argnums=1)
FITNESS = jnp.arange(COUNT, dtype=jnp.float32)


@pytest.fixture(scope="module")
def grown():
    """A population whose graphs differ."""
    start = partial(neat.init, config=CONFIG, individuals=COUNT)
    rounds = jnp.arange(COUNT) % 4
    return jax.jit(start)(jax.random.key(0), rates=RATES, rounds=rounds)


def test_initial_graphs_grow_by_the_rounds_they_are_told(grown):
    found = np.asarray(graphs.nodes(grown.graphs))
    np.testing.assert_array_equal(found, 3 + np.arange(COUNT) % 4)
    for p in range(COUNT):
        assert_sound(take(jax.tree.map(np.asarray, grown.graphs), p))
    assert int(grown.counter.node) > 3


def naive_division(config, far, alive, members, threshold):
    """Stanley's: one individual after the other joins the first species it may.

    ``far(i, j)`` is the distance of individuals i and j; -1 - s stands for species s.
    Returns the species of each, who founded one, and how many overflowed.
    """
    places = [-1 - s if a else None for s, a in enumerate(alive)]
    free = [s for s, a in enumerate(alive) if not a]
    species, waiting = {}, []
    for i in range(members):
        near = [s for s, r in enumerate(places) if r is not None]
        near = [s for s in near if far(i, places[s]) < threshold]
        if near:
            species[i] = near[0]
        else:
            waiting.append(i)
    died = [s for s, a in enumerate(alive) if a and s not in species.values()]
    for s in died:
        places[s] = None
    free = sorted(free + died)
    founders, order, overflow = {}, [], 0
    for i in waiting:
        near = [s for s in order if far(i, founders[s]) < threshold]
        if near:
            species[i] = near[0]
        elif free:
            species[i] = free.pop(0)
            founders[species[i]] = i
            order.append(species[i])
        else:
            overflow += 1
            living = {s: r for s, r in enumerate(places) if r is not None} | founders
            species[i] = min(sorted(living), key=lambda s: far(i, living[s]))
    return species, founders, overflow


TRYING = dataclasses.replace(CONFIG, tries=60)
DIVIDE = jax.jit(speciation.divide, static_argnums=0)
DIVIDE_ONCE = jax.jit(speciation.divide_once, static_argnums=0)


@pytest.fixture(scope="module")
def divided(grown):
    """Later graphs, species that stood before them, and all distances.

    Individuals are rows and columns 0 to P - 1 of these, species s is -1 - s.
    """
    table = speciation.no_species(TRYING, take(grown.graphs, 0), 40.0)
    table = DIVIDE(TRYING, RATES, grown.graphs, table, 0).table
    key = jax.random.key(3)
    later, _ = EVOLVE(key, CONFIG, RATES, grown, FITNESS)
    everyone = jax.tree.map(
        lambda a, b: np.concatenate([a, b[::-1]]), later.graphs, table.representative
    )
    one = partial(neat.distance, CONFIG, RATES)
    square = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    assert 1 < int(table.alive.sum()) < CONFIG.species
    return later.graphs, table, np.asarray(square(everyone, everyone))


@pytest.mark.parametrize("threshold", [0.05, 1.2, 2.0, 2.6, 9.0])
def test_species_are_those_of_one_individual_after_the_other(divided, threshold):
    later, table, apart = divided
    table = table.replace(threshold=jnp.float32(threshold))
    found = DIVIDE_ONCE(CONFIG, RATES, later, table, 7)
    alive = np.asarray(table.alive)
    species, founders, overflow = naive_division(
        CONFIG, lambda i, j: apart[j, i], alive, COUNT, threshold
    )
    assert np.asarray(found.species).tolist() == [species[i] for i in range(COUNT)]
    assert int(found.overflow) == overflow
    living = sorted(set(species.values()))
    assert np.flatnonzero(found.table.alive).tolist() == living
    for place, founder in founders.items():
        chosen = take(found.table.representative, place)
        for a, b in zip(
            jax.tree.leaves(chosen),
            jax.tree.leaves(take(later, founder)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
        assert int(found.table.born[place]) == 7
    # who pointed to a species that lives still does, others to the nearest living one
    now = {s: founders.get(s, -1 - s) for s in living}
    for s in range(CONFIG.species):
        if alive[s] and s in living and s not in founders:
            assert int(found.moved[s]) == s
        else:
            nearest = min(now.values(), key=lambda r: apart[-1 - s, r])
            got = now[int(found.moved[s])]
            assert apart[-1 - s, got] == pytest.approx(apart[-1 - s, nearest])


def test_the_threshold_moves_towards_the_target(grown):
    table = grown.table
    for threshold, up in ((0.01, True), (100.0, False)):
        start = table.replace(threshold=jnp.float32(threshold))
        rates = RATES.replace(step=0.25)
        found = DIVIDE(CONFIG, rates, grown.graphs, start, 1).table
        expected = threshold * (1.25 if up else 1 / 1.25)
        assert float(found.threshold) == pytest.approx(expected)


def test_several_tries_reach_the_target(grown):
    table = speciation.no_species(TRYING, take(grown.graphs, 0), 40.0)
    found = DIVIDE(TRYING, RATES, grown.graphs, table, 0)
    assert int(found.table.alive.sum()) == 3
    # the threshold stays where it meets the target
    table = table.replace(threshold=found.table.threshold)
    again = DIVIDE(TRYING, RATES, grown.graphs, table, 0)
    assert float(again.table.threshold) == float(table.threshold)


def test_shares_are_the_means_of_shared_fitness():
    species = jnp.array([0, 0, 2, 2, 2])
    fitness = jnp.array([4.0, 2.0, 1.0, 1.0, 7.0])
    np.testing.assert_allclose(
        reproduction.shares(fitness, species, 4), [3, 0, 3, 0], rtol=1e-6
    )
    # shared fitness f / n, summed over the members
    by_hand = sum(Fraction(f) / 3 for f in (1, 1, 7))
    assert by_hand == 3
    # the least, -4, counts as 0
    np.testing.assert_allclose(
        reproduction.shares(fitness - 5, species, 4), [2, 0, 2, 0], rtol=1e-6
    )


@pytest.mark.parametrize("seed", range(5))
def test_offspring_follow_the_shares_by_largest_remainder(seed):
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, 3, 6).astype(np.float32)
    breeds = rng.uniform(size=6) < 0.7
    breeds[0] = True
    least = rng.integers(1, 3, 6)
    found = np.asarray(
        reproduction.allot(
            jnp.asarray(share), jnp.asarray(breeds), jnp.asarray(least), 50
        )
    )
    assert found.sum() == 50
    assert not found[~breeds].any()
    rest = 50 - least[breeds].sum()
    quota = rest * share / share[breeds].sum()
    extra = (found - least)[breeds]
    assert (np.abs(extra - quota[breeds]) < 1).all()
    up = extra > quota[breeds]
    parts = quota[breeds] - np.floor(quota[breeds])
    if up.any() and (~up).any():
        assert parts[up].min() >= parts[~up].max()


def test_species_without_fitness_share_alike():
    breeds = jnp.array([True, True, False])
    found = reproduction.allot(jnp.zeros(3), breeds, jnp.ones(3, int), 10)
    assert np.asarray(found).tolist() == [5, 5, 0]


def test_stagnant_species_have_no_offspring_unless_among_the_best():
    config = NEAT(CONFIG.space, target=2, species=4, species_elites=1)
    like = graphs.chain(1, (8, 8), CONFIG.space)
    table = speciation.no_species(config, like, 1.0).replace(
        alive=jnp.array([True, True, True, False]),
        best=jnp.array([9.0, 5.0, 1.0, -jnp.inf]),
        improved=jnp.array([0, 0, 4, 0]),
    )
    species = jnp.array([0, 0, 1, 1, 2, 2])
    fitness = jnp.array([9.0, 1.0, 4.0, 5.0, 2.0, 0.0])
    rates = Rates(stagnation=5)
    table = reproduction.record(table, fitness, species, 5)
    assert np.asarray(table.improved).tolist() == [0, 0, 5, 0]
    breeds = reproduction.breeding(config, rates, table, fitness, species, 5)
    assert np.asarray(breeds).tolist() == [True, False, True, False]


def test_elites_survive_and_the_truncated_have_no_children():
    config = NEAT(CONFIG.space, target=2, species=2, elites=1)
    species = jnp.array([1, 0, 1, 0, 1, 1, 0, 1, 1, 1])
    score = jnp.array([3.0, 1, 8, 2, 5, 1, 9, 4, 2, 6])
    ranking = reproduction.rank(score, species, 2)
    assert np.asarray(ranking.order).tolist() == [6, 3, 1, 2, 9, 4, 7, 0, 8, 5]
    offspring = jnp.array([4, 6])
    rates = Rates(truncation=0.5, crossover=0.5)
    mate = jax.vmap(
        lambda key: reproduction.mate(key, config, rates, ranking, offspring, score)
    )
    found = jax.tree.map(np.asarray, mate(jax.random.split(jax.random.key(0), 300)))
    assert (found.elite == np.isin(np.arange(10), [0, 4])).all()
    assert (found.fitter[:, [0, 4]] == [6, 2]).all()
    # of 3 the worst is removed, of 7 the worst 3
    for slots, parents in ((range(1, 4), {6, 3}), (range(5, 10), {2, 9, 4, 7})):
        drawn = np.concatenate(
            [found.fitter[:, list(slots)], found.other[:, list(slots)]]
        )
        counts = np.unique(drawn, return_counts=True)
        assert set(counts[0].tolist()) == parents
    crossed = found.crossed[:, 1:4]
    assert crossed.mean() == pytest.approx(0.5, abs=0.06)
    better = np.asarray(score)[found.fitter] >= np.asarray(score)[found.other]
    assert better[found.crossed].all()
    # an only parent is any of those left, the fitter no more often
    alone = found.fitter[:, 1:4][~crossed]
    assert np.mean(alone == 6) == pytest.approx(0.5, abs=0.08)


def test_a_fitness_that_is_not_finite_is_the_worst_and_counted(grown):
    fitness = jnp.linspace(0.5, 1, COUNT)
    poisoned = fitness.at[3].set(jnp.nan).at[5].set(jnp.inf)
    step = partial(EVOLVE, jax.random.key(0), CONFIG, RATES, grown)
    evolved, report = step(poisoned)
    assert int(report.nonfinite) == 2
    least = fitness.at[3].set(0.5).at[5].set(0.5)
    other, _ = step(least)
    for a, b in zip(jax.tree.leaves(evolved), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(step(fitness * jnp.nan)[0].graphs.genes).all()


def test_generations_compile_once_and_sweeps_equal_a_loop(grown):
    def generations(key, rates):
        population = grown
        for i in range(2):
            key = jax.random.fold_in(key, i)
            population, _ = EVOLVE(key, CONFIG, rates, population, FITNESS)
        return population

    keys = jax.random.split(jax.random.key(1), 2)
    alone = [generations(key, RATES) for key in keys]
    generations(keys[0], RATES.replace(add_node=0.1, stagnation=3, truncation=0.2))
    assert EVOLVE._cache_size() == 1
    several = jax.vmap(lambda key: generations(key, RATES))(keys)
    for p, one in enumerate(alone):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(several), strict=True):
            np.testing.assert_allclose(a, b[p], rtol=1e-5)
    for p in range(COUNT):
        assert_sound(take(jax.tree.map(np.asarray, alone[0].graphs), p))


def largest(jaxpr) -> int:
    """Elements of the largest array that a program makes, loops included."""
    most = 0
    for equation in jaxpr.eqns:
        inner = [x for v in equation.params.values() for x in jax.tree.leaves(v)]
        bodies = [getattr(x, "jaxpr", x) for x in inner]
        found = [largest(x) for x in bodies if hasattr(x, "eqns")]
        most = max([most, *found, *(v.aval.size for v in equation.outvars)])
    return most


def test_memory_grows_with_the_capacity_not_with_its_square():
    count, nodes, edges, lanes = 5000, 64, 128, 16
    config = NEAT(CONFIG.space, nodes=nodes, edges=edges, lanes=lanes)
    start = partial(neat.init, config=config, individuals=count)
    shapes = jax.eval_shape(start, jax.random.key(0), rates=RATES)
    step = partial(neat.evolve, config=config, rates=RATES)
    fitness = jax.ShapeDtypeStruct((count,), jnp.float32)
    program = jax.make_jaxpr(step)(
        jax.random.key(0), population=shapes, fitness=fitness
    )
    # a few numbers a row, never a table of pairs
    assert largest(program.jaxpr) <= count * max(nodes * CONFIG.space.size, edges) * 2
    paired = jax.vmap(lambda a: a[:, None] == a)
    table = jax.make_jaxpr(paired)(shapes.graphs.edge)
    assert largest(table.jaxpr) == count * edges**2


def test_too_small_a_population_is_told_in_one_line():
    with pytest.raises(UserError, match="population: found 5 individuals, 6 species"):
        neat.init(jax.random.key(0), CONFIG, RATES, 5)
    with pytest.raises(UserError, match="species: found a target of 9 and room for 6"):
        NEAT(CONFIG.space, target=9, species=6)


POINTS = jnp.linspace(-1, 1, 9)
SQUARES = NEAT(Space((Real("gain", 0.0, 2.0),)), nodes=8, edges=16, target=4)


def output(graph) -> jax.Array:
    """What a graph makes of ``POINTS``: nodes square the sum of what they read."""
    source, target = graphs.ends(graph)
    gain = SQUARES.space.decode(graph.genes)["gain"]
    weight = graph.enabled.astype(jnp.float32)

    def relax(_, value):
        read = jnp.zeros_like(value).at[target].add(weight[:, None] * value[source])
        out = (gain[:, None] * read) ** 2
        return out.at[0].set(POINTS).at[1].set(read[1])

    start = jnp.zeros((graph.node.shape[0], len(POINTS)))
    return jax.lax.fori_loop(0, graph.node.shape[0], relax, start)[1]


def test_it_finds_a_structure_and_its_numbers():
    # x^4 + x^2 + x: two squares in a row, each led past, from one square alone
    wanted = POINTS**4 + POINTS**2 + POINTS

    def fitness(many):
        error = jnp.mean((jax.vmap(output)(many) - wanted) ** 2, 1)
        return -jnp.minimum(jnp.nan_to_num(error, nan=1e3), 1e3)

    rates = Rates(add_node=0.1, add_connection=0.2, mutate=0.5, deviation=0.1)
    first = neat.init(jax.random.key(0), SQUARES, rates, 200)
    simple = fitness(first.graphs).max()

    def generation(population, key):
        found = fitness(population.graphs)
        population, _ = neat.evolve(key, SQUARES, rates, population, found)
        return population, found.max()

    keys = jax.random.split(jax.random.key(1), 80)
    last, best = jax.jit(lambda p, k: jax.lax.scan(generation, p, k))(first, keys)
    assert float(best[-1]) > -1e-3 > float(simple) * 0.1
    # elites survive: the best never gets worse
    assert (np.diff(np.asarray(best)) >= -1e-6).all()
    champion = take(last.graphs, int(jnp.argmax(fitness(last.graphs))))
    assert int(graphs.nodes(champion)) >= 4
