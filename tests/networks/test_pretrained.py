"""Weights that others trained, from a file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
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
