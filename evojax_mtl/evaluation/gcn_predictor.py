"""Graph-convolutional accuracy predictor of architectures (Wen 2020).

Wen et al. 2020, Neural Predictor for Neural Architecture Search, arXiv:1912.00848.

Shape legend: ``A`` architectures, ``N`` nodes of a graph.

1. A node starts as the vector of its token.
2. A layer: the mean over a node and its neighbours, a linear map, ReLU.
3. The mean over the architecture's operations, a hidden layer, one number.

This differs from the paper in:

1. The graphs are those of ``genomes.operation_graphs``, whose tokens tell an
   operation's position and whose nodes of a kind join operations alike. So neighbours
   need no direction, and one mean stands where the paper averages over both. The tokens
   of operations start at zero: until the data tell them apart, those of a kind are
   alike.
2. It is smaller (32 channels instead of 144 and 128, 2 layers instead of 3), and a
   fixed number of steps long, since a search trains one a generation.
3. There is no first stage that classifies failures apart: ranks are learned, see
   ``accuracy_predictors``.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.evaluation.accuracy_predictors import Params
from evojax_mtl.genomes.operation_graphs import OperationGraphs


@dataclass(frozen=True)
class GCNPredictor:
    """An ``AccuracyPredictor`` of operation graphs.

    Attributes:
      width: of all layers (channels).
      layers: graph convolutions.
    """

    width: int = 32
    layers: int = 2

    def shapes(self, inputs: OperationGraphs) -> dict[str, tuple[int, ...]]:
        """See ``AccuracyPredictor.shapes``."""
        return {
            "tokens": (inputs.vocabulary, self.width),
            "kernels": (self.layers + 1, self.width, self.width),
            "output": (self.width, 1),
        }

    def initial(self, drawn: Params, inputs: OperationGraphs) -> Params:
        """See ``AccuracyPredictor.initial``; vectors are 0 or of variance 1."""
        # tokens of operations come before all others
        rest = jnp.min(jnp.where(inputs.mask, inputs.vocabulary, inputs.tokens))
        fixed = jnp.arange(inputs.vocabulary)[:, None] >= rest
        unit = ((inputs.vocabulary + self.width) / 2) ** 0.5
        return drawn | {
            "tokens": jnp.where(fixed, unit * drawn["tokens"], 0.0),
            "biases": jnp.zeros((self.layers + 1, self.width), jnp.float32),
        }

    def predict(self, params: Params, inputs: OperationGraphs) -> Float[Array, "A"]:
        """See ``AccuracyPredictor.predict``."""
        near = inputs.adjacency | jnp.eye(inputs.tokens.shape[1], dtype=bool)
        mean = near / jnp.sum(near, axis=-1, keepdims=True)
        own = inputs.mask / jnp.sum(inputs.mask, axis=-1, keepdims=True)
        # the linear map comes before the mean: of the first layer, once a token
        linear = (params["tokens"] @ params["kernels"][0])[inputs.tokens]
        nodes = jax.nn.relu(mean @ linear + params["biases"][0])
        for layer in range(1, self.layers):
            linear = nodes @ params["kernels"][layer]
            nodes = jax.nn.relu(mean @ linear + params["biases"][layer])
        whole = jnp.einsum("an,anw->aw", own, nodes)
        hidden = jax.nn.relu(whole @ params["kernels"][-1] + params["biases"][-1])
        return (hidden @ params["output"])[:, 0]
