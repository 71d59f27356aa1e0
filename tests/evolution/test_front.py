"""The front of all that was measured against Algorithm 3 over everybody."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evolution import pareto
from evojax_mtl.evolution.front import no_front


@jax.jit
def walked(front, primary, secondary):
    """The front after individuals 0, 1, ... one after the other."""

    def add(front, one):
        return front.entered(*one), None

    items = jnp.arange(primary.shape[0])
    return jax.lax.scan(add, front, (items, primary, secondary))[0]


def empty(room):
    return no_front(jnp.int32(0), room)


@pytest.mark.parametrize("grid", [4, 1000])
def test_it_is_algorithm_3_over_everybody(grid):
    rng = np.random.default_rng(grid)
    x, y = jnp.asarray(rng.integers(0, grid, (2, 60)), jnp.float32)
    front = walked(empty(60), x, y)
    members = front.items[np.asarray(front.there)]
    assert sorted(members.tolist()) == np.flatnonzero(pareto.front(x, y)).tolist()
    np.testing.assert_array_equal(front.primary[front.there], x[members])
    np.testing.assert_array_equal(front.secondary[front.there], y[members])


def test_of_equals_the_first_stays():
    x, y = jnp.array([1.0, 1.0, 1.0]), jnp.array([2.0, 2.0, 3.0])
    assert walked(empty(3), x[:2], y[:2]).items[0] == 0
    front = walked(empty(3), x, y)
    assert front.items[np.asarray(front.there)].tolist() == [2]


def test_who_failed_stays_out():
    x = jnp.array([jnp.nan, -jnp.inf, jnp.inf, 0.5])
    y = jnp.array([9.0, 9.0, 9.0, jnp.nan])
    assert not walked(empty(4), x, y).there.any()


def test_without_room_the_least_area_goes_and_the_ends_stay():
    # areas of the inner ones: b 1 x 1, c 1 x 4, d 4 x 4
    x, y = jnp.array([9.0, 8.0, 7.0, 3.0, 1.0]), jnp.array([1.0, 2.0, 6.0, 7.0, 9.0])
    for order in ([0, 1, 2, 3, 4], [4, 0, 3, 2, 1], [2, 4, 0, 1, 3]):
        order = np.array(order)
        front = walked(empty(4), x[order], y[order])
        assert sorted(order[np.asarray(front.items)].tolist()) == [0, 2, 3, 4]


def test_its_area():
    front = walked(empty(4), jnp.array([0.5, 0.9]), jnp.array([-10.0, -40.0]))
    # with the second objective read as 0.8 and 0.3
    share = jnp.where(front.secondary == -10, 0.8, 0.3)
    np.testing.assert_allclose(front.volume(share), 0.5 * 0.8 + 0.4 * 0.3, rtol=1e-6)
