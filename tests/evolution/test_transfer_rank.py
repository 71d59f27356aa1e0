"""Transfer rank: Algorithms 1 to 3 of Zhang 2024, and its worked example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evolution import transfer_rank as ranking

FAR = 1.0
NEAR = 0.1


def nearest(places, candidates):
    """Distances in which each remembered individual is near one candidate."""
    distances = np.full((len(places), candidates), FAR, np.float32)
    distances[np.arange(len(places)), places] = NEAR
    return jnp.asarray(distances)


def test_figure_4():
    # s1, s3 positive, s2, s4 negative; s1, s2 nearest to p1, s3 to p2, s4 to p4
    labels = jnp.array([1, -1, 1, -1])
    rank = ranking.transfer_rank(nearest([0, 0, 1, 3], 5), labels)
    assert rank.tolist() == [0, 1, 0, -1, 0]
    # M = 2: p2, and one of p1, p3, p5 at random
    chance = jax.random.uniform(jax.random.key(0), (600, 5))
    chosen = jax.vmap(lambda chance: ranking.select(chance, rank, 2))(chance)
    first, second = np.asarray(chosen).T
    assert (first == 1).all()
    share = np.bincount(second, minlength=5) / len(second)
    assert share[1] == share[3] == 0
    np.testing.assert_allclose(share[[0, 2, 4]], 1 / 3, atol=0.08)


def by_hand(rank, transferred, random):
    """Algorithm 3 in the paper's words: groups of equal rank, the last at random."""
    chosen: list[int] = []
    for value in sorted(set(rank), reverse=True):
        group = [k for k, r in enumerate(rank) if r == value]
        room = transferred - len(chosen)
        chosen += group if len(group) <= room else random.sample(group, room)
    return chosen


@pytest.mark.parametrize("seed", range(20))
def test_selection_is_algorithm_3(seed):
    import random

    rng = np.random.default_rng(seed)
    rank = rng.integers(-3, 4, 12)
    count = int(rng.integers(1, 12))
    chance = jax.random.uniform(jax.random.key(seed), (12,))
    found = ranking.select(chance, jnp.asarray(rank), count)
    assert len(set(found.tolist())) == count
    expected = by_hand(rank.tolist(), count, random.Random(seed))
    assert sorted(rank[np.asarray(found)]) == sorted(rank[expected])


@pytest.mark.parametrize("seed", range(10))
def test_transfer_rank_is_algorithm_2(seed):
    rng = np.random.default_rng(seed)
    distances = rng.random((9, 6))
    labels = rng.choice([-1, 0, 1], 9)
    subsets: list[list[int]] = [[] for _ in range(6)]
    for i in range(9):
        subsets[int(distances[i].argmin())].append(i)
    expected = [sum(int(labels[i]) for i in subset) for subset in subsets]
    found = ranking.transfer_rank(jnp.asarray(distances), jnp.asarray(labels))
    assert found.tolist() == expected


def test_an_individual_is_positive_by_any_of_its_children():
    parents = jnp.array([0, 1, 1, 2, 4, 4])
    ranks = jnp.array([2, 7, 1, 9, 0, 0])
    found = ranking.positive(parents, ranks, 4, 2)
    assert found.tolist() == [False, True, False, False]
    assert ranking.positive(parents, ranks, 4, 3).tolist() == [True, True, False, False]


def test_history_is_algorithm_1():
    # m = 3: negatives of three generations, positives of the last
    history = ranking.no_history(3, 2)
    told = [(0, [1, -1]), (10, [-1, -1]), (20, [1, 1]), (30, [-1, 1]), (40, [1, -1])]
    seen = []
    for first, labels in told:
        rows = jnp.array([first, first + 1])
        history = ranking.update(history, rows, jnp.array(labels), 3)
        kept = {
            int(row): int(label)
            for row, label in zip(
                history.rows.ravel(), history.labels.ravel(), strict=True
            )
            if label
        }
        seen.append(kept)
    assert seen == [
        {0: 1, 1: -1},
        {1: -1, 10: -1, 11: -1},
        {1: -1, 10: -1, 11: -1, 20: 1, 21: 1},
        {10: -1, 11: -1, 30: -1, 31: 1},
        {30: -1, 40: 1, 41: -1},
    ]


def test_positives_may_stay_longer():
    history = ranking.no_history(2, 1)
    for first, label in ((5, 1), (6, -1)):
        history = ranking.update(history, jnp.array([first]), jnp.array([label]), 2, 2)
    assert history.rows.ravel().tolist() == [6, 5]
    assert history.labels.ravel().tolist() == [-1, 1]


def test_what_was_not_transferred_is_not_remembered():
    history = ranking.update(
        ranking.no_history(2, 2), jnp.array([3, 4]), jnp.array([0, 1]), 2
    )
    rank = ranking.transfer_rank(nearest([1, 0, 0, 0], 2), history.labels.ravel())
    assert rank.tolist() == [1, 0]
