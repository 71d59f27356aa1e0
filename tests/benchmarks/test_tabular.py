"""The NumPy peer of the benchmark ``tabular`` runs the same algorithm as ours."""

import jax
import numpy as np

from evojax_mtl.evaluation.tabular import table_data
from evojax_mtl.search.ktnas import KTNAS
from evojax_mtl.tabular_configs import KTNASConfig
from evojax_mtl.tasks.sources import load_tables
from experiments.benchmarks import numpy_ktnas

SEARCHES = 60


def test_both_find_as_much_on_average():
    tasks = load_tables("nasbench-toy")
    genes = tasks[0].space.genes
    proxy = np.stack([task.multiply_adds for task in tasks])
    data = table_data(tasks, proxy, np.eye(5)[genes].reshape(len(genes), -1))
    config = KTNASConfig(generations=6)
    search = KTNAS(config, data)
    rates = search.hyperparameters()
    run = jax.jit(jax.vmap(lambda key: search.run(key, rates, data)[0].archive.fitness))
    ours = np.asarray(run(jax.random.split(jax.random.key(0), SEARCHES)))
    names = ("validation", "proxy", "vectors", "neighbours")
    tables = numpy_ktnas.Tables(*(np.asarray(getattr(data, name)) for name in names))
    peer = np.array([numpy_ktnas.search(tables, config, k) for k in range(SEARCHES)])
    error = np.sqrt((ours.var(0) + peer.var(0)) / SEARCHES)
    assert (np.abs(ours.mean(0) - peer.mean(0)) < 4 * error).all()
