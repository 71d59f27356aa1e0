"""What every balancing method keeps to."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.protocol import (
    GradientAggregator,
    GramianWeighting,
    LossBalancer,
)
from evojax_mtl.balancing.registry import BALANCING
from evojax_mtl.errors import UserError
from tests.balancing.problem import build, three_tasks
from tests.balancing.toys import names

PROBLEM = three_tasks()
ALONE = PROBLEM.take(np.array([0]))
KEY = jax.random.key(3)
EVERYONE = jnp.ones(3, bool)
KINDS = {
    "losses": LossBalancer,
    "gramian": GramianWeighting,
    "gradients": GradientAggregator,
}
RANDOM = {"rlw", "graddrop", "pcgrad", "gradvac"}
LOSSES = [name for name, traits in BALANCING.items() if traits.kind == "losses"]
GRADIENTS = [name for name in BALANCING if name not in LOSSES]
ON_WEIGHTS = [n for n, t in BALANCING.items() if t.representation != "required"]
every = pytest.mark.parametrize("name", BALANCING)


@jax.jit
def compiled(problem, balancer, params, state, key, present, scale, offset):
    return problem.step(balancer, params, state, key, present, scale, offset)


def run(
    name,
    key=KEY,
    problem=PROBLEM,
    present=EVERYONE,
    scale=1.0,
    offset=0.0,
    params=None,
    state=None,
):
    balancer, start = problem.start(name)
    params = problem.params if params is None else params
    state = start if state is None else state
    scale, offset = (jnp.zeros(problem.tasks) + x for x in (scale, offset))
    present = present[: problem.tasks]
    return compiled(problem, balancer, params, state, key, present, scale, offset)


def flat(tree):
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves) if leaves else np.zeros(0)


def assert_close(found, expected, relative=1e-4):
    found, expected = flat(found), flat(expected)
    bound = relative * np.linalg.norm(expected) + 1e-7
    assert np.linalg.norm(found - expected) <= bound


@every
def test_it_is_a_method_of_its_kind(name):
    method, traits = build(name), BALANCING[name]
    assert isinstance(method, KINDS[traits.kind])
    assert method.traits.name == name
    assert hasattr(method, "observe") == traits.observes
    assert hasattr(method, "features") == (name == "rotograd")


@every
def test_a_step_is_like_the_weights_and_finite(name):
    update, _, metrics = run(name)
    shapes = jax.tree.map(jnp.shape, PROBLEM.params)
    assert jax.tree.map(jnp.shape, update) == shapes
    assert np.isfinite(flat(update)).all()
    assert not metrics["skipped"]
    assert metrics["left_out"] == 0
    assert metrics["losses"].shape == (3,)


@every
def test_the_second_step_compiles_nothing(name):
    _, state = PROBLEM.start(name)
    found = run(name).state
    assert jax.tree.map(jax.typeof, found) == jax.tree.map(jax.typeof, state)
    weak = [x.weak_type for x in jax.tree.leaves(state)]
    assert not any(weak)


@every
def test_the_first_state_may_be_donated(name):
    _, state = PROBLEM.start(name)
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(buffers)) == len(buffers)


@every
def test_the_same_key_gives_the_same_bits(name):
    first, second = run(name), run(name)
    assert (flat(first) == flat(second)).all()


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_keys_matter_to_random_methods(name):
    found = {flat(run(name, jax.random.key(k)).update).tobytes() for k in range(8)}
    assert len(found) > 1


@pytest.mark.parametrize("name", sorted(set(BALANCING) - RANDOM))
def test_keys_do_not_matter_to_others(name):
    first, second = run(name).update, run(name, jax.random.key(9)).update
    assert (flat(first) == flat(second)).all()


@every
def test_compiled_equals_not_compiled(name):
    balancer, state = PROBLEM.start(name)
    plain = PROBLEM.step(balancer, PROBLEM.params, state, KEY)
    assert_close(plain.update, run(name).update)


@every
def test_mapped_equals_one_by_one(name):
    balancer, state = PROBLEM.start(name)
    keys = jax.random.split(KEY, 2)
    members = [jax.tree.map(lambda x, c=c: c * x, PROBLEM.params) for c in (1.0, 0.4)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *members)
    step = jax.jit(jax.vmap(PROBLEM.step, in_axes=(None, 0, None, 0)))
    together = step(balancer, stacked, state, keys)
    for i, params in enumerate(members):
        alone = run(name, keys[i], params=params)
        assert_close(jax.tree.map(lambda x, i=i: x[i], together.update), alone.update)


@every
def test_one_task_goes_down_its_own_gradient(name):
    update = run(name, problem=ALONE).update
    gradient = jax.grad(lambda p: jnp.sum(ALONE.losses(p)))(ALONE.params)
    a, b = flat(update), flat(gradient)
    if name == "graddrop":  # drops values of one sign
        assert a @ b >= 0
        return
    assert a @ b > 0
    np.testing.assert_allclose(a / np.linalg.norm(a), b / np.linalg.norm(b), atol=1e-4)


@every
@pytest.mark.parametrize("still", [1, 3], ids=["one", "all"])
def test_tasks_without_a_gradient_never_give_nan(name, still):
    moving = jnp.arange(3) >= still
    update, state, _ = run(name, scale=moving, offset=0.5 * ~moving)
    assert np.isfinite(flat(update)).all()
    assert np.isfinite(flat(state)).all()
    if still == 3:
        assert not flat(update).any()


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_task_that_is_not_finite_is_left_out(name, bad):
    scale = jnp.asarray([1.0, bad, 1.0])
    update, state, metrics = run(name, scale=scale)
    assert np.isfinite(flat(update)).all()
    assert np.isfinite(flat(state)).all()
    assert metrics["left_out"] == 1
    if name in LOSSES:  # one pass for all: nothing of it can be saved
        assert metrics["skipped"]
    else:
        masked = run(name, present=jnp.asarray([True, False, True]))
        assert_close(update, masked.update)
        assert not metrics["skipped"]


@every
def test_an_absent_task_has_no_part(name):
    present = jnp.asarray([True, False, True])
    first = run(name, present=present)
    other = run(name, present=present, scale=jnp.asarray([1.0, 7.0, 1.0]))
    assert_close(first.update, other.update, 1e-6)
    assert first.metrics["left_out"] == 1
    if "weights" in first.metrics:
        assert not first.metrics["weights"][..., 1].any()


@every
def test_without_any_task_nothing_changes(name):
    update, new, metrics = run(name, present=~EVERYONE)
    _, state = PROBLEM.start(name)
    assert metrics["skipped"]
    assert not flat(update).any()
    assert (flat(new) == flat(state)).all()


@every
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_size_of_losses_is_no_obstacle(name, scale):
    update, state, metrics = run(name, scale=scale)
    assert np.isfinite(flat(update)).all()
    assert np.isfinite(flat(state)).all()
    assert not metrics["skipped"]
    if name != "conal":
        assert flat(update).any()


@pytest.mark.parametrize("name", sorted(set(GRADIENTS) - RANDOM - {"rotograd"}))
def test_the_order_of_tasks_does_not_matter(name):
    turned = run(name, problem=PROBLEM.take(np.array([2, 0, 1])))
    assert_close(turned.update, run(name).update, 1e-3)


@pytest.mark.parametrize("name", ON_WEIGHTS)
def test_losses_of_the_wrong_shape_are_told(name):
    balancer = Balancer(build(name), names(2))
    state = balancer.init(PROBLEM.params)
    with pytest.raises(UserError, match=r"losses: found shape \(3,\)"):
        PROBLEM.step(balancer, PROBLEM.params, state, KEY)


@jax.jit
def losses_at(params):
    return PROBLEM.losses(params)


def trained(name, steps=20, rate=0.05):
    """Weights after some steps of gradient descent, none of which may be skipped."""
    params, (balancer, state) = PROBLEM.params, PROBLEM.start(name)
    for key in jax.random.split(jax.random.key(0), steps):
        update, state, metrics = run(name, key, params=params, state=state)
        assert not metrics["skipped"]
        params = jax.tree.map(lambda p, u: p - rate * u, params, update)
        if BALANCING[name].observes:
            state = balancer.observe(state, losses_at(params))
    return flat(params)


def test_no_two_methods_take_the_same_way():
    ends = {name: trained(name) for name in BALANCING}
    size = np.linalg.norm(flat(PROBLEM.params))
    for (a, x), (b, y) in itertools.combinations(ends.items(), 2):
        assert np.isfinite(x).all()
        assert np.isfinite(y).all()
        assert np.linalg.norm(x - y) > 1e-4 * size, f"{a} and {b}"
