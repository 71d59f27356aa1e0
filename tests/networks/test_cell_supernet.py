"""The cells' supernet against a plain network that is built from the same genome."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.genomes import cells
from evojax_mtl.networks.cell_operations import CONVOLUTIONS, KERNEL
from evojax_mtl.networks.cell_supernet import (
    CellSupernet,
    restore,
    run_network,
    select,
)

CHANNELS, CLASSES, IMAGES = 3, 4, 5
STACKS = ((cells.NORMAL,), (cells.REDUCTION, cells.NORMAL), (0, cells.NORMAL))
# every operation, a pair of edges that share weights, one and several loose ends
CODE = [0, 1, 0, 1, 0, 2, 2, 3, 1, 3, 4, 5, 4, 4, 6, 7, 0, 5, 8, 6]
CODE += [1, 1, 3, 3, 0, 0, 8, 7, 1, 2, 5, 4, 0, 3, 1, 0, 2, 4, 2, 6]
GENOME = cells.from_code(CODE)


def wirings(genome):
    return [cells.decode(jnp.asarray(genome), types) for types in STACKS]


def convolve(x, kernel, groups=1, dilation=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def pooled(x, start, function, padding="SAME", size=3, stride=1):
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, start, function, window, strides, padding)


class Plain:
    """The network, module by module; ``stats`` are running ones, or None."""

    def __init__(self, params, stats):
        self.params, self.stats = params, stats
        self.found = []

    def norm(self, x, scale, bias, stats):
        if self.stats is None:
            stats = jnp.stack([x.mean((0, 1, 2)), x.var((0, 1, 2))])
        self.found.append(stats)
        return (x - stats[0]) / jnp.sqrt(stats[1] + 1e-5) * scale + bias

    def known(self, *path):
        tree = self.stats
        for step in path if tree is not None else ():
            tree = tree[step]
        return tree

    def operation(self, x, name, k, pair, number):
        edges = self.params[name]["edges"]
        if number == 6:
            return x
        x = jax.nn.relu(x)
        if number == 7:
            return pooled(x, -jnp.inf, jax.lax.max)
        if number == 8:
            return pooled(x, 0.0, jax.lax.add) / 9
        own = {key: leaf[k, pair, number] for key, leaf in edges.items()}
        side = (3, 5, 7, 1, 3, 5)[number]
        margin = (KERNEL - side) // 2
        taps = own["depthwise"][margin : KERNEL - margin, margin : KERNEL - margin]
        taps, groups = taps[:, :, None], x.shape[-1]
        stats = [self.known(name, "edges")] * 2
        if self.stats is not None:
            stats = stats[0][k, pair, number]
        x = convolve(x, taps, groups, 2 if number > 2 else 1)
        if number < 3:
            x = jax.nn.relu(self.norm(x, own["scale"][0], own["bias"][0], stats[0]))
        x = convolve(x, own["pointwise"][None, None])
        return self.norm(x, own["scale"][1], own["bias"][1], stats[1])

    def cell(self, previous, before, name, k, kind):
        nodes, read, pairs = [previous, before], set(), 0
        for i, (a, b, p, q) in enumerate(GENOME[kind].tolist()):
            parts = [
                self.operation(nodes[source], name, k, pairs + source, number)
                for source, number in ((a, p), (b, q))
            ]
            nodes.append(parts[0] + parts[1])
            read |= {a, b}
            pairs += 2 + i
        own = self.params[name]
        ends = [b for b in range(5) if b + 2 not in read]
        joined = jax.nn.relu(jnp.concatenate([nodes[b + 2] for b in ends], -1))
        kernel = jnp.concatenate([own["kernel"][k, b] for b in ends])
        stats = self.known(name, "output")
        stats = None if stats is None else stats[k]
        total = convolve(joined, kernel[None, None])
        return self.norm(total, own["scale"][k], own["bias"][k], stats)

    def __call__(self, images):
        stem = self.params["stem"]
        x = convolve(images, stem["kernel"])
        previous = before = self.norm(
            x, stem["scale"], stem["bias"], self.known("stem")
        )
        for i, types in enumerate(STACKS):
            if i > 0:
                own, halves = self.params[f"halving_{i - 1}"], []
                for j, x in enumerate((previous, before)):
                    x = pooled(x, 0.0, jax.lax.add, "VALID", 2, 2) / 4
                    x = convolve(x, own["kernel"][j][None, None])
                    stats = self.known(f"halving_{i - 1}", j)
                    halves.append(self.norm(x, own["scale"][j], own["bias"][j], stats))
                previous, before = halves
            for k, kind in enumerate(types):
                new = self.cell(previous, before, f"stack_{i}", k, kind)
                previous, before = new, previous
        features = jax.nn.relu(previous.mean((1, 2)))
        decoder = self.params["decoder"]
        return features @ decoder["kernel"] + decoder["bias"]


@pytest.fixture(scope="module")
def case():
    images = jax.random.normal(jax.random.key(0), (IMAGES, 9, 8, 2))
    net = CellSupernet(CHANNELS, CLASSES)
    start = jax.jit(
        lambda: net.init(jax.random.key(1), images, wirings(GENOME), running=True)
    )()
    noise = iter(jax.random.split(jax.random.key(2), 200))

    def shake(leaf):
        draws = jax.random.uniform(next(noise), leaf.shape, minval=0.5, maxval=1.5)
        return leaf * draws + 0.1 * draws

    params = jax.tree.map(shake, start["params"])
    return net, images, params, jax.tree.map(shake, start["batch_stats"])


def test_logits_and_gradients_are_those_of_a_plain_network(case):
    _, images, params, stats = case
    mix = jax.random.normal(jax.random.key(3), (IMAGES, CLASSES))

    def ours(params):
        wired = wirings(GENOME)
        chosen, moments = select(params, wired), select(stats, wired)
        logits, found = run_network(chosen, moments, wired, images, running=False)
        return jnp.vdot(logits, mix), (logits, found)

    def plain(params):
        network = Plain(params, None)
        logits = network(images)
        return jnp.vdot(logits, mix), (logits, network.found)

    got, (logits, found) = jax.jit(jax.grad(ours, has_aux=True))(params)
    want, (expected, moments) = jax.jit(jax.grad(plain, has_aux=True))(params)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["stem"], moments[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found["stack_2"]["output"][1], moments[-1], rtol=1e-4, atol=1e-5
    )
    paths = jax.tree_util.tree_leaves_with_path(got)
    for (path, a), b in zip(paths, jax.tree.leaves(want), strict=True):
        scale = max(5e-2, float(jnp.abs(b).max()))
        np.testing.assert_allclose(
            a, b, atol=2e-4 * scale, err_msg=jax.tree_util.keystr(path)
        )


def test_evaluation_by_running_statistics_is_that_of_a_plain_network(case):
    net, images, params, stats = case
    variables = {"params": params, "batch_stats": stats}
    apply = jax.jit(lambda v, g, x: net.apply(v, x, wirings(g), running=True))
    expected = jax.jit(lambda p, s, x: Plain(p, s)(x))(params, stats, images)
    logits = apply(variables, jnp.asarray(GENOME), images)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    other = cells.random_cells(jax.random.key(5))
    assert np.abs(apply(variables, other, images) - expected).max() > 1e-3
    assert apply._cache_size() == 1


def test_what_a_genome_does_not_use_stays_as_it_is(case):
    _, _, params, _ = case
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), params)

    @jax.jit
    def change(tree):
        wired = wirings(GENOME)
        chosen = jax.tree.map(lambda x: x + 1, select(tree, wired, 1))
        return restore(tree, chosen, wired, 1)

    changed = jax.tree.map(lambda a, b: np.asarray(a != b), change(stacked), stacked)
    assert not any(leaf[0].any() for leaf in jax.tree.leaves(changed))
    genome = jnp.asarray(GENOME)
    pairs = np.asarray(cells.pairs(genome))
    numbers = np.asarray(cells.operations(genome))
    for i, types in enumerate(STACKS):
        leaf = changed[f"stack_{i}"]["edges"]["pointwise"][1]
        used = {
            (k, int(pair), int(number))
            for k, kind in enumerate(types)
            for pair, number in zip(pairs[kind], numbers[kind], strict=True)
            if number < len(CONVOLUTIONS)
        }
        found = {tuple(map(int, row[:3])) for row in np.argwhere(leaf)}
        assert found == used
        assert all(leaf[row].all() for row in used)
