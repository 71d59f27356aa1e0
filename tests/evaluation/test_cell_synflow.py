"""Synflow of cells against automatic differentiation of the plain network."""

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.evaluation.cell_synflow import Body, log_synflow
from evojax_mtl.genomes import cells
from evojax_mtl.genomes.genotypes import GENOTYPES
from evojax_mtl.networks.cell_network import CellNetwork, static_code

BODY = Body(channels=2, repeats=1, image=(9, 7, 3), classes=5)
PUBLISHED = cells.from_code(list(GENOTYPES["kt-c10"]))


def fill(path, leaf):
    """A kernel's mean absolute value; batch norms do nothing."""
    module, name = path[-2].key, path[-1].key
    if name in ("var", "mean", "bias", "scale"):
        # a variance short by what is added to it
        return jnp.full(leaf.shape, {"var": 1 - 1e-5, "scale": 1.0}.get(name, 0.0))
    if module == "classifier":
        return jnp.full(leaf.shape, 0.5 / np.sqrt(leaf.shape[0]))
    fan_in = leaf.shape[-1] if module == "merge" else np.prod(leaf.shape[:-1])
    return jnp.full(leaf.shape, np.sqrt(2 / fan_in) * np.sqrt(2 / np.pi))


def drawn(key, path, leaf):
    """A kernel's absolute values as drawn."""
    mean = fill(path, leaf)
    if path[-1].key != "kernel":
        return mean
    if path[-2].key == "classifier":
        return mean * 2 * jax.random.uniform(key, leaf.shape)
    return mean * np.sqrt(np.pi / 2) * jnp.abs(jax.random.normal(key, leaf.shape))


def network_of(genome):
    network = CellNetwork(
        static_code(genome), BODY.channels, BODY.repeats, BODY.classes
    )
    ones = jnp.ones((1, *BODY.image))
    return network, ones, jax.eval_shape(network.init, jax.random.key(0), ones)


def by_gradients(network, ones, variables):
    def total(params):
        return network.apply(variables | {"params": params}, ones)[0].sum()

    slopes = jax.jit(jax.grad(total))(variables["params"])
    # a bias of a batch norm or of the classifier is no weight of a layer, nor a scale
    found = [
        jnp.sum(jnp.abs(w * g)) if path[-1].key == "kernel" else 0.0
        for (path, w), g in zip(
            jax.tree_util.tree_leaves_with_path(variables["params"]),
            jax.tree.leaves(slopes),
            strict=True,
        )
    ]
    return float(np.log(sum(found)))


def test_scores_are_those_of_automatic_differentiation():
    network, ones, shapes = network_of(PUBLISHED)
    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    found = jax.jit(log_synflow, static_argnums=1)(PUBLISHED[None], BODY)
    np.testing.assert_allclose(found[0], by_gradients(network, ones, variables), 1e-5)


def test_without_max_pooling_it_is_the_mean_over_draws():
    genome = np.where(PUBLISHED == 7, 8, PUBLISHED)
    network, ones, shapes = network_of(genome)

    @jax.jit
    def one(key):
        leaves = jax.tree.leaves(shapes)
        keys = iter(jax.random.split(key, len(leaves)))
        variables = jax.tree_util.tree_map_with_path(
            lambda path, leaf: drawn(next(keys), path, leaf), shapes
        )
        kernels = variables["params"]

        def total(factor):
            grown = jax.tree_util.tree_map_with_path(
                lambda path, w: w * factor if path[-1].key == "kernel" else w, kernels
            )
            return network.apply(variables | {"params": grown}, ones)[0].sum()

        # the derivative by the logarithm of a factor of all weights, nearly constant
        step = 0.01
        more, less = (jnp.log(total(jnp.exp(h))) for h in (step, -step))
        return total(1.0) * (more - less) / (2 * step)

    scores = np.asarray(jax.lax.map(one, jax.random.split(jax.random.key(1), 300)))
    error = scores.std(ddof=1) / np.sqrt(len(scores)) / scores.mean()
    found = np.exp(jax.jit(log_synflow, static_argnums=1)(genome[None], BODY)[0])
    assert error < 0.2
    assert abs(found / scores.mean() - 1) < 4 * error
