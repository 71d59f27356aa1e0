"""Updates of an encoder and heads: one backward pass a head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.cagrad import CAGrad
from evojax_mtl.balancing.conal import ConflictZeroing
from evojax_mtl.balancing.equal import EqualWeighting
from evojax_mtl.balancing.gls import GLS
from evojax_mtl.balancing.mgda import MGDA
from evojax_mtl.balancing.moco import MoCo
from tests.balancing.problem import three_tasks
from tests.balancing.test_contract import assert_close
from tests.balancing.toys import names

PROBLEM, KEY, NAMES = three_tasks(), jax.random.key(1), names(3)
PAIR = (PROBLEM.params, PROBLEM.heads)


def through_heads(balancer, **options):
    def encode(params):
        return {"z": PROBLEM.encode(params)}, "seen by the encoder"

    def heads(own, views):
        return PROBLEM.scores(own, views["z"]), "seen by the heads"

    state = balancer.init(PROBLEM.params)
    return balancer.update_with_heads(encode, heads, PAIR, state, key=KEY, **options)


def by_all_weights(balancer):
    def losses(params):
        z = PROBLEM.encode(params["encoder"])
        return PROBLEM.scores(params["heads"], jnp.broadcast_to(z, (3, *z.shape)))

    params = {"encoder": PROBLEM.params, "heads": PROBLEM.heads}
    balancer = balancer.replace(shared=lambda path: path[0] == "encoder")
    return balancer.update(losses, params, balancer.init(params), key=KEY)


METHODS = [EqualWeighting(), GLS(), MGDA(), CAGrad(), MoCo(), ConflictZeroing()]


@pytest.mark.parametrize("method", METHODS, ids=type)
def test_it_equals_the_update_of_all_weights(method):
    balancer = Balancer(method, NAMES)
    found, (first, second, seen) = through_heads(balancer)
    expected = by_all_weights(balancer)
    assert_close(found.update[0], expected.update["encoder"])
    assert_close(found.update[1], expected.update["heads"])
    assert (first, second, seen) == ("seen by the encoder", "seen by the heads", None)


@pytest.mark.parametrize("passes", ["loop", "recomputed"])
def test_all_passes_give_one_update(passes):
    found, _ = through_heads(Balancer(MGDA(), NAMES, passes=passes))
    assert_close(found.update, through_heads(Balancer(MGDA(), NAMES))[0].update)


@pytest.mark.parametrize("method", METHODS, ids=type)
def test_a_plain_step_is_the_sum_and_keeps_the_state(method):
    balancer = Balancer(method, NAMES)
    found, _ = through_heads(balancer, plain=jnp.array(True))
    plain, _ = through_heads(Balancer(EqualWeighting(), NAMES))
    assert_close(found.update, plain.update)
    assert_close(found.state, balancer.init(PROBLEM.params))


@pytest.mark.parametrize("method", [EqualWeighting(), MGDA()], ids=type)
def test_gradients_can_be_inspected(method):
    _, (_, _, seen) = through_heads(Balancer(method, NAMES), inspect=lambda each: each)
    z = PROBLEM.encode

    def losses(params):
        view = jnp.broadcast_to(z(params), (3, *z(params).shape))
        return PROBLEM.scores(PROBLEM.heads, view)

    assert_close(seen, jax.jacrev(losses)(PROBLEM.params))


def test_a_function_groups_weights():
    own = Balancer(MGDA(), NAMES, grouping=lambda path: path[0])
    layers, _ = through_heads(own)
    assert layers.metrics["weights"].shape == (2, 3)
    expected, _ = through_heads(Balancer(MGDA(), NAMES, grouping="layer"))
    assert_close(layers.update, expected.update)


def test_mamo_stops_where_the_conditions_of_its_equation_14_hold():
    """A convex toy: shared weights, a kernel of the first two tasks, own weights."""
    goals = jnp.array([[0.0, 0.0], [2.0, 0.0], [1.0, 2.0]])
    kernel_goals = jnp.array([-1.0, 3.0])

    def encode(encoder):
        return encoder, None

    def heads(own, views):
        near = jnp.sum((views["shared"] - goals) ** 2, 1)
        pair = (views["kernel"][:2] - kernel_goals) ** 2
        return near.at[:2].add(pair) + (own - jnp.arange(3.0)) ** 2, None

    balancer = Balancer(MGDA(), NAMES)

    @jax.jit
    def descend(start):
        def step(_, pair):
            found, _ = balancer.update_with_heads(encode, heads, pair, (), key=KEY)
            return jax.tree.map(lambda x, g: x - 0.05 * g, pair, found.update)

        pair = jax.lax.fori_loop(0, 1500, step, start)
        found, (_, _, each) = balancer.update_with_heads(
            encode, heads, pair, (), key=KEY, inspect=lambda each: each
        )
        return pair, found, each

    start = ({"shared": jnp.array([0.7, -3.0]), "kernel": jnp.array(0.5)}, jnp.ones(3))
    (encoder, own), found, each = descend(start)
    weights = found.metrics["weights"]
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)
    for leaf in jax.tree.leaves(each):
        np.testing.assert_allclose(jnp.tensordot(weights, leaf, 1), 0, atol=2e-3)
    np.testing.assert_allclose(own, np.arange(3.0), atol=1e-4)
    # not where it started, nor a minimum of any task's loss
    assert np.abs(np.asarray(encoder["shared"]) - [0.7, -3]).max() > 1
    assert all(np.abs(leaf).sum() > 1e-2 for leaf in np.asarray(each["shared"]))
