"""``balancing`` of EMT-NAS's joint training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.registry import find_balancing
from evojax_mtl.cell_configs import EMTNASConfig
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.balanced_training import begin_balance
from evojax_mtl.evaluation.cell_batches import minibatch
from evojax_mtl.evaluation.cell_training import Rates, train_batch
from evojax_mtl.evaluation.joint_training import is_shared, train_together
from evojax_mtl.genomes import cells
from evojax_mtl.runs.compilation import CompilationCounter
from tests.search.cases import (
    assert_close,
    assert_same_bits,
    compiled,
    on_host,
    plain,
    same_bits,
)

JOINT = {"tasking": "joint", "batches": 3, "population": 2}


@pytest.fixture(scope="module")
def case():
    return compiled("emt-nas", balancing="mgda", **JOINT)


def rates(learning_rate):
    """Of plain gradient descent."""
    zero = jnp.zeros(())
    return Rates(jnp.float32(learning_rate), zero, zero, zero, zero)


class Together:
    """A step of both tasks; each has task 0's mini-batch, and equal decoders."""

    def __init__(self, case):
        system = case.init().system
        first = jax.tree.map(lambda x: x.at[1].set(x[0]), system.params["decoder"])
        self.system = system.replace(params=system.params | {"decoder": first})
        self.batch = minibatch(case.data, jnp.int32(0), jnp.arange(12))
        balancer = Balancer(
            find_balancing("equal").build(), names=case.data.names, shared=is_shared
        )

        @jax.jit
        def step(system, genomes, spoilt):
            def draw(task):
                images = jnp.where(task == spoilt, jnp.nan, self.batch.images)
                batch = self.batch._replace(images=images)
                return genomes[task], batch, jax.random.key(0)

            balance = begin_balance(balancer, system.params)
            keys = jax.random.key(1)
            return train_together(
                system, draw, rates(0.05), balancer, balance, keys, repeats=1
            )

        self.step = step


@pytest.fixture(scope="module")
def together(case):
    return Together(case)


def test_two_equal_tasks_take_a_step_of_twice_the_length(together):
    genomes = jnp.stack([cells.random_cells(jax.random.key(2), ())] * 2)
    system, zero = together.system, jnp.int32(0)
    after, _, loss, taken = together.step(system, genomes, -1)
    arguments = (genomes[0], zero, zero, together.batch, jax.random.key(0), rates(0.1))
    expected, alone, _ = jax.jit(
        lambda system: train_batch(system, *arguments, repeats=1)
    )(system)
    assert taken
    np.testing.assert_allclose(loss, alone, rtol=1e-5)
    assert_close(plain(after.params["supernets"]), plain(expected.params["supernets"]))
    # a head follows its own loss: half of the step that the doubled rate made
    for kind, both in after.params["decoder"].items():
        start = system.params["decoder"][kind][0]
        half = start + (expected.params["decoder"][kind][0] - start) / 2
        np.testing.assert_allclose(both[0], half, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(both[0], both[1])


def test_weights_that_no_task_uses_stay_and_a_spoilt_task_is_left_out(together):
    genomes = cells.random_cells(jax.random.key(3), (2,))
    system = together.system
    after, balance, _, taken = together.step(system, genomes, 1)
    assert taken
    assert balance.left_out == 1
    before, moved = (plain(x.params["supernets"]) for x in (system, after))
    share = [np.mean(a != b) for a, b in zip(before, moved, strict=True)]
    assert 0 < np.mean(share) < 0.9
    assert all(np.isfinite(x).all() for x in moved)
    for old, new in zip(
        plain(system.params["decoder"]), plain(after.params["decoder"]), strict=True
    ):
        np.testing.assert_array_equal(old[1], new[1])
        assert (old[0] != new[0]).any()


def test_a_tick_trains_every_task_and_later_generations_compile_nothing(case):
    assert dict(case.search.phases(case.data))["training"] == 1 + 3
    state, metrics = case.run(0, 1)
    assert np.isfinite(metrics["loss"])
    assert metrics["skipped_steps"] == metrics["left_out"] == 0
    assert not same_bits(state.system.params, case.init().system.params)
    with CompilationCounter() as counter:
        state, _ = case.advance(state)
        jax.block_until_ready(state)
    assert counter.requests == 0
    assert case.traces == 1


def test_a_generation_in_pieces_and_restored_ends_with_the_same_bits(case):
    state, _ = case.advance(case.init(), start=0, stop=2)
    template = case.search.restore_template({}, case.rates, case.data)
    state = jax.tree.unflatten(jax.tree.structure(template), on_host(state))
    state, metrics = case.advance(state, start=2)
    assert_same_bits((state, metrics), case.run(0, 1))


@pytest.mark.parametrize("tasking", ["multi", "single"])
def test_tasks_that_share_no_weights_are_refused(tasking):
    with pytest.raises(UserError, match=f"found mgda with --tasking {tasking}, whose"):
        EMTNASConfig(balancing="mgda", tasking=tasking)
    with pytest.raises(UserError, match="--balancing: found graddrop, which works on"):
        EMTNASConfig(balancing="graddrop", tasking="joint")
