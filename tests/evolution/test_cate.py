"""CATE: its parts, what it learns, and what the vectors tell."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evolution import cate
from evojax_mtl.evolution.cate import CATEConfig, Transformers
from evojax_mtl.genomes.operation_graphs import nasbench201_graphs
from tests.evolution.nearness import spearman

CONFIG = CATEConfig(
    dimensions=16, heads=2, layers=2, updates=300, batch=32, near=5, learning_rate=5e-3
)
# positions 0 and 1 always have the same operation: what is masked can be told
OPS = np.random.default_rng(0).integers(0, 5, (300, 6))
OPS[:, 1] = OPS[:, 0]
COST = (OPS == 3).sum(1) + np.arange(300) / 1000


@pytest.fixture(scope="module")
def graphs():
    return nasbench201_graphs(jnp.asarray(OPS))


@pytest.fixture(scope="module")
def trained(graphs):
    return jax.jit(cate.cate)(jax.random.key(0), graphs, jnp.asarray(COST), CONFIG)


def untrained(graphs):
    return jax.jit(cate.initial_params)(jax.random.key(1), graphs, CONFIG)


def test_operations_attend_to_those_they_join(graphs):
    near = np.asarray(cate.attention(graphs)[0])
    edges = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    expected = np.eye(13, dtype=bool)
    for a, (begin, end) in enumerate(edges):
        for b, (other, last) in enumerate(edges):
            expected[a, b] |= end == other or last == begin
    np.testing.assert_array_equal(near, expected)


def test_partners_are_next_in_the_order_of_cost():
    cost = jnp.asarray(np.random.default_rng(1).permutation(100).astype(float))
    rows = jnp.repeat(jnp.arange(100), 40)
    found = cate.partners(jax.random.key(0), cost, rows, 3)
    step = np.asarray(cost[found] - cost[rows])
    inside = np.asarray((cost[rows] >= 3) & (cost[rows] <= 96))
    values, counts = np.unique(step[inside], return_counts=True)
    assert values.tolist() == [-3, -2, -1, 1, 2, 3]
    np.testing.assert_allclose(counts / counts.sum(), 1 / 6, atol=0.03)
    assert (np.abs(step) <= 3).all()


def test_what_is_masked_does_not_show(graphs, trained):
    """The encoding of one masked operation is the same whichever it was."""
    model = Transformers(graphs.vocabulary, 13, CONFIG)
    encode = jax.jit(partial(model.apply, method=Transformers.encode))
    other = OPS[:50].copy()
    other[:, 4] = (other[:, 4] + 1) % 5
    shown = []
    for ops in (OPS[:50], other):
        each = nasbench201_graphs(jnp.asarray(ops))
        tokens = each.tokens.at[:, 4].set(graphs.vocabulary)
        near = cate.attention(each)
        shown.append(encode({"params": trained}, tokens, near))
    np.testing.assert_array_equal(*shown)


def test_it_learns_to_tell_what_is_masked(graphs, trained):
    pairs = jax.tree.map(lambda leaf: jnp.stack([leaf[:150], leaf[150:]], 1), graphs)
    model = Transformers(graphs.vocabulary, 13, CONFIG)
    near = jax.vmap(cate.attention, 1, 1)(pairs)
    shown = pairs.tokens.at[..., 0].set(graphs.vocabulary)
    apply = jax.jit(model.apply)
    for params, (low, high) in (
        (untrained(graphs), (0.0, 0.2)),
        (trained, (0.9, 1.0)),
    ):
        logits = apply({"params": params}, shown, near, pairs.mask)
        right = np.mean(np.argmax(logits[..., 0, :], -1) == pairs.tokens[..., 0])
        assert low <= right <= high


def test_the_loss_counts_masked_operations_alone(graphs):
    params = untrained(graphs)
    pairs = jax.tree.map(lambda leaf: leaf[:8].reshape(4, 2, *leaf.shape[1:]), graphs)
    everything = CONFIG.replace(masked=1.0)
    model = Transformers(graphs.vocabulary, 13, everything)
    shown = jnp.where(pairs.mask, graphs.vocabulary, pairs.tokens)
    near = jax.vmap(cate.attention, 1, 1)(pairs)
    apply = jax.jit(model.apply)
    logits = np.asarray(apply({"params": params}, shown, near, pairs.mask))
    share = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(
        logits, np.asarray(pairs.tokens)[..., None], -1
    ).squeeze(-1)
    expected = share[np.asarray(pairs.mask)].mean()
    loss = jax.jit(cate.loss)
    found = loss(params, jax.random.key(0), pairs, everything)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    nothing = CONFIG.replace(masked=0.0)
    assert loss(params, jax.random.key(0), pairs, nothing) == 0


def test_near_architectures_are_near(graphs, trained):
    vectors = cate.architecture_vectors(graphs, trained, CONFIG)
    assert spearman(OPS, vectors) > 0.4


def test_seeds_repeat(graphs):
    config = CONFIG.replace(updates=3)
    train = jax.jit(cate.cate)
    cost = jnp.asarray(COST)
    first, again = (train(jax.random.key(0), graphs, cost, config) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
