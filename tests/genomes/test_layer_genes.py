"""What the genes of a layer of one of several types stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.architectures.layers import (
    ACTIVATIONS,
    IMAGE_TYPES,
    NO_KERNEL,
    SEQUENCE_TYPES,
    image_layers,
    sequence_layers,
)
from evojax_mtl.genomes.layer_genes import typed_space

TAPS = (1, 3, 5, 7)
RANGES = (64, 192), 0.5, (1e-9, 1e-3)
SPACE = typed_space(SEQUENCE_TYPES, TAPS, *RANGES)
GENES = {
    "window": 5,
    "activation": "elu",
    "filters": 100,
    "dropout": 0.25,
    "decay": 1e-6,
}


@pytest.mark.parametrize(
    ("types", "names", "convolution"),
    [
        (SEQUENCE_TYPES, sequence_layers(TAPS), "conv1d_5"),
        (IMAGE_TYPES, image_layers((*TAPS, NO_KERNEL)), "convolution_5x5"),
    ],
)
def test_a_layer_is_what_its_type_says(types, names, convolution):
    space = typed_space(types, TAPS, *RANGES)
    for kind in types:
        values = jnp.asarray(space.encode(GENES | {"type": kind}))
        found = jax.tree.map(lambda x: x.item(), space.decode(values))
        convolves = kind == types[0]
        assert names[found["kernel"]] == (convolution if convolves else kind)
        activation = "elu" if convolves else "linear"
        assert ACTIVATIONS[found["activation"]] == activation
        assert found["passes"] == (kind == "dropout")
        np.testing.assert_allclose(found["dropout"], 0.25 * found["passes"])
        assert found["filters"] == 100
        np.testing.assert_allclose(found["decay"], 1e-6, rtol=1e-4)


def test_types_and_taps_are_drawn_evenly():
    found = SPACE.decode(SPACE.sample(jax.random.key(0), (8000,)))["kernel"]
    share = np.bincount(found, minlength=7) / 8000
    np.testing.assert_allclose(share, [1 / 16] * 4 + [1 / 4] * 3, atol=0.02)
