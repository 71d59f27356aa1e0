"""WeakNAS on tables: progressively better weak predictors (Wu 2021).

Wu et al. 2021, Stronger NAS with Weaker Predictors, arXiv:2102.10490, Algorithm 1.
``predicted`` has the steps: of the best ``top`` by a predictor trained on all that was
evaluated, ``batch`` at random are evaluated. The numbers are those of the authors'
command for NAS-Bench-201, but for the sizes of the predictor (``mlp_predictor``).
"""

import jax
import jax.numpy as jnp

from evojax_mtl.evaluation.mlp_predictor import MLPPredictor
from evojax_mtl.search.predicted import PredictedSearch


class WeakNAS(PredictedSearch):
    """The search protocol for WeakNAS."""

    method = "weaknas"

    def __init__(self, config, data, mesh=None):
        """Reads sizes and names."""
        super().__init__(config, data, mesh)
        self.predictor = MLPPredictor(config.width, config.layers)
        self.top = config.top

    def inputs(self, data):
        """Genes, one-hot."""
        parts = [
            jax.nn.one_hot(data.genes[:, place], count)
            for place, count in enumerate(data.space.choices)
        ]
        return jnp.concatenate(parts, axis=1)
