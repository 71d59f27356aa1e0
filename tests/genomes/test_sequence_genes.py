"""What the genes of a layer on sequences stand for."""

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.architectures.layers import (
    ACTIVATIONS,
    SEQUENCE_TYPES,
    sequence_layers,
)
from evojax_mtl.genomes.sequence_genes import sequence_space

TAPS = (1, 3, 5, 7)
SPACE = sequence_space(TAPS, (64, 192), 0.5, (1e-9, 1e-3))
GENES = {
    "taps": 5,
    "activation": "elu",
    "filters": 100,
    "dropout": 0.25,
    "decay": 1e-6,
}


def test_a_layer_is_what_its_type_says():
    names = sequence_layers(TAPS)
    for kind in SEQUENCE_TYPES:
        values = jnp.asarray(SPACE.encode(GENES | {"type": kind}))
        found = jax.tree.map(lambda x: x.item(), SPACE.decode(values))
        convolves = kind == "conv1d"
        assert names[found["kernel"]] == ("conv1d_5" if convolves else kind)
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
