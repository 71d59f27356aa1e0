"""CTR (Liang 2018, 3.3.2), step by step; one compiled search serves all tests."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.schedule import depths
from evojax_mtl.genomes import routings
from evojax_mtl.methods import find_method
from evojax_mtl.networks.soft_merge import merge_weights
from evojax_mtl.search.routing_evolution import (
    challengers,
    promoted_genomes,
    with_challengers,
)
from evojax_mtl.tasks.dataset import stack_tasks
from tests.search.cases import (
    assert_same_bits,
    bits,
    compiled,
    easy_task,
    host,
    same_bits,
)

TASKS = 2


@pytest.fixture(scope="module")
def case():
    return compiled("ctr")


@pytest.fixture(scope="module")
def propose(case):
    return jax.jit(case.search.propose)


@pytest.fixture(scope="module")
def replace(case):
    return jax.jit(lambda state, fitness: case.search.replace(state, fitness)[0])


def noisy(tree, seed):
    """Every float leaf replaced by noise, so that no two individuals agree."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        if not jax.dtypes.issubdtype(leaf.dtype, np.floating):
            return leaf
        return jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(draw, tree)


@pytest.fixture(scope="module")
def parent(case):
    """A state whose champions and challengers differ in every weight and moment."""
    state = case.init()
    return state.replace(
        params=noisy(state.params, 1), optimizer=noisy(state.optimizer, 2)
    )


@pytest.fixture(scope="module")
def proposed(case, propose, parent):
    return propose(jax.random.key(4), parent, case.rates)


def first(genome):
    """The champions' genomes."""
    return jax.tree.map(lambda x: x[:, 0], genome)


def individual(tree, i):
    """The ``i``-th individuals of all tasks, of leaves ``(P, ...)``."""
    return jax.tree.map(lambda x: np.asarray(x)[i::2], tree)


def own(state, i, keep=slice(None)):
    """Decoders and scales of the ``i``-th individuals, with their moments."""
    moments = state.optimizer
    trees = [state.params, moments.mu, moments.nu]
    return [
        (individual(tree["decoders"], i), individual(tree["merge"], i)[:, keep])
        for tree in trees
    ]


def shared(state):
    return [
        t["supernet"] for t in (state.params, state.optimizer.mu, state.optimizer.nu)
    ]


def test_a_challenger_is_its_champion_plus_one_node_and_two_edges(case, proposed):
    genome = jax.tree.map(np.asarray, proposed.genome)
    assert (genome.nodes[:, 1] == genome.nodes[:, 0] + 1).all()
    assert (genome.edges[:, 1] == genome.edges[:, 0] + 2).all()
    for t in range(TASKS):
        champion, challenger = (
            jax.tree.map(lambda x, t=t, i=i: x[t, i], genome) for i in (0, 1)
        )
        nodes, edges = champion.nodes, champion.edges
        for name in ("module", "resolution"):
            a, b = getattr(champion, name), getattr(challenger, name)
            np.testing.assert_array_equal(a[:nodes], b[:nodes])
        for name in ("source", "target"):
            a, b = getattr(champion, name), getattr(challenger, name)
            np.testing.assert_array_equal(a[:edges], b[:edges])
        assert challenger.target[edges] == nodes
        assert challenger.source[edges + 1] == nodes
        assert 0 <= challenger.module[nodes] < case.search.config.modules


def test_a_challenger_inherits_decoder_scales_and_moments(parent, proposed):
    edges = int(parent.genome.edges[0, 0])
    inherited, champions = own(proposed, 1, slice(edges)), own(parent, 0, slice(edges))
    assert_same_bits(inherited, champions)
    assert not same_bits(inherited, own(parent, 1, slice(edges)))


def test_proposing_leaves_champions_modules_and_their_moments_alone(parent, proposed):
    assert_same_bits(own(proposed, 0), own(parent, 0))
    assert_same_bits(shared(proposed), shared(parent))
    assert_same_bits(first(proposed.genome), first(parent.genome))


def merge_weights_of(case, state):
    architecture = case.search.architecture(state.genome)
    nodes = architecture.operation.shape[1]
    weights = jax.jit(jax.vmap(partial(merge_weights, nodes=nodes)))(
        state.params["merge"], architecture.target, architecture.edge
    )
    return np.asarray(weights)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.7])
def test_the_new_edge_has_weight_alpha_and_the_others_keep_their_ratios(
    case, propose, parent, alpha
):
    rates = dict(case.rates) | {"alpha": np.float32(alpha)}
    state = propose(jax.random.key(4), parent, rates)
    weights, before = merge_weights_of(case, state), merge_weights_of(case, parent)
    genome = jax.tree.map(np.asarray, state.genome)
    for t in range(TASKS):
        edges, target = genome.edges[t, 0], genome.target[t, 1]
        challenger, champion = weights[2 * t + 1], before[2 * t]
        np.testing.assert_allclose(challenger[edges + 1], alpha, rtol=1e-5)
        np.testing.assert_allclose(challenger[edges], 1, rtol=1e-6)
        old = np.arange(len(target)) < edges
        joined = old & (target == target[edges + 1])
        np.testing.assert_allclose(
            challenger[joined], champion[joined] * (1 - alpha), rtol=1e-5
        )
        apart = old & ~joined
        np.testing.assert_allclose(challenger[apart], champion[apart], rtol=1e-6)


def logits_of(case, state):
    search = case.search

    def outputs(state):
        architecture = search.architecture(state.genome)
        lists = search.schedule(
            architecture, state.capacities, depth=depths(architecture)
        )
        images = case.data.batch_at(0, jnp.int32(0), 4).images
        return search.model(state.genome).apply(
            {"params": state.params},
            images,
            architecture,
            lists,
            train=False,
            key=state.key,
            rate=0.0,
        )

    return jax.jit(outputs)(state)


def test_a_tiny_alpha_preserves_what_the_champion_computes(case, propose, parent):
    rates = dict(case.rates)
    tiny = propose(jax.random.key(4), parent, rates | {"alpha": np.float32(1e-7)})
    large = propose(jax.random.key(4), parent, rates | {"alpha": np.float32(0.5)})
    preserved, changed = (np.asarray(logits_of(case, s)) for s in (tiny, large))
    scale = np.abs(preserved).max()
    np.testing.assert_allclose(preserved[1::2], preserved[::2], atol=1e-4 * scale)
    assert (np.abs(changed[1::2] - changed[::2]).max((1, 2)) > 1e-2 * scale).all()


def test_as_many_nodes_are_added_as_the_rate_says(case, propose, parent):
    for mutations in (0, 2, 3):
        rates = dict(case.rates) | {"mutations": np.int32(mutations)}
        nodes = propose(jax.random.key(9), parent, rates).genome.nodes
        assert (nodes[:, 1] - nodes[:, 0] == mutations).all()


def test_only_a_strictly_better_challenger_replaces_its_champion(replace, proposed):
    scored = proposed.replace(
        params=noisy(proposed.params, 3), optimizer=noisy(proposed.optimizer, 4)
    )
    fitness = jnp.array([[0.5, 0.5], [0.25, 0.5]])
    after = replace(scored, fitness)
    for t, winner in enumerate((0, 1)):
        pick = partial(jax.tree.map, lambda x, t=t: x[t])
        assert_same_bits(pick(own(after, 0)), pick(own(scored, winner)))
        genome = jax.tree.map(lambda x, t=t: x[t, 0], after.genome)
        expected = jax.tree.map(lambda x, t=t, w=winner: x[t, w], scored.genome)
        assert_same_bits(genome, expected)
    assert_same_bits(shared(after), shared(scored))


def test_a_challenger_that_is_not_finite_never_wins(replace, proposed):
    after = replace(proposed, jnp.array([[0.0, -1.0], [-1.0, -1.0]]))
    assert_same_bits(first(after.genome), first(proposed.genome))


def test_the_system_of_the_best_mean_is_kept_whole(case):
    keep = jax.jit(case.search.keep)
    state = case.init()
    kept = keep(state.best, state, jnp.array([0.5, 0.25]))
    later = state.replace(params=noisy(state.params, 5))
    assert_same_bits(keep(kept, later, jnp.array([0.75, 0.0])), kept)
    assert_same_bits(keep(kept, later, jnp.array([0.0, 0.75])), kept)
    better = keep(kept, later, jnp.array([0.25, 0.75]))
    assert_same_bits(better.params, later.params)
    np.testing.assert_array_equal(better.fitness, [0.25, 0.75])


def test_the_test_uses_the_system_kept_and_not_the_present_one(case):
    state, metrics = case.run(0, 2)
    assert metrics["mean_validation"] > 0
    spoiled = state.replace(params=noisy(state.params, 6))
    np.testing.assert_array_equal(case.test(spoiled), case.test(state))
    kept = case.search.final_state(spoiled)
    assert_same_bits(kept.params, state.best.params)
    assert_same_bits(kept.genome, state.best.genome)


def test_champions_are_tested_and_challengers_are_not(case):
    state, _ = case.run(0, 2)
    decoders = jax.tree.map(
        lambda x: x.at[1::2].set(jnp.nan), dict(state.best.params["decoders"])
    )
    best = state.best.replace(params=state.best.params | {"decoders": decoders})
    broken = state.replace(best=best)
    np.testing.assert_array_equal(case.test(broken), case.test(state))


@pytest.mark.parametrize("mutations", [1, 3])
def test_room_covers_what_the_next_generation_schedules(mutations):
    """Random search over mutations, no training."""
    entry, data = find_method("ctr"), stack_tasks([easy_task(t, 28) for t in (0, 1)])
    config = dataclasses.replace(
        entry.configure("tiny"),
        modules=3,
        depth=3,
        mutations=mutations,
        generations=45 // mutations,
    )
    search = entry.load()(config, data)
    rates = host(search.hyperparameters())
    blank = jax.eval_shape(search.init, jax.random.key(0), rates, data)
    scales = jnp.zeros((TASKS, 2, blank.params["merge"].shape[-1]))

    def generation(rates, genome, key):
        propose_key, fitness_key = jax.random.split(key)
        found = challengers(
            propose_key, genome, scales, 3, rates["alpha"], rates["mutations"]
        )
        genome = with_challengers(genome, found[0])
        architecture = search.architecture(genome)
        lists = search.schedule(
            architecture, blank.capacities, depth=depths(architecture)
        )
        wins = jax.random.bernoulli(fitness_key, 0.7, (TASKS,))
        genome = promoted_genomes(genome, wins)
        return genome, (lists.rows, search._room(blank.replace(genome=genome)))

    @jax.jit
    def walk(key, rates):
        start = jax.tree.map(jnp.asarray, search.initial_genome())
        keys = jax.random.split(key, config.generations)
        return jax.lax.scan(partial(generation, rates), start, keys)[1]

    for seed in range(5):
        rows, room = map(np.asarray, walk(jax.random.key(seed), rates))
        assert (rows[0] <= blank.capacities).all()
        slack = room[:-1] + search.additions() - rows[1:]
        assert (slack >= 0).all()
        # nor is the bound a loose one
        assert slack.max() <= search.additions() + 2 * TASKS
        assert (rows[-1] > rows[0]).all()


def test_capacities_all_grow_by_half_and_values_stay(case):
    state = case.init()
    capacities = np.array(state.capacities)
    short = np.eye(len(capacities), dtype=np.int32)[0]
    needed = state.replace(room=jnp.asarray(capacities + short, jnp.int32))
    grown = case.search.grow(needed)
    assert grown.capacities == tuple(capacities + -(-capacities // 2))
    assert_same_bits(grown.replace(capacities=state.capacities), needed)
    assert case.search.grow(grown) is grown


def test_capacities_grow_until_the_fullest_search_of_a_sweep_fits(case):
    state = case.init()
    most = 4 * max(state.capacities)
    rooms = jnp.asarray([state.room, state.room.at[0].set(most)])
    grown = case.search.grow(state.replace(room=rooms))
    assert max(grown.capacities) >= most
    ratio = np.array(grown.capacities) / state.capacities
    assert ratio.max() < 1.2 * ratio.min()


def extended(case, generations):
    entry = find_method("ctr")
    config = dataclasses.replace(case.search.config, generations=generations)
    return entry.load()(config, case.data)


def test_more_generations_than_planned_find_room_for_their_nodes(case):
    state, _ = case.run(0, 2)
    full = case.search.config.generations + case.search.config.depth + 2
    state = state.replace(
        genome=state.genome.replace(nodes=jnp.full_like(state.genome.nodes, full))
    )
    search = extended(case, 9)
    grown = search.grow(state)
    before, after = state.genome.module.shape[-1], grown.genome.module.shape[-1]
    assert before == full < after
    old = jax.tree.map(np.asarray, state.genome)
    for name in ("module", "resolution", "source", "target"):
        wide, narrow = getattr(grown.genome, name), getattr(old, name)
        width = narrow.shape[-1]
        np.testing.assert_array_equal(wide[..., :width], narrow)
        assert (np.asarray(wide[..., width:]) == 0).all()
    edges = state.params["merge"].shape[-1]
    for tree, expected in (
        (grown.params, state.params),
        (grown.optimizer.mu, state.optimizer.mu),
        (grown.best.params, state.best.params),
    ):
        np.testing.assert_array_equal(
            bits(tree["merge"][..., :edges]), bits(expected["merge"])
        )
        assert tree["merge"].shape[-1] == edges + 2 * (after - before)
    # an added node now goes into the new room
    key = jax.random.key(0)
    one = jax.tree.map(lambda x: x[0, 0], grown.genome)
    added, edge = jax.jit(routings.add_node, static_argnums=2)(key, one, 2)
    assert added.nodes == full + 1
    assert edge >= 0


def test_a_grown_state_can_be_restored(case):
    state, _ = case.run(0, 2)
    wide = state.replace(
        room=jnp.asarray(state.capacities, jnp.int32) + 1,
        genome=state.genome.replace(
            nodes=jnp.full_like(state.genome.nodes, state.genome.module.shape[-1])
        ),
    )
    search = extended(case, 9)
    grown = search.grow(wide)
    static = search.static(jax.eval_shape(lambda: grown))
    assert static["capacities"] > list(state.capacities)
    assert static["additions"] > case.search.static(state)["additions"]
    template = search.restore_template(static, case.rates, case.data)
    assert jax.tree.structure(template) == jax.tree.structure(grown)
    for a, b in zip(jax.tree.leaves(template), jax.tree.leaves(grown), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
