"""Sizes of networks against counts by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from evojax_mtl.evaluation.complexity import complexity, multiply_adds
from evojax_mtl.networks.cell_network import CellNetwork
from evojax_mtl.networks.convolution import convolution
from evojax_mtl.networks.darts_network import DartsNetwork
from evojax_mtl.runs.compilation import CompilationCounter

IDENTITIES = (0, 1, 6, 6) * 10


class Layers(nn.Module):
    """A strided, a depthwise dilated and a pointwise convolution, a linear layer."""

    @nn.compact
    def __call__(self, x):
        conv = {"use_bias": False, "conv_general_dilated": convolution}
        x = nn.Conv(4, (3, 3), (2, 2), 1, **conv)(x)
        x = nn.Conv(4, (5, 5), 1, 4, 1, 2, feature_group_count=4, **conv)(x)
        x = nn.Conv(6, (1, 1), **conv)(x)
        return nn.Dense(5)(x.mean((1, 2)))


def test_a_small_network_by_hand():
    work = 16 * 9 * 2 * 4 + 16 * 25 * 4 + 16 * 4 * 6 + 6 * 5
    weights = 9 * 2 * 4 + 25 * 4 + 4 * 6 + 6 * 5 + 5
    assert complexity(Layers(), (8, 8, 2)) == (weights, work)


def test_a_cell_network_by_hand():
    """Identities only: all five blocks are loose ends."""
    c, classes = 4, 3
    cells = [(c, 8), (2 * c, 4), (2 * c, 4), (4 * c, 2), (4 * c, 2)]
    halves = 2 * [(2 * c * c, 2 * c, 4), (4 * 2 * c * c, 4 * c, 2)]
    weights = 9 * c + 2 * c + 4 * c * classes + classes
    weights += sum(5 * w * w + 2 * w for w, _ in cells)
    weights += sum(kernel + 2 * w for kernel, w, _ in halves)
    work = 64 * 9 * c + 4 * c * classes
    work += sum(side**2 * 5 * w * w for w, side in cells)
    work += sum(side**2 * kernel for kernel, _, side in halves)
    network = CellNetwork(IDENTITIES, c, 1, classes)
    assert complexity(network, (8, 8, 1)) == (weights, work)


def test_a_stem_for_imagenet_by_hand():
    """Identities: the rest of the network works on an eighth of the image."""
    c = 4
    plain = complexity(CellNetwork(IDENTITIES, c, 1, 3), (4, 4, 1))
    found = complexity(CellNetwork(IDENTITIES, c, 1, 3, stem="imagenet"), (32, 32, 1))
    kernels = [(9 * c // 2, 16), (9 * c // 2 * c, 8), (9 * c * c, 4)]
    weights = sum(kernel for kernel, _ in kernels) + 2 * (c // 2 + c + c)
    work = sum(kernel * side**2 for kernel, side in kernels)
    assert found.parameters - plain.parameters == weights - (9 * c + 2 * c)
    assert found.multiply_adds - plain.multiply_adds == work - 16 * 9 * c


def test_an_auxiliary_head_does_not_count():
    one, other = (
        complexity(DartsNetwork(IDENTITIES, 2, 1, 3, auxiliary), (32, 32, 1))
        for auxiliary in (True, False)
    )
    assert one == other


def test_loops_count_every_pass_and_branches_the_costliest():
    def program(x):
        x, _ = jax.lax.scan(lambda x, _: (x @ x, None), x, None, length=3)
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    jaxpr = jax.make_jaxpr(jax.jit(program))(jnp.ones((4, 4)))
    assert multiply_adds(jaxpr.jaxpr) == 5 * 4**3


def test_it_compiles_nothing():
    with CompilationCounter() as counter:
        assert complexity(CellNetwork((0, 1, 0, 0) * 10, 4, 1, 3), (8, 8, 1)).parameters
    assert counter.requests == 0
