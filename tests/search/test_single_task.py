"""Single-task training: nothing passes between tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.search.cases import compiled, same_bits


@pytest.fixture(scope="module")
def case():
    return compiled("single-task")


def weights_of(case, params, task):
    """Modules and decoder of a task."""
    depth = case.search.config.depth
    modules = jax.tree.map(
        lambda x: x[task * depth : (task + 1) * depth], params["supernet"]
    )
    return modules, jax.tree.map(lambda x: x[task], params["decoders"])


def test_a_tasks_weights_do_not_depend_on_other_tasks_examples(case):
    plain, _ = case.run(0, 1)
    images = case.data.images
    changed = case.data.replace(images=images.at[1].set(255 - images[1]))
    other, _ = case.advance(case.init(), data=changed)
    for task, same in ((0, True), (1, False)):
        pair = (weights_of(case, s.params, task) for s in (other, plain))
        assert same_bits(*pair) == same


def test_every_weight_belongs_to_one_task(case):
    params = case.init().params
    owned = [weights_of(case, params, task) for task in range(2)]
    count = sum(x.size for x in jax.tree.leaves(owned))
    merge = params["merge"].size
    assert count + merge == sum(x.size for x in jax.tree.leaves(params))


def test_each_task_keeps_the_weights_of_its_own_best_accuracy(case):
    keep = jax.jit(case.search.keep)
    first, second = case.run(0, 1)[0], case.run(0, 2)[0]
    best = case.init().best
    best = keep(best, first, jnp.array([0.5, 0.5]))
    best = keep(best, second, jnp.array([0.5, 0.75]))
    # a tie keeps the earlier weights
    for task, source in ((0, first), (1, second)):
        kept = weights_of(case, best.params, task)
        assert same_bits(kept, weights_of(case, source.params, task))
        worse = second if source is first else first
        assert not same_bits(kept, weights_of(case, worse.params, task))
    np.testing.assert_array_equal(best.fitness, [0.5, 0.75])


def test_the_result_is_tested_with_the_weights_kept(case):
    state, _ = case.run(0, 2)
    spoiled = jax.tree.map(jnp.zeros_like, state.params)
    np.testing.assert_array_equal(
        case.test(state.replace(params=spoiled)), case.test(state)
    )
