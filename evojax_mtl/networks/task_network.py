"""A backbone and a decoder for each task, all tasks in one program.

Shape legend: ``T`` tasks, ``B`` images, ``h`` x ``w`` and ``C`` of the last map.
"""

from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array

from evojax_mtl.networks.dense_network import (
    Images,
    OnBackbone,
    Predictions,
    Weights,
    init_parts,
    isolate,
    run_stages,
)


@dataclass(frozen=True)
class TaskNetwork(OnBackbone):
    """A ``DenseNetwork`` in which tasks share nothing; its architecture is empty."""

    def init(self, key: Array) -> Weights:
        """See ``DenseNetwork``; the encoder's leaves lead with ``T``."""
        stage_key, head_key = jax.random.split(key)
        keys = jax.random.split(stage_key, len(self.outputs))
        stages, statistics = jax.lax.map(lambda k: init_parts(self.stages, k), keys)
        heads, head_statistics = self.heads.init(head_key)
        return Weights(stages, heads, {"encoder": statistics, "own": head_statistics})

    def encode(
        self,
        encoder: Any,
        statistics: Any,
        images: Images,
        architecture: Any,
        *,
        train: bool,
    ) -> tuple[dict[str, Any], Any]:
        """See ``DenseNetwork``.

        Returns:
          ``features`` ``(T, B, h, w, C)`` and ``positions`` of each task's backbone.
        """

        def one(task):
            weights, own = task
            x, positions, new = run_stages(
                self.stages, weights, own, images, train=train
            )
            return {"features": x, "positions": positions}, new

        return jax.lax.map(one, (encoder, statistics))

    def decode(
        self,
        own: dict[str, Any],
        statistics: Any,
        views: dict[str, Array],
        architecture: Any,
        size: tuple[int, int],
        *,
        key: Array,
        train: bool,
    ) -> tuple[Predictions, Any]:
        """See ``DenseNetwork``."""
        weights, sound = isolate(own)
        mine = [
            jax.tree.map(lambda values, t=t: values[t, t], views)
            for t in range(len(self.outputs))
        ]
        return self.heads.apply(
            weights,
            statistics,
            [view["features"] for view in mine],
            [view["positions"] for view in mine],
            size,
            sound=sound,
            key=key,
            train=train,
        )
