"""Accuracy predictors: how they order unseen cells, and what they may not depend on."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.accuracy_predictors import expected_fitness, normal_scores
from evojax_mtl.evaluation.gcn_predictor import GCNPredictor
from evojax_mtl.evaluation.mlp_predictor import MLPPredictor
from evojax_mtl.evaluation.table_embeddings import graphs_of
from evojax_mtl.genomes.operation_graphs import OperationGraphs, nasbench201_graphs
from evojax_mtl.tasks.sources import load_tasks

PLACES, SEEDS = 128, 4
NETWORKS = {"gcn": GCNPredictor(), "mlp": MLPPredictor()}


def inputs_of(name, space):
    if name == "gcn":
        return graphs_of(space, "test")(jnp.asarray(space.genes))
    parts = [np.eye(n)[space.genes[:, k]] for k, n in enumerate(space.choices)]
    return jnp.asarray(np.concatenate(parts, axis=1), jnp.float32)


@lru_cache
def program(name):
    """Predictors of many seeds, whatever their number of evaluated cells."""
    over = (0, None, None, 0, 0)

    def run(keys, inputs, rows, fitness):
        train = jax.vmap(expected_fitness, over)
        return train(keys, NETWORKS[name], inputs, rows, fitness)

    return jax.jit(run)


def scored(name, task, count, shuffle=False):
    """Scores of ``SEEDS`` predictors, ``(SEEDS, A)``, and the rows that they saw."""
    rng = np.random.default_rng(count)
    rows = np.full((SEEDS, PLACES), 7, np.int32)
    fitness = np.full((SEEDS, PLACES), -np.inf, np.float32)
    for seed in range(SEEDS):
        chosen = rng.choice(len(task.space), count, replace=False)
        where = np.sort(rng.choice(PLACES, count, replace=False))
        rows[seed, where] = chosen
        known = task.validation[chosen]
        fitness[seed, where] = rng.permutation(known) if shuffle else known
    keys = jax.random.split(jax.random.key(0), SEEDS)
    scores = program(name)(keys, inputs_of(name, task.space), rows, fitness)
    return np.asarray(scores), np.where(np.isfinite(fitness), rows, -1)


def held_out_correlation(name, task, count, shuffle=False):
    """Spearman's with the truth on cells that no predictor saw, mean of the seeds."""
    scores, rows = scored(name, task, count, shuffle)
    found = []
    for score, seen in zip(scores, rows, strict=True):
        rest = np.setdiff1d(np.arange(len(score)), seen)
        found.append(stats.spearmanr(score[rest], task.validation[rest]).statistic)
    return np.mean(found)


@pytest.mark.parametrize("name", NETWORKS)
def test_unseen_cells_of_the_synthetic_table_are_ordered(name):
    (task,) = load_tasks("nasbench-toy:1")
    few, many = (held_out_correlation(name, task, n) for n in (20, 100))
    assert few > 0.4
    assert many > max(0.75, few)
    # with fitness of other cells there is nothing to learn
    assert abs(held_out_correlation(name, task, 100, shuffle=True)) < 0.35


@pytest.mark.parametrize(
    ("source", "at_least"),
    [
        ("nasbench201:cifar100", {20: 0.45, 100: 0.7}),
        ("transnasbench101:class_scene", {20: 0.45, 100: 0.7}),
    ],
)
def test_unseen_cells_of_real_tables_are_ordered(source, at_least, real_data):
    if not list(real_data.glob(f"{source.split(':')[0]}*.npz")):
        pytest.skip(f"{real_data} has no {source.split(':')[0]}*.npz")
    (task,) = load_tasks(source)
    found = {count: held_out_correlation("gcn", task, count) for count in at_least}
    assert all(found[count] > at_least[count] for count in at_least), found


def test_graphs_tell_more_than_genes_when_little_is_known():
    (task,) = load_tasks("nasbench-toy:1")
    gcn, mlp = (held_out_correlation(name, task, 20) for name in ("gcn", "mlp"))
    assert gcn > mlp


def small(count=6):
    genes = np.random.default_rng(0).integers(0, 5, (count, 6))
    return nasbench201_graphs(jnp.asarray(genes, jnp.int32))


def weights(graphs, layers=2):
    predictor = GCNPredictor(width=4, layers=layers)
    rng = np.random.default_rng(1)
    shapes = predictor.shapes(graphs)
    drawn = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
    biases = jnp.asarray(rng.normal(size=(layers + 1, 4)), jnp.float32)
    return predictor, drawn | {"biases": biases}


def test_the_network_is_the_mean_over_neighbours_node_by_node():
    graphs = small()
    predictor, params = weights(graphs)
    found = predictor.predict(params, graphs)
    tokens, kernels, biases, output = (
        np.asarray(params[k], np.float64)
        for k in ("tokens", "kernels", "biases", "output")
    )
    for a in range(len(found)):
        values = [tokens[t] for t in graphs.tokens[a]]
        for layer in range(2):
            nexts = []
            for node in range(len(values)):
                near = set(np.flatnonzero(graphs.adjacency[a, node])) | {node}
                mean = sum(values[other] for other in near) / len(near)
                nexts.append(np.maximum(mean @ kernels[layer] + biases[layer], 0))
            values = nexts
        own = np.flatnonzero(graphs.mask[a])
        whole = sum(values[node] for node in own) / len(own)
        hidden = np.maximum(whole @ kernels[2] + biases[2], 0)
        np.testing.assert_allclose(found[a], (hidden @ output)[0], rtol=1e-5)


def test_the_order_of_nodes_does_not_matter():
    graphs = small()
    predictor, params = weights(graphs)
    order = np.random.default_rng(2).permutation(graphs.tokens.shape[1])
    moved = OperationGraphs(
        tokens=graphs.tokens[:, order],
        adjacency=graphs.adjacency[:, order][:, :, order],
        mask=graphs.mask[:, order],
        vocabulary=graphs.vocabulary,
    )
    np.testing.assert_allclose(
        predictor.predict(params, moved), predictor.predict(params, graphs), rtol=1e-5
    )


def test_operations_of_a_kind_begin_alike():
    graphs = small()
    predictor, params = weights(graphs)
    tokens = np.asarray(predictor.initial(params, graphs)["tokens"])
    own = np.unique(graphs.tokens[np.asarray(graphs.mask)])
    assert (tokens[own] == 0).all()
    assert (np.abs(tokens[30:]).sum(1) > 0).all()


def test_normal_scores_are_quantiles_of_ranks():
    fitness = np.array([0.3, -np.inf, 0.9, 0.3, -5.0, -np.inf], np.float32)
    shares = (stats.rankdata(fitness[np.isfinite(fitness)]) - 0.5) / 4
    expected = np.zeros(6)
    expected[np.isfinite(fitness)] = stats.norm.ppf(shares)
    np.testing.assert_allclose(normal_scores(jnp.asarray(fitness)), expected, atol=1e-6)
    assert (normal_scores(jnp.full(3, -jnp.inf)) == 0).all()


def test_masked_places_are_not_read():
    graphs = small(40)
    rows = np.arange(12, dtype=np.int32)
    fitness = np.where(np.arange(12) % 3 == 0, -np.inf, np.sin(np.arange(12)))
    fitness = fitness.astype(np.float32)

    @jax.jit
    def scores(rows, fitness):
        return expected_fitness(
            jax.random.key(0), GCNPredictor(8), graphs, rows, fitness, steps=20
        )

    other = np.where(np.isfinite(fitness), rows, -1).astype(np.int32)
    np.testing.assert_array_equal(scores(rows, fitness), scores(other, fitness))
    # units do not matter either, the order does
    np.testing.assert_array_equal(scores(rows, fitness), scores(rows, 9 * fitness - 4))
    assert not np.array_equal(scores(rows, fitness), scores(rows, -np.abs(fitness)))
    assert np.isfinite(scores(rows, np.full(12, -np.inf, np.float32))).all()


def test_networks_that_are_no_graphs_are_refused():
    from evojax_mtl.tasks.transnasbench101 import macro

    with pytest.raises(UserError, match=r"weaknas on .*, whose networks are no"):
        graphs_of(macro(), "must be weaknas")
