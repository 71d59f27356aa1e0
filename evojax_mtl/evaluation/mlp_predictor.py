"""Accuracy predictor of an architecture's genes: the weak predictor of Wu 2021.

Wu et al. 2021, Stronger NAS with Weaker Predictors, arXiv:2102.10490.

Shape legend: ``A`` architectures, ``I`` inputs.

The genes, one-hot, pass some hidden layers with ReLU to one number. The paper's four
layers are 1,000 wide; these are 64, two of them, since a search trains one a
generation.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.evaluation.accuracy_predictors import Params


@dataclass(frozen=True)
class MLPPredictor:
    """An ``AccuracyPredictor`` of vectors.

    Attributes:
      width: of all layers (channels).
      layers: hidden ones.
    """

    width: int = 64
    layers: int = 2

    def shapes(self, inputs: Float[Array, "A I"]) -> dict[str, tuple[int, ...]]:
        """See ``AccuracyPredictor.shapes``."""
        return {
            "first": (inputs.shape[-1], self.width),
            "kernels": (self.layers - 1, self.width, self.width),
            "output": (self.width, 1),
        }

    def initial(self, drawn: Params, inputs: Float[Array, "A I"]) -> Params:
        """See ``AccuracyPredictor.initial``."""
        return drawn | {"biases": jnp.zeros((self.layers, self.width), jnp.float32)}

    def predict(self, params: Params, inputs: Float[Array, "A I"]) -> Float[Array, "A"]:
        """See ``AccuracyPredictor.predict``."""
        hidden = jax.nn.relu(inputs @ params["first"] + params["biases"][0])
        for layer in range(self.layers - 1):
            linear = hidden @ params["kernels"][layer]
            hidden = jax.nn.relu(linear + params["biases"][layer + 1])
        return (hidden @ params["output"])[:, 0]
