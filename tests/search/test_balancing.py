"""``balancing`` of the searches whose tasks share weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.schedule import depths
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.balanced_training import (
    TaskGradients,
    is_shared,
    linear_losses,
    task_gradients,
)
from evojax_mtl.evaluation.training import loss_and_gradients
from evojax_mtl.methods import find_method
from evojax_mtl.tasks.streaming import Resident
from tests.search.cases import (
    assert_close,
    assert_same_bits,
    compiled,
    data_of,
    easy_task,
    on_host,
    plain,
    same_bits,
)

ROUTED = ("soft-ordering", "ctr")
BRIEF = {"iterations": 6}
# losses, which are seen again after the update, and inner products of gradients
CASES = [("soft-ordering", "famo"), ("ctr", "mgda")]


def balanced(method, name):
    return compiled(method, balancing=name, **BRIEF)


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    return balanced(*request.param)


def test_equal_weights_are_no_balancing():
    """The sum of the losses, each task run alone, is the sum of all run together."""
    state, metrics = balanced("soft-ordering", "equal").run(0, 1)
    expected, plainly = compiled("soft-ordering", **BRIEF).run(0, 1)
    assert_close(plain(state.params), plain(expected.params))
    assert_close(plain(state.optimizer), plain(expected.optimizer))
    assert_close(plain({k: metrics[k] for k in plainly}), plain(plainly))
    assert (metrics["left_out"], metrics["conflicts"]) == (0, 0)


def test_each_tasks_gradient_is_that_of_its_loss_alone():
    together = compiled("ctr", **BRIEF).search
    apart = balanced("ctr", "mgda").search
    data = balanced("ctr", "mgda").data
    state = balanced("ctr", "mgda").init()
    architecture = apart.architecture(state.genome)
    batch = data.sample(jax.random.key(1), 4)
    rest = (data.targets, jax.random.key(2), 0.3)

    def tables(search, capacities):
        lists = search.schedule(architecture, capacities, depth=depths(architecture))
        return {"architecture": architecture, "lists": lists}

    one = tables(apart, state.capacities)
    found = jax.jit(task_gradients(apart.model(state.genome), apart.inputs))(
        state.params, batch, *rest, **one
    )
    whole = tables(together, tuple(2 * c for c in state.capacities))
    plainly = jax.jit(loss_and_gradients(together.model(state.genome), together.inputs))
    losses = linear_losses(found, state.params, is_shared)
    for task in range(data.tasks):
        mask = batch.mask & (np.arange(data.tasks) == task)[:, None]
        only = batch.replace(mask=mask)
        value, _, expected = plainly(state.params, only, *rest, **whole)
        np.testing.assert_allclose(found.losses[task], value, rtol=1e-5)
        shared = jax.tree.map(lambda x, t=task: x[t], found.slopes["supernet"])
        assert_close(plain(shared), plain(expected["supernet"]))
        # what balancing gets has these gradients, those of heads included
        slopes = jax.grad(lambda p, t=task: losses(p)[t])(state.params)
        assert_close(plain(slopes), plain(expected))
    np.testing.assert_array_equal(losses(state.params), found.losses)


def test_a_task_whose_gradient_is_not_finite_is_left_out():
    search, state = balanced("ctr", "mgda").search, balanced("ctr", "mgda").init()
    slopes = jax.tree.map(jnp.ones_like, state.params)
    tasks = search.tasks
    slopes["supernet"] = jax.tree.map(
        lambda x: jnp.ones((tasks, *x.shape)).at[1].set(jnp.nan), slopes["supernet"]
    )
    everyone = jnp.ones(search.networks, bool)
    found = TaskGradients(jnp.ones(tasks), everyone, slopes)
    losses = linear_losses(found, state.params, is_shared)
    assert np.isnan(losses(state.params)).tolist() == [False, True]
    update = jax.jit(
        lambda params, method: search.balancer.update(
            losses, params, method, key=jax.random.key(0)
        )
    )
    result = update(state.params, state.balance.method)
    assert result.metrics["left_out"] == 1
    assert not result.metrics["skipped"]
    assert all(np.isfinite(x).all() for x in plain(result.update))


def test_balancing_changes_the_search():
    state, _ = balanced("soft-ordering", "famo").run(0, 1)
    expected, _ = balanced("soft-ordering", "equal").run(0, 1)
    assert not same_bits(state.params, expected.params)


def test_metrics_tell_of_balancing_and_its_state_moves(case):
    state, metrics = case.run(0, 1)
    assert np.isfinite(metrics["loss"])
    assert metrics["skipped_steps"] == metrics["left_out"] == 0
    assert 0 <= metrics["conflicts"] <= 1
    before, after = plain(case.init().balance.method), plain(state.balance.method)
    assert len(before) == len(after)
    if before:
        assert not all(map(np.array_equal, before, after))


def test_later_generations_compile_nothing(case):
    case.assert_compiled()


def test_a_generation_in_pieces_ends_with_the_same_bits(case):
    state = case.init()
    for start, stop in ((0, 1), (1, 4), (4, case.ticks)):
        state, metrics = case.advance(state, start=start, stop=stop)
    assert_same_bits((state, metrics), case.run(0, 1))


def test_a_restored_state_goes_on_to_the_same_bits(case):
    state, _ = case.run(0, 1)
    static = json.loads(json.dumps(case.search.static(state)))
    template = case.search.restore_template(static, case.rates, case.data)
    for a, b in zip(jax.tree.leaves(template), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    restored = jax.tree.unflatten(jax.tree.structure(template), on_host(state))
    assert_same_bits(case.advance(restored), case.run(0, 2))


def test_searches_vmapped_equal_a_loop():
    case = balanced("soft-ordering", "famo")
    both = [case.init(seed) for seed in range(2)]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *both)

    def advance(state, rates, data):
        return case.search.advance(state, rates, data, 0, case.ticks)

    mapped = jax.jit(jax.vmap(advance, (0, None, None)))(states, case.rates, case.data)
    for i in range(2):
        one = case.run(i, 1)
        assert_close(plain(jax.tree.map(lambda x, i=i: x[i], mapped)), plain(one))


def test_a_grown_search_has_room_for_each_task():
    case = balanced("ctr", "mgda")
    state = case.init()
    for _ in range(3):
        state = case.search.grow(state)
        state, _ = case.advance(state)
        architecture = case.search.architecture(state.genome)
        lists = case.search.schedule(architecture, state.capacities)
        assert (np.asarray(lists.rows) <= state.capacities).all()


@pytest.mark.parametrize("name", ["graddrop", "rotograd"])
@pytest.mark.parametrize("method", ROUTED)
def test_methods_for_representations_are_refused(method, name):
    with pytest.raises(UserError, match=f"--balancing: found {name}, which works on"):
        compiled(method, balancing=name)


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match="balancing: unknown 'mgad', did you mean 'mgd"):
        compiled("ctr", balancing="mgad")


@pytest.mark.parametrize("method", ROUTED)
def test_one_task_has_nothing_to_balance(method):
    entry, config = find_method(method), compiled(method, **BRIEF).search.config
    data = Resident([easy_task(0)]).dataset(0)
    config = type(config)(**vars(config) | {"balancing": "mgda"})
    with pytest.raises(UserError, match="--balancing: found mgda with one task"):
        entry.load()(config, data)
    assert data_of(method).dataset(0).tasks == 2
