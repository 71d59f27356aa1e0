"""Weights that others trained, from a file."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.branching_network import BranchingNetwork
from evojax_mtl.networks.dense_network import stage_parts
from evojax_mtl.networks.fused_network import FusedNetwork
from evojax_mtl.networks.layered_network import LayeredNetwork
from evojax_mtl.networks.mediative_network import MediativeNetwork
from evojax_mtl.networks.pretrained import with_pretrained
from evojax_mtl.networks.resizing import resize
from evojax_mtl.networks.resnet import BLOCKS, resnet50
from evojax_mtl.networks.small_backbone import small

SHAPE = (32, 32, 3)
ORDER = ("weight", "bias", "running_mean", "running_var")


def torchvision_arrays():
    """Names and shapes of torchvision's ResNet-50, but for its classifier."""
    found = {}

    def conv(name, outputs, inputs, side):
        found[f"{name}.weight"] = (outputs, inputs, side, side)

    def norm(name, channels):
        found.update({f"{name}.{part}": (channels,) for part in ORDER})

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for layer, blocks in enumerate(BLOCKS, 1):
        width = 32 * 2**layer
        for block in range(blocks):
            place = f"layer{layer}.{block}"
            for i, (o, n, side) in enumerate(
                ((width, inputs, 1), (width, width, 3), (4 * width, width, 1)), 1
            ):
                conv(f"{place}.conv{i}", o, n, side)
                norm(f"{place}.bn{i}", o)
            if block == 0:
                conv(f"{place}.downsample.0", 4 * width, inputs, 1)
                norm(f"{place}.downsample.1", 4 * width)
            inputs = 4 * width
    draw = np.random.default_rng(0)
    return {
        name: draw.random(shape, np.float32)
        if "bn" in name or "conv1" in name
        else np.zeros(shape, np.float32)
        for name, shape in found.items()
    }


@pytest.fixture(scope="module")
def arrays():
    return torchvision_arrays()


@pytest.fixture(scope="module")
def network():
    return MediativeNetwork(resnet50(), {"depth": 1}, SHAPE, "none")


@pytest.fixture(scope="module")
def empty(network):
    """Weights of the right shapes."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def test_arrays_of_torchvision_find_their_places(arrays, network, empty, tmp_path):
    path = tmp_path / "resnet50.npz"
    np.savez(path, **arrays, **{"fc.bias": np.zeros(1000)})
    weights = with_pretrained(network.backbone, network.stages, empty, path)
    trees = network.trees(weights)
    stages, statistics = trees.encoder["stages"], trees.statistics["encoder"]["stages"]
    stem = arrays["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(stages["stem"]["conv"]["kernel"], stem)
    block = stages["stage_3"]["block_0"]
    first = arrays["layer3.0.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(block["conv_1"]["kernel"], first)
    own = arrays["layer4.2.bn3.weight"]
    found = stages["stage_4"]["block_2"]["norm_3"]["scale"]
    np.testing.assert_array_equal(found, own)
    found = statistics["stage_1"]["block_1"]["norm_2"]["var"]
    np.testing.assert_array_equal(found, arrays["layer1.1.bn2.running_var"])
    # every array but the classifier's has found one
    total = sum(np.size(x) for x in jax.tree.leaves((stages, statistics)))
    assert total == sum(array.size for array in arrays.values())


def test_files_that_do_not_fit_are_told(arrays, network, empty, tmp_path):
    def load(given, name="weights.npz"):
        np.savez(tmp_path / name, **given)
        with_pretrained(network.backbone, network.stages, empty, tmp_path / name)

    few = {k: v for k, v in arrays.items() if not k.startswith("layer4.1.bn")}
    told = "12 of 265 arrays are missing, the first is layer4.1.bn1.weight"
    with pytest.raises(UserError, match=told):
        load(few)
    wrong = arrays | {"conv1.weight": np.zeros((64, 1, 7, 7), np.float32)}
    with pytest.raises(UserError, match=r"conv1.weight: found shape \(7, 7, 1, 64\)"):
        load(wrong)
    path = tmp_path / "no.npz"
    with pytest.raises(UserError, match=r"no\.npz: No such file"):
        with_pretrained(network.backbone, network.stages, empty, path)
    with pytest.raises(UserError, match="small, which has no published weights"):
        with_pretrained(small(4, 1), network.stages, empty, path)


def test_resizing_keeps_what_is_linear():
    rows, columns = np.linspace(0, 1, 3), np.linspace(-1, 2, 4)
    ramp = (rows[:, None] + 2 * columns)[None, :, :, None]
    found = resize(jnp.asarray(ramp, jnp.float32), (9, 7))
    rows, columns = np.linspace(0, 1, 9), np.linspace(-1, 2, 7)
    np.testing.assert_allclose(
        found[0, :, :, 0], rows[:, None] + 2 * columns, atol=1e-6
    )
    flat = resize(jnp.full((1, 1, 1, 2), 3.0), (2, 5))
    assert (np.asarray(flat) == 3).all()


def plain_names(stages):
    """A name for each array of a backbone, and its array, turned as PyTorch's are."""
    names, arrays = {}, {}
    for stage, part in zip(STAGES, stages, strict=True):
        for layout in (part.weights, part.statistics):
            for path, shape in zip(layout.paths, layout.shapes, strict=True):
                name = "/".join([stage, *path])
                names[name] = name.replace("/", ".")
                array = np.full(shape, len(names), np.float32)
                arrays[names[name]] = (
                    array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
                )
    return names, arrays


@pytest.mark.parametrize("kind", [BranchingNetwork, LayeredNetwork, FusedNetwork])
def test_copies_of_a_backbone_begin_as_it_does(kind, tmp_path):
    plain = small(2, 1)
    outputs = {"depth": 1, "normals": 3}
    names, arrays = plain_names(stage_parts(plain, SHAPE))
    backbone = dataclasses.replace(plain, published=lambda: names)
    network = kind(backbone, outputs, SHAPE)
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    weights = with_pretrained(backbone, network.stages, zeros, path)
    if hasattr(network, "copied"):
        weights = network.copied(weights)
    own = {BranchingNetwork: "private", LayeredNetwork: "layers"}.get(kind)
    for stage, part in zip(STAGES, network.stages, strict=True):
        vector = np.asarray(weights.encoder["stages"][stage])
        assert vector.shape[-1] == part.weights.size
        assert (vector > 0).all()
        statistics = np.asarray(weights.statistics["encoder"]["stages"][stage])
        assert (statistics > 0).all()
        for task in outputs if own else ():
            np.testing.assert_array_equal(weights.own[task][own][stage], vector)
            kept = weights.statistics["own"][task]
            kept = kept["private" if own == "private" else "stages"][stage]
            np.testing.assert_array_equal(np.broadcast_to(statistics, kept.shape), kept)
