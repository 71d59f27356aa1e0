"""node2vec: its walks, its pairs, its loss, and what the vectors tell."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from evojax_mtl.evolution import node2vec
from evojax_mtl.evolution.node2vec import Node2VecConfig
from evojax_mtl.genomes.operation_graphs import nasbench201_graphs
from tests.evolution.nearness import spearman

GOLDEN = json.loads((Path(__file__).parent / "golden" / "node2vec.json").read_text())
CASES = GOLDEN["cases"]
NODES = 5
RANDOM = np.random.default_rng(0)
COUNTS = RANDOM.uniform(1, 9, (4, 4))
PAIRS = jnp.asarray(COUNTS, jnp.float32)
QUICK = Node2VecConfig(dimensions=32, walk_length=20, walks=4, window=5)


def weights() -> np.ndarray:
    found = np.zeros((NODES, NODES), np.float32)
    for a, b, weight in GOLDEN["edges"]:
        found[a, b] = found[b, a] = weight
    return found


def chances(case) -> np.ndarray:
    found = np.zeros((NODES,) * 3)
    for t, v, x, chance in case["probabilities"]:
        found[t, v, x] = chance
    return found


@pytest.mark.parametrize("case", CASES)
def test_transitions_are_those_of_the_package(case):
    edges = weights()
    found = np.asarray(node2vec.transitions(jnp.asarray(edges), case["p"], case["q"]))
    # the package lists what follows an edge alone
    found = found * (edges > 0)[:, :, None]
    total = found.sum(-1, keepdims=True)
    found = np.divide(found, total, out=np.zeros_like(found), where=total > 0)
    np.testing.assert_allclose(found, chances(case), rtol=1e-5)


def test_transitions_of_the_definition():
    # from t = 0 to v = 1; 2 is a neighbour of both, 3 of v alone
    edges = np.zeros((4, 4), np.float32)
    for a, b in ((0, 1), (0, 2), (1, 2), (1, 3)):
        edges[a, b] = edges[b, a] = 1
    found = node2vec.transitions(jnp.asarray(edges), 0.5, 4.0)[0, 1]
    np.testing.assert_allclose(found, [2, 0, 1, 0.25])


@pytest.mark.parametrize("case", CASES)
def test_walks_follow_the_transitions(case):
    edges = weights()
    config = Node2VecConfig(walks=200, walk_length=40, p=case["p"], q=case["q"])
    walked = np.asarray(
        jax.jit(node2vec.walks)(jax.random.key(1), jnp.asarray(edges), config)
    )
    np.testing.assert_array_equal(walked[0], np.repeat(np.arange(NODES), 200))
    first = np.zeros((NODES, NODES))
    np.add.at(first, (walked[0], walked[1]), 1)
    assert fits(first, edges / edges.sum(1, keepdims=True))
    found = np.zeros((NODES,) * 3)
    np.add.at(found, (walked[:-2], walked[1:-1], walked[2:]), 1)
    expected = chances(case)
    assert fits(found, expected)
    others = [chances(other) for other in CASES if other is not case]
    assert not any(fits(found, other) for other in others)


def fits(found, chance) -> bool:
    """Whether counts are those of probabilities, by a chi-square test."""
    assert not found[chance == 0].any()
    expected = (found.sum(-1, keepdims=True) * chance)[chance > 0]
    statistic = ((found[chance > 0] - expected) ** 2 / expected).sum()
    rows = (chance > 0).any(-1).sum()
    return stats.chi2.sf(statistic, expected.size - rows) > 1e-3


def test_walks_end_where_no_edge_leaves():
    edges = np.zeros((4, 4), np.float32)
    edges[0, 1] = edges[1, 2] = 1
    config = Node2VecConfig(walks=1, walk_length=5)
    walked = np.asarray(node2vec.walks(jax.random.key(0), jnp.asarray(edges), config)).T
    assert walked.tolist() == [
        [0, 1, 2, -1, -1],
        [1, 2, -1, -1, -1],
        [2, -1, -1, -1, -1],
        [3, -1, -1, -1, -1],
    ]


def test_pairs_are_those_of_windows_of_every_size():
    walked = RANDOM.integers(0, 4, (9, 6))
    walked[7:, 2] = -1
    expected = np.zeros((4, 4))
    for size in (1, 2, 3):
        for walk in walked.T:
            for i, j in np.ndindex(9, 9):
                apart = abs(i - j)
                if 0 < apart <= size and walk[i] >= 0 and walk[j] >= 0:
                    expected[walk[i], walk[j]] += 1 / 3
    found = node2vec.count_pairs(jnp.asarray(walked), 4, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_pairs_of_tokens_are_summed_over_graphs():
    graphs = nasbench201_graphs(jnp.asarray(RANDOM.integers(0, 5, (5, 6))))
    walked = node2vec.all_walks(jax.random.key(0), graphs, QUICK)
    found = np.asarray(node2vec.pair_counts(graphs, walked, QUICK.window))
    expected = np.zeros_like(found)
    for tokens, own in zip(np.asarray(graphs.tokens), walked, strict=True):
        counts = node2vec.count_pairs(own, len(tokens), QUICK.window)
        expected[np.ix_(tokens, tokens)] += counts
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def plain_loss(vectors, contexts, counts, negatives) -> float:
    """Pair by pair, with the chance of every negative; float64."""
    power = counts.sum(0) ** 0.75
    noise = power / power.sum()
    total = 0.0
    for w, c in np.ndindex(counts.shape):
        agree = np.log1p(np.exp(-vectors[w] @ contexts[c]))
        against = sum(
            noise[x] * np.log1p(np.exp(vectors[w] @ contexts[x]))
            for x in range(len(noise))
            if x != c
        )
        total += counts[w, c] * (agree + negatives * against)
    return total / counts.sum()


def test_loss_and_gradients_by_finite_differences():
    tables = RANDOM.normal(size=(2, 4, 3))
    against = node2vec.negative_counts(PAIRS, 5.0)
    given = (tuple(map(jnp.asarray, tables)), PAIRS, against)
    expected = plain_loss(*tables, COUNTS, 5.0)
    assert float(node2vec.loss(*given)) == pytest.approx(expected, rel=1e-5)
    found = np.stack(node2vec.gradients(*given))
    step, slopes = 1e-5, np.zeros_like(tables)
    for place in np.ndindex(tables.shape):
        ends = []
        for sign in (1, -1):
            moved = tables.copy()
            moved[place] += sign * step
            ends.append(plain_loss(*moved, COUNTS, 5.0))
        slopes[place] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(found, slopes, rtol=1e-4, atol=1e-6)


def test_optimum_is_shifted_pointwise_mutual_information():
    # Levy and Goldberg 2014, with negatives other than the token at hand
    against = node2vec.negative_counts(PAIRS, 5.0)
    best = jnp.log(PAIRS / against)
    for change in node2vec.gradients((jnp.eye(4), best.T), PAIRS, against):
        np.testing.assert_allclose(change, 0, atol=1e-6)


def test_training_comes_near_the_least_loss():
    against = node2vec.negative_counts(PAIRS, 5.0)
    least = node2vec.loss((jnp.eye(4), jnp.log(PAIRS / against).T), PAIRS, against)
    config = Node2VecConfig(dimensions=8, epochs=10)
    table = node2vec.skip_gram(jax.random.key(0), PAIRS, config)

    def descend(_, contexts):
        change = node2vec.gradients((table, contexts), PAIRS, against)[1]
        return contexts - 0.5 * change

    # contexts that suit the trained vectors best, by their gradient alone
    contexts = jax.lax.fori_loop(0, 3000, descend, jnp.zeros_like(table))
    start = node2vec.loss((table, jnp.zeros_like(table)), PAIRS, against)
    found = node2vec.loss((table, contexts), PAIRS, against)
    assert found - least < 0.02 * (start - least)


def test_near_architectures_are_near():
    ops = RANDOM.integers(0, 5, (300, 6))
    graphs = nasbench201_graphs(jnp.asarray(ops))
    table = jax.jit(node2vec.node2vec)(jax.random.key(0), graphs, QUICK)
    untrained = node2vec.initial_table(jax.random.key(0), *table.shape)
    found, before = (
        spearman(ops, node2vec.architecture_vectors(graphs, each))
        for each in (table, untrained)
    )
    assert found > 0.85
    assert found > before + 0.05


def test_architecture_vector_is_the_mean_of_its_operations():
    graphs = nasbench201_graphs(jnp.array([[0, 1, 2, 3, 4, 0], [3, 3, 3, 3, 3, 3]]))
    table = jnp.asarray(RANDOM.normal(size=(graphs.vocabulary, 7)))
    found = node2vec.architecture_vectors(graphs, table)
    rows = [[0, 6, 12, 18, 24, 25], [3, 8, 13, 18, 23, 28]]
    expected = np.stack([np.mean(table[jnp.array(r)], 0) for r in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_distance_is_equation_2():
    a, b = jnp.array([1.0, 0.0]), jnp.array([[2.0, 0], [0, 3], [-1, 0], [1, 1], [0, 0]])
    expected = [0, 1, 2, 1 - np.sqrt(0.5), 1]
    np.testing.assert_allclose(node2vec.distance(a, b), expected, atol=1e-6)


def test_rates_compile_nothing_and_seeds_repeat():
    graphs = nasbench201_graphs(jnp.asarray(RANDOM.integers(0, 5, (6, 6))))
    config = QUICK.replace(epochs=1, updates=5)
    embed = jax.jit(lambda *given: node2vec.node2vec(*given))
    first = embed(jax.random.key(0), graphs, config)
    np.testing.assert_array_equal(embed(jax.random.key(0), graphs, config), first)
    other = config.replace(p=0.25, q=4.0, learning_rate=0.1, negatives=3.0)
    assert not np.array_equal(embed(jax.random.key(0), graphs, other), first)
    assert embed._cache_size() == 1
    several = jax.vmap(embed, (0, None, None))(
        jax.random.split(jax.random.key(0), 2), graphs, config
    )
    assert several.shape == (2, *first.shape)
