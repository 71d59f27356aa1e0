"""Hyperparameter tables: what they stand for, how they mutate, who can search them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms import algorithms

from evojax_mtl.errors import UserError
from evojax_mtl.genomes.hyperparameters import (
    NO_GENES,
    Choice,
    Flag,
    Integer,
    Real,
    Space,
)

SPACE = Space(
    (
        Real("rate", 1e-4, 1e-1, "log"),
        Real("dropout", 0.0, 0.7),
        Integer("width", 16, 19),
        Integer("steps", 1, 1000, "log"),
        Choice("kernel", (1, 3, 5)),
        Flag("shared"),
    )
)


def test_ends_and_middles_decode_to_what_they_stand_for():
    low = SPACE.decode(jnp.zeros(6))
    high = SPACE.decode(jnp.ones(6))
    middle = SPACE.decode(jnp.full(6, 0.5))
    assert [float(x) for x in low.values()] == pytest.approx([1e-4, 0, 16, 1, 0, 0])
    assert [float(x) for x in high.values()] == pytest.approx(
        [0.1, 0.7, 19, 1000, 2, 1]
    )
    assert float(middle["rate"]) == pytest.approx(10**-2.5, rel=1e-5)
    assert float(middle["dropout"]) == pytest.approx(0.35)
    outside = SPACE.decode(jnp.array([-3.0, 9, -1, 7, 5, -2]))
    assert [float(x) for x in outside.values()] == pytest.approx(
        [1e-4, 0.7, 16, 1000, 2, 0]
    )


def test_each_value_of_a_discrete_gene_has_an_equal_part():
    grid = (jnp.arange(1200) + 0.5) / 1200
    found = SPACE.decode(jnp.repeat(grid[:, None], 6, 1))
    for name, count in (("width", 4), ("kernel", 3), ("shared", 2)):
        parts = np.unique(np.asarray(found[name]).astype(int), return_counts=True)[1]
        assert parts.tolist() == [1200 // count] * count


def test_encoding_is_undone_by_decoding():
    cases = [
        {"rate": 1e-3, "dropout": 0.2, "width": 18, "steps": 10, "kernel": 5},
        {"rate": 1e-4, "dropout": 0.7, "width": 16, "steps": 999, "kernel": 1},
    ]
    for case, shared in zip(cases, (True, False), strict=True):
        found = SPACE.decode(jnp.asarray(SPACE.encode(case | {"shared": shared})))
        assert float(found["rate"]) == pytest.approx(case["rate"], rel=1e-4)
        assert float(found["dropout"]) == pytest.approx(case["dropout"])
        assert (1, 3, 5)[int(found["kernel"])] == case["kernel"]
        for name in ("width", "steps"):
            assert int(found[name]) == case[name]
        assert bool(found["shared"]) == shared
    assert Real("one", 2.0, 2.0).encode(2.0) == 0.5


def test_mutation_changes_the_share_it_is_told_and_to_what_it_should():
    before = SPACE.sample(jax.random.key(0), (4000,))
    after = SPACE.mutate(jax.random.key(1), before, 0.3, 0.05)
    changed = np.asarray(before != after)
    np.testing.assert_allclose(changed.mean(0), 0.3, atol=0.03)
    assert float(after.min()) >= 0
    assert float(after.max()) <= 1
    old, new = SPACE.decode(before), SPACE.decode(after)
    for f, name in ((4, "kernel"), (5, "shared")):
        other = np.asarray(old[name] != new[name])
        np.testing.assert_array_equal(other, changed[:, f])
    kernels = np.asarray(new["kernel"])[
        changed[:, 4] & (np.asarray(old["kernel"]) == 0)
    ]
    assert np.bincount(kernels).tolist()[1:] == pytest.approx([200, 200], abs=50)
    inside = changed[:, 1] & (np.abs(np.asarray(before)[:, 1] - 0.5) < 0.3)
    moves = np.asarray(after - before)[inside, 1]
    assert moves.std() == pytest.approx(0.05, rel=0.1)
    assert moves.mean() == pytest.approx(0, abs=0.01)
    np.testing.assert_array_equal(SPACE.mutate(jax.random.key(1), before, 0, 1), before)


def test_an_only_option_stays():
    space = Space((Choice("only", ("this",)),))
    start = space.sample(jax.random.key(0), (50,))
    after = space.mutate(jax.random.key(1), start, 1.0, 1.0)
    assert not np.asarray(space.decode(after)["only"]).any()


def test_difference_is_distance_of_numbers_and_1_for_another_option():
    a = jnp.array([0.1, 0.5, 0.2, 0.3, 0.1, 0.4])
    b = jnp.array([0.4, 0.5, 0.1, 0.3, 0.9, 0.1])
    apart = SPACE.difference(SPACE.levels(a), SPACE.levels(b))
    assert float(apart) == pytest.approx(0.3 + 0.1 + 1)
    columns = SPACE.difference(SPACE.levels(a)[:, None], SPACE.levels(b)[:, None], 0)
    np.testing.assert_allclose(columns, [apart])
    assert float(NO_GENES.difference(jnp.zeros(0), jnp.zeros(0))) == 0


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Real("rate", 2.0, 1.0), "rate: found a range from 2.0 to 1.0, low"),
        (lambda: Integer("width", 9, 3), "width: found a range from 9 to 3, low"),
        (lambda: Real("rate", 0.0, 1.0, "log"), "rate: found a logarithmic range"),
        (lambda: Choice("kernel", ()), "kernel: found no options"),
        (lambda: Choice("kernel", (3, 3)), "kernel: found an option twice"),
        (lambda: Space((Flag("a"), Real("a", 0, 1))), "found the gene 'a' twice"),
    ],
)
def test_impossible_tables_are_told_in_one_line(make, told):
    with pytest.raises(UserError, match=told) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["CMA_ES", "DifferentialEvolution"])
def test_a_strategy_of_evosax_searches_a_table(name):
    def fitness(values):
        found = SPACE.decode(values)
        apart = jnp.abs(jnp.log10(found["rate"]) + 2) + jnp.abs(found["dropout"] - 0.3)
        return apart + jnp.abs(found["width"] - 18) + (found["kernel"] != 1)

    strategy = algorithms[name](population_size=32, solution=jnp.zeros(SPACE.size))
    params = strategy.default_params
    key = jax.random.key(0)
    if name == "CMA_ES":
        state = strategy.init(key, jnp.full(SPACE.size, 0.5), params)
    else:
        first = SPACE.sample(key, (32,))
        state = strategy.init(key, first, jax.vmap(fitness)(first), params)

    def generation(state, key):
        values, state = strategy.ask(key, state, params)
        found = jax.vmap(fitness)(values)
        state, _ = strategy.tell(key, values, found, state, params)
        return state, found.min()

    _, best = jax.lax.scan(generation, state, jax.random.split(key, 60))
    random = jax.vmap(fitness)(SPACE.sample(key, (32 * 60,))).min()
    assert float(best.min()) < min(0.05, float(random))
