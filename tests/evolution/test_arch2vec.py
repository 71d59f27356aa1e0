"""arch2vec: its parts, what it learns, and what the vectors tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from evojax_mtl.evolution import arch2vec
from evojax_mtl.evolution.arch2vec import Arch2VecConfig, Autoencoder
from evojax_mtl.genomes.operation_graphs import OperationGraphs, nasbench201_graphs
from tests.evolution.nearness import spearman

CONFIG = Arch2VecConfig(
    dimensions=16, hidden=32, layers=2, updates=600, batch=16, learning_rate=5e-3
)
RANDOM = np.random.default_rng(0)
OPS = RANDOM.integers(0, 5, (200, 6))


@pytest.fixture(scope="module")
def graphs():
    return nasbench201_graphs(jnp.asarray(OPS))


@pytest.fixture(scope="module")
def trained(graphs):
    return jax.jit(arch2vec.arch2vec)(jax.random.key(0), graphs, CONFIG)


@pytest.fixture(scope="module")
def untrained(graphs):
    return arch2vec.initial_params(jax.random.key(1), graphs, CONFIG)


def test_divergence_is_the_integral():
    for mean, log_variance in ((0.0, 0.0), (1.5, -1.0), (-0.3, 0.8)):
        own = stats.norm(mean, np.exp(log_variance / 2))

        def integrand(x, own=own):
            return own.pdf(x) * (own.logpdf(x) - stats.norm.logpdf(x))

        expected, _ = integrate.quad(integrand, -12, 12)
        given = jnp.asarray(mean), jnp.asarray(log_variance)
        assert float(arch2vec.divergence(*given)) == pytest.approx(expected, abs=1e-5)


def test_layers_are_those_of_a_graph_isomorphism_network(graphs, untrained):
    params = jax.tree.map(np.asarray, untrained)
    params["epsilon"] = np.array([0.3, -0.2], np.float32)
    h = params["embed"]["embedding"][np.asarray(graphs.tokens[0])]
    edges = np.asarray(graphs.adjacency[0], np.float32)
    for k in range(2):
        h = (1 + params["epsilon"][k]) * h + edges @ h
        one, two = params[f"first_{k}"], params[f"second_{k}"]
        h = np.maximum(h @ one["kernel"] + one["bias"], 0)
        h = h @ two["kernel"] + two["bias"]
        h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
        h = np.maximum(h, 0)
    expected = h @ params["mean"]["kernel"] + params["mean"]["bias"]
    found, _ = Autoencoder(graphs.vocabulary, CONFIG).apply(
        {"params": params},
        graphs.tokens[0],
        graphs.adjacency[0],
        method=Autoencoder.encode,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_order_of_nodes_changes_no_vector(graphs, untrained):
    order = RANDOM.permutation(graphs.tokens.shape[1])
    other = OperationGraphs(
        graphs.tokens[:, order],
        graphs.adjacency[:, order][:, :, order],
        graphs.mask[:, order],
        graphs.vocabulary,
    )
    found, again = (
        arch2vec.architecture_vectors(each, untrained, CONFIG)
        for each in (graphs, other)
    )
    np.testing.assert_allclose(found, again, rtol=1e-4, atol=1e-5)


def test_it_learns_to_tell_tokens_and_edges(graphs, trained, untrained):
    model = Autoencoder(graphs.vocabulary, CONFIG)

    def correct(params):
        mean, _ = model.apply(
            {"params": params},
            graphs.tokens,
            graphs.adjacency,
            method=Autoencoder.encode,
        )
        edges, tokens = model.apply({"params": params}, mean, method=Autoencoder.decode)
        told = np.argmax(tokens, -1) == graphs.tokens
        return told.mean(), ((np.asarray(edges) > 0) == graphs.adjacency).mean()

    before, after = correct(untrained), correct(trained)
    assert before[0] < 0.2
    assert after[0] > 0.9
    assert after[1] > before[1] + 0.1


def test_near_architectures_are_near(graphs, trained):
    vectors = arch2vec.architecture_vectors(graphs, trained, CONFIG)
    assert spearman(OPS, vectors) > 0.4


def test_seeds_repeat(graphs):
    config = CONFIG.replace(updates=3)
    train = jax.jit(arch2vec.arch2vec)
    first, again = (train(jax.random.key(0), graphs, config) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
