"""What EMT-NAS does in a generation, part by part (Liao 2023, 3.3 to 3.5)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.cell_configs import EMTNASConfig
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.cell_batches import turns
from evojax_mtl.evaluation.cell_training import wirings
from evojax_mtl.genomes import cells
from evojax_mtl.methods import find_method
from evojax_mtl.networks.cell_operations import CONVOLUTIONS
from evojax_mtl.search.cell_search import WORST
from evojax_mtl.search.emt_nas import EMTNAS, EMTNASOwn
from evojax_mtl.tasks.dataset import VALIDATION
from evojax_mtl.tasks.streaming import Resident
from tests.search.cases import compiled, easy_data, easy_task

TINY = find_method("emt-nas").configure("tiny")


def search(**changes):
    return EMTNAS(dataclasses.replace(TINY, **changes), easy_data().dataset(0))


def abstract(made):
    """The shapes of the initial state, without compiling anything."""
    data = easy_data().dataset(0)
    return made.restore_template({}, made.hyperparameters(), data)


@pytest.fixture(scope="module")
def case():
    return compiled("emt-nas")


def test_one_mini_batch_changes_one_individual_of_one_task(case):
    before = case.init()
    after, _ = case.advance(before, start=0, stop=2)
    task = int(case.search.turns[0][0])

    def of(k):
        pair = (before.params, after.params)
        return jax.tree.map(lambda x: np.asarray(x[k]), pair)

    own, other = of(task), of(1 - task)
    for a, b in zip(*map(jax.tree.leaves, other), strict=True):
        np.testing.assert_array_equal(a, b)
    # the genome whose slots are those that changed
    old, new = (tree["supernets"] for tree in own)
    matches = []
    for genome in np.asarray(before.parents[task]):
        used = []
        for i, wiring in enumerate(wirings(jnp.asarray(genome), TINY.repeats)):
            name = f"stack_{i}"
            moved = old[name]["edges"]["pointwise"] != new[name]["edges"]["pointwise"]
            moved = moved.any(axis=(-1, -2))
            expected = np.zeros_like(moved)
            pair, operation = np.asarray(wiring.pair), np.asarray(wiring.operation)
            cell, edge = np.nonzero(operation < len(CONVOLUTIONS))
            expected[cell, pair[cell, edge], operation[cell, edge]] = True
            used.append((moved & ~expected).any())
        matches.append(not any(used))
    assert any(matches)
    changed = [(a != b).any() for a, b in zip(*map(jax.tree.leaves, own), strict=True)]
    assert any(changed)


def test_generation_0_measures_the_random_parents(case):
    state, metrics = case.run(0, 1)
    np.testing.assert_array_equal(
        np.sort(state.parents.reshape(2, TINY.population, -1), axis=1),
        np.sort(case.init().parents.reshape(2, TINY.population, -1), axis=1),
    )
    right = state.tally.right / state.tally.seen
    np.testing.assert_allclose(np.sort(right)[:, ::-1], state.fitness, rtol=1e-6)
    assert metrics["evaluations"] == 2 * TINY.population


def test_children_are_drawn_towards_their_parents(case):
    state, _ = case.run(0, 1)
    later, _ = case.advance(state)
    measured = later.tally.right / later.tally.seen
    weight = np.log(2) / np.log(TINY.generations)
    smooth = later.own.inherited + (measured - later.own.inherited) * weight
    assert np.isin(later.own.inherited, state.fitness).all()
    everyone = np.concatenate([state.fitness, smooth], axis=1)
    for t in range(2):
        found = np.abs(later.fitness[t][:, None] - everyone[t]).min(1)
        assert (found < 1e-6).all()
        assert later.fitness[t, 0] >= smooth[t].max() - 1e-6


def test_the_best_is_scored_on_its_whole_validation_split(case):
    state, metrics = case.run(0, 2)
    sizes = np.asarray(case.data.sizes[VALIDATION])
    np.testing.assert_array_equal(state.tally.whole_seen, sizes)
    score = jax.jit(case.search.scorer.score, static_argnums=3)
    for t in range(2):
        right, seen = 0, 0
        for i in range(-(-sizes[t] // case.search.evaluation_batch)):
            batch = VALIDATION, jnp.array([t]), jnp.array([i])
            found = score(state.system, state.parents[t, :1], case.data, *batch)
            right, seen = right + found[0][0], seen + found[1][0]
        assert seen == sizes[t]
        np.testing.assert_allclose(metrics["validation"][t], right / sizes[t])


def test_an_individual_whose_weights_are_not_finite_is_the_worst(case):
    state, _ = case.run(0, 1)
    stack = state.params["supernets"]["stack_0"]["edges"]["pointwise"]
    broken = stack.at[0, :, :, 0].set(jnp.nan)
    supernets = dict(state.params["supernets"])
    edges = supernets["stack_0"]["edges"] | {"pointwise": broken}
    supernets["stack_0"] = supernets["stack_0"] | {"edges": edges}
    params = state.params | {"supernets": supernets}
    uses = cells.operations(state.parents)[0, :, cells.NORMAL] == 0
    state = state.replace(system=state.system.replace(params=params))
    later, metrics = case.advance(state)
    users = (cells.operations(later.candidates)[0, :, cells.NORMAL] == 0).any(1)
    np.testing.assert_array_equal(~later.tally.finite[0], users)
    assert uses.any()
    assert later.tally.finite[1].all()
    assert metrics["nonfinite"] == users.sum()
    leaves = jax.tree.leaves(later.params["decoder"])
    assert all(np.isfinite(leaf).all() for leaf in leaves)


@pytest.mark.parametrize(
    ("changes", "supernets", "populations"),
    [
        ({}, 2, 2),
        ({"tasking": "single"}, 2, 2),
        ({"tasking": "joint"}, 1, 2),
        ({"tasking": "joint", "architectures": "shared"}, 1, 1),
    ],
)
def test_tasking_says_what_is_shared(changes, supernets, populations):
    state = abstract(search(**changes))
    stem = state.params["supernets"]["stem"]["kernel"]
    assert stem.shape[0] == supernets
    assert state.parents.shape[0] == populations
    assert state.params["decoder"]["kernel"].shape[0] == 2
    assert state.kept.genome.shape[0] == 2


def test_what_is_not_finite_stays_the_worst_whatever_its_parent_was():
    made = search(population=3)
    data = easy_data().dataset(0)
    state = jax.jit(made.init)(jax.random.key(0), made.hyperparameters(), data)
    tally = state.tally.replace(
        right=jnp.array([[1, 4, 2], [2, 2, 2]]),
        seen=jnp.full((2, 3), 4),
        finite=jnp.array([[True, False, True], [True] * 3]),
    )
    good = jnp.full((2, 3), 0.9)
    state = state.replace(
        tally=tally,
        generation=jnp.int32(1),
        own=EMTNASOwn(inherited=good),
        parents=1 - state.parents % 2,
        fitness=jnp.full((2, 3), -2.0),
    )
    chosen = jax.jit(made._select)({}, state)
    assert (np.asarray(chosen.fitness[0])[:2] > 0.25).all()
    assert chosen.fitness[0, 2] == WORST


def test_closed_blocks_keep_their_weights_and_momentum(case):
    state, _ = case.run(0, 1)
    task = int(case.search.turns[0][0])
    fast = jax.tree.map(lambda m: m + 1, state.system.momentum)
    state = state.replace(system=state.system.replace(momentum=fast))
    after, _ = case.advance(state, start=0, stop=2)
    for before, now in (
        (state.params, after.params),
        (state.system.momentum, after.system.momentum),
    ):
        old, new = (tree["supernets"]["stack_0"]["kernel"] for tree in (before, now))
        moved = np.asarray((old != new).any(axis=(-1, -2)))[task, 0]
        both = np.concatenate([after.parents[task], after.candidates[task]])
        loose = [np.asarray(wirings(jnp.asarray(g), 1)[0].loose[0]) for g in both]
        assert any((moved == flags).all() for flags in loose)


def test_a_running_accuracy_counts_those_before_too():
    made = search(accuracy="running", reevaluation="off", population=3)
    data = easy_data().dataset(0)
    state = jax.jit(made.init)(jax.random.key(0), made.hyperparameters(), data)
    right = jnp.array([[2, 4, 0], [1, 1, 4]])
    tally = state.tally.replace(right=right, seen=jnp.full((2, 3), 4))
    chosen = jax.jit(made._select)({}, state.replace(tally=tally))
    np.testing.assert_allclose(chosen.fitness, [[0.75, 0.5, 0.5], [0.5, 0.25, 0.25]])
    lost = tally.replace(finite=jnp.array([[True, False, True], [True] * 3]))
    chosen = jax.jit(made._select)({}, state.replace(tally=lost))
    np.testing.assert_allclose(chosen.fitness[0], [0.5, 0.5, WORST])


def test_the_program_does_not_grow_with_the_tasks():
    def operations(tasks):
        data = Resident([easy_task(i) for i in range(tasks)]).dataset(0)
        made = EMTNAS(dataclasses.replace(TINY, max_tasks=tasks), data)
        rates = made.hyperparameters()
        state = jax.eval_shape(made.init, jax.random.key(0), rates, data)
        lowered = jax.jit(made.step).lower(state, rates, data)
        return len(lowered.as_text().splitlines())

    assert operations(2) == operations(5)


def test_tasks_take_turns_evenly():
    tasks, numbers = turns(np.array([40, 20]), None, 10)
    assert tasks.tolist() == [0, 1, 0, 0, 1, 0]
    assert numbers[tasks == 0].tolist() == [0, 1, 2, 3]
    tasks, _ = turns(np.array([40, 20]), 3, 10)
    assert np.bincount(tasks).tolist() == [3, 3]


def test_the_published_setting_is_the_default():
    paper = find_method("emt-nas").configure("paper")
    assert paper == EMTNASConfig()
    assert (paper.population, paper.generations, paper.random_mating) == (20, 300, 0.3)
    assert (paper.batch, paper.evaluation_batch, paper.batches) == (128, 1000, None)


def test_shared_architectures_need_shared_weights():
    with pytest.raises(UserError, match="--tasking joint"):
        dataclasses.replace(TINY, architectures="shared")
