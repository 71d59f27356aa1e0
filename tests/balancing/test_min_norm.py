"""The min-norm solver: closed form, a QP solver, optimality at any rank and scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

from evojax_mtl.balancing.min_norm import min_norm
from evojax_mtl.balancing.quadratic import minimize_nonnegative

one = jax.jit(min_norm)
many = jax.jit(jax.vmap(min_norm))
program = jax.jit(minimize_nonnegative)


def gramians(tasks, rank, seed, count=20, spread=1.0):
    """Of gradients of several norms, with a direction in common."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(count, tasks, rank)) + 0.3 * draw.normal(size=rank)
    rows *= np.exp(spread * draw.normal(size=(count, tasks, 1)))
    return (rows @ rows.swapaxes(1, 2) / rank).astype(np.float32)


def gap(gramian, weights):
    """How far from optimal, relative to the largest squared norm."""
    gramian = gramian.astype(np.float64)
    weights = np.asarray(weights, np.float64)
    inner = gramian @ weights
    return (weights @ inner - inner.min()) / np.diag(gramian).max()


def assert_weights(weights):
    weights = np.asarray(weights)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_two_tasks_have_the_closed_form(scale):
    for g in gramians(2, 5, seed=1):
        (a, b), (_, c) = g.astype(np.float64)
        first = np.clip((c - b) / (a + c - 2 * b), 0, 1)
        found = one(jnp.asarray(g * np.float32(scale)))
        np.testing.assert_allclose(found, [first, 1 - first], atol=2e-6)


def test_two_tasks_reach_the_corners():
    assert one(jnp.asarray([[1.0, 2.0], [2.0, 9.0]])).tolist() == [1, 0]
    assert one(jnp.asarray([[9.0, 2.0], [2.0, 1.0]])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("tasks", "rank"),
    [(3, 1), (3, 2), (3, 40), (7, 3), (10, 10), (20, 6), (50, 16), (50, 49), (50, 400)],
)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_it_is_optimal_at_any_rank_and_scale(tasks, rank, scale):
    given = gramians(tasks, rank, seed=tasks + rank) * np.float32(scale)
    found = many(jnp.asarray(given))
    assert_weights(found)
    assert max(map(gap, given, found)) <= 1e-6


@pytest.mark.parametrize("tasks", [3, 4, 10, 50])
def test_it_is_the_solution_of_a_quadratic_program(tasks):
    # weights of sum 1 by a heavy row of ones, an active set method in float64
    for g in gramians(tasks, 2 * tasks, seed=3, count=4, spread=0.3):
        roots = np.linalg.cholesky(g.astype(np.float64)).T
        heavy = 1e5
        matrix = np.vstack([roots, heavy * np.ones(tasks)])
        expected, _ = nnls(matrix, np.append(np.zeros(tasks), heavy))
        expected /= expected.sum()
        found = np.asarray(one(jnp.asarray(g)), np.float64)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_norms_of_very_different_size():
    rows = np.diag([1.0, 1e-3, 1e-6]).astype(np.float32)
    found = np.asarray(one(jnp.asarray(rows @ rows)), np.float64)
    expected = np.diag(rows).astype(np.float64) ** -2
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-4)


def test_an_order_of_tasks_does_not_matter():
    for g in gramians(6, 12, seed=5):
        order = np.random.default_rng(0).permutation(6)
        found = np.asarray(one(jnp.asarray(g)))[order]
        np.testing.assert_allclose(
            one(jnp.asarray(g[order][:, order])), found, atol=1e-5
        )


@pytest.mark.parametrize("tasks", [1, 2, 3, 10])
def test_without_gradients_weights_are_equal(tasks):
    zeros = jnp.zeros((tasks, tasks))
    np.testing.assert_allclose(one(zeros), np.full(tasks, 1 / tasks), rtol=1e-6)


def test_one_task_without_a_gradient_takes_all():
    g = gramians(3, 5, seed=2)[0]
    g[1] = g[:, 1] = 0
    assert one(jnp.asarray(g)).tolist() == [0, 1, 0]


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_absent_tasks_have_no_part(tasks):
    g = gramians(tasks, 2 * tasks, seed=4)[0]
    present = np.arange(tasks) != 1
    rest = g[present][:, present]
    found = np.asarray(one(jnp.asarray(g), jnp.asarray(present)))
    assert found[1] == 0
    np.testing.assert_allclose(found[present], one(jnp.asarray(rest)), atol=1e-5)
    assert not one(jnp.asarray(g), jnp.zeros(tasks, bool)).any()


def test_opposite_gradients_meet_at_zero():
    rows = np.array([[1.0, 0], [-1, 1e-3], [-1, -1e-3]], np.float32)
    g = rows @ rows.T
    found = np.asarray(one(jnp.asarray(g)), np.float64)
    assert np.linalg.norm(found @ rows) < 1e-5


@pytest.mark.parametrize("rank", [2, 4, 8])
def test_the_program_of_any_linear_term_is_optimal(rank):
    draw = np.random.default_rng(rank)
    for _ in range(10):
        rows = draw.normal(size=(6, rank))
        g = rows @ rows.T
        q = g @ draw.normal(size=6)
        x = np.asarray(
            program(jnp.asarray(g, jnp.float32), jnp.asarray(q, jnp.float32)),
            np.float64,
        )
        slack = g @ x - q
        size = np.abs(g) @ x + np.abs(q)
        assert (x >= 0).all()
        assert (slack >= -2e-6 * size).all()
        assert (np.abs(slack[x > 0]) <= 2e-6 * size[x > 0]).all()


def test_lots_of_programs_equal_single_ones():
    given = jnp.asarray(gramians(50, 60, seed=8, count=45))  # two lots and a part
    found = many(given)
    for i in (0, 20, 44):
        np.testing.assert_allclose(found[i], one(given[i]), atol=1e-6)
    nested = jax.jit(jax.vmap(jax.vmap(min_norm)))(given.reshape(3, 15, 50, 50))
    np.testing.assert_allclose(nested.reshape(45, 50), found, atol=1e-6)
