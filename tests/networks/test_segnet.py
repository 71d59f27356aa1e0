"""SegNet: its size as published, and pooling with positions pixel by pixel."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.methods import find_method
from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.dense_network import Heads, stage_parts
from evojax_mtl.networks.mediative_network import MediativeNetwork
from evojax_mtl.networks.segnet import pool, segnet, unpool
from evojax_mtl.networks.task_network import TaskNetwork

SHAPE = (288, 384, 3)
# count_parameters of im2im_pred/model_segnet_single.py in lorenmt/mtan, by which its
# scripts divide (see model_segnet_split.py)
PUBLISHED = 24_981_069
SMALL = segnet((2, 3, 3, 4, 4), (1, 1, 1, 2, 1))
OUTPUTS = {"segmentation": 2}


def test_one_task_has_the_published_weights():
    stages = stage_parts(segnet(), SHAPE)
    assert stages[-1].output == (9, 12, 512)
    head = Heads(segnet(), {"segmentation": 13}, stages[-1].output)
    encoder = sum(part.weights.size for part in stages)
    assert encoder + head.parts["segmentation"].weights.size == PUBLISHED


def plain_pool(x):
    """Loops over windows, cut off at the edges."""
    height, width = x.shape
    largest = np.zeros((-(-height // 2), -(-width // 2)), x.dtype)
    places = np.zeros_like(largest)
    for i, j in np.ndindex(largest.shape):
        best = None
        for k in range(4):
            row, column = 2 * i + k // 2, 2 * j + k % 2
            if (
                row < height
                and column < width
                and (best is None or x[row, column] > best)
            ):
                best, places[i, j] = x[row, column], k
        largest[i, j] = best
    return largest, places


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_values_go_back_to_where_they_were_the_largest(size):
    rng = np.random.default_rng(0)
    # few values, so that many are equal; as after a ReLU none is below 0
    x = rng.integers(0, 3, (2, *size, 3)).astype(np.float32)
    largest, positions = pool(jnp.asarray(x))
    back = np.asarray(unpool(largest, positions, size))
    assert back.shape == x.shape
    for b, c in np.ndindex(2, 3):
        expected, places = plain_pool(x[b, :, :, c])
        np.testing.assert_array_equal(largest[b, :, :, c], expected)
        np.testing.assert_array_equal(positions[b, :, :, c], places)
        whole = np.zeros(size, np.float32)
        for i, j in np.ndindex(expected.shape):
            row, column = 2 * i + int(places[i, j]) // 2, 2 * j + int(places[i, j]) % 2
            whole[row, column] = expected[i, j]
        np.testing.assert_array_equal(back[b, :, :, c], whole)
    # the gradient goes to the chosen pixels, which is where unpooling ones puts them
    gradient = jax.grad(lambda x: jnp.sum(pool(x)[0]))(jnp.asarray(x))
    ones = unpool(jnp.ones_like(largest), positions, size)
    np.testing.assert_array_equal(gradient, ones)


def predict(network, weights, images, architecture):
    found, _ = network.encode(
        weights.encoder,
        weights.statistics["encoder"],
        images,
        architecture,
        train=True,
    )
    views = jax.tree.map(lambda x: x[None], found)
    return network.decode(
        weights.own,
        weights.statistics["own"],
        views,
        architecture,
        images.shape[1:3],
        key=jax.random.key(0),
        train=True,
    )[0]


def test_decoders_read_the_positions_of_their_encoder():
    shape = (20, 36, 3)
    images = jax.random.uniform(jax.random.key(1), (2, *shape))
    shared = MediativeNetwork(SMALL, OUTPUTS, shape, "none")
    weights = shared.init(jax.random.key(0))
    apart = TaskNetwork(SMALL, OUTPUTS, shape)
    twice = weights.replace(
        encoder=jax.tree.map(lambda x: x[None], weights.encoder["stages"]),
        own={name: own["head"] for name, own in weights.own.items()},
        statistics=weights.statistics
        | {
            "encoder": jax.tree.map(
                lambda x: x[None], weights.statistics["encoder"]["stages"]
            )
        },
    )

    @jax.jit
    def together(weights, images):
        def loss(encoder):
            changed = weights.replace(encoder=encoder)
            found = predict(shared, changed, images, shared.idle())
            return sum(jnp.sum(x**2) for x in found.values()), found

        return jax.grad(loss, has_aux=True)(weights.encoder)

    @jax.jit
    def by_hand(weights, images):
        """Expected predictions, and those from positions that are all 0."""
        x, positions = images, ()
        own = weights.statistics["encoder"]["stages"]
        pairs = zip(SMALL.stages, STAGES, shared.stages, strict=True)
        for stage, name, part in pairs:
            variables = {
                "params": part.weights.unravel(weights.encoder["stages"][name]),
                "batch_stats": part.statistics.unravel(own[name]),
            }
            (x, where), _ = stage.apply(
                variables, x, train=True, mutable=["batch_stats"]
            )
            positions += (where,)
        expected, unplaced = {}, {}
        for name, channels in OUTPUTS.items():
            part = shared.heads.parts[name]
            variables = {
                "params": part.weights.unravel(weights.own[name]["head"]),
                "batch_stats": part.statistics.unravel(weights.statistics["own"][name]),
            }
            nowhere = tuple(map(jnp.zeros_like, positions))
            for found, places in ((expected, positions), (unplaced, nowhere)):
                found[name], _ = SMALL.head(channels).apply(
                    variables,
                    x,
                    shape[:2],
                    places,
                    train=True,
                    mutable=["batch_stats"],
                )
        return expected, unplaced

    gradient, found = together(weights, images)
    alone = jax.jit(lambda w, x: predict(apart, w, x, ()))(twice, images)
    expected, unplaced = by_hand(weights, images)
    for name, channels in OUTPUTS.items():
        assert expected[name].shape == (2, *shape[:2], channels)
        np.testing.assert_allclose(found[name], expected[name], atol=1e-3)
        np.testing.assert_allclose(alone[name], expected[name], atol=1e-3)
        assert np.abs(unplaced[name] - expected[name]).max() > 1e-2
    assert all(np.abs(leaf).max() > 0 for leaf in gradient["stages"].values())


def test_streams_pass_through_its_stages():
    shape = (20, 36, 3)
    network = MediativeNetwork(SMALL, OUTPUTS, shape, "exclusive")
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    weights = jax.eval_shape(network.init, jax.random.key(0))
    run = partial(predict, network, architecture=network.idle())
    found = jax.eval_shape(lambda w, x: run(w, x), weights, images)
    assert {name: x.shape[-1] for name, x in found.items()} == OUTPUTS
    assert weights.encoder["kernels"]["stage_2"].shape == (1, 3 * 9 * 3 + 3 + 2 * 3)


def test_methods_on_a_representation_are_refused():
    config = find_method("hps").config
    with pytest.raises(
        Exception, match=r"^--balancing: found rotograd with --backbone"
    ):
        config(backbone="segnet", balancing="rotograd")
