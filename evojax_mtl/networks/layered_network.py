"""Recon's network: each layer of the backbone is shared, or each task has its own.

Shape legend: ``T`` tasks, ``N`` layers, ``B`` images.

A layer is what one module of the backbone holds: a convolution's kernel (and bias), or
a batch norm's scale and bias. The architecture is ``specific``, bool ``(N,)``: the
layers that each task has a copy of. Task ``t`` passes through the backbone with its
copies of these and the shared weights of the others, also while all are shared: a step
costs what it does in single-task learning. Batch norms have statistics for each task.
Copies begin as the shared layers.

``encode`` hands the shared weights on: they are the representation, and ``decode`` runs
backbones and heads. So what is balanced between the tasks are the gradients of shared
layers, and copies follow their own task's loss.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.dense_network import (
    Images,
    OnBackbone,
    Predictions,
    Weights,
    isolate,
    of_each,
    part_of,
    run_stages,
    stacked,
)

Specific = Bool[Array, "N"]


@dataclass(frozen=True)
class LayeredNetwork(OnBackbone):
    """See the module; it is a ``DenseNetwork`` whose architecture is ``specific``."""

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, from the image on: ``stage_1/conv_2``."""
        found = {}
        for stage, part in zip(STAGES, self.stages, strict=True):
            for path in part.weights.paths:
                found["/".join([stage, *path[:-1]])] = None
        return tuple(found)

    @cached_property
    def places(self) -> dict[str, Int[np.ndarray, "_"]]:
        """By stage, which layer each of its weights is of."""
        number = {name: i for i, name in enumerate(self.layers)}
        places = {}
        for stage, part in zip(STAGES, self.stages, strict=True):
            layout = part.weights
            names = ["/".join([stage, *path[:-1]]) for path in layout.paths]
            counts = [int(np.prod(shape)) for shape in layout.shapes]
            places[stage] = np.repeat([number[name] for name in names], counts)
        return places

    def init(self, key: Array) -> Weights:
        """See ``DenseNetwork``."""
        return self.copied(self.begin(key))

    def copied(self, weights: Weights) -> Weights:
        """With each task's layers and statistics as those of the encoder."""
        statistics = weights.statistics
        layers = {"layers": dict(weights.encoder["stages"])}
        first = {"stages": dict(statistics["encoder"]["stages"])}
        own = {name: part | layers for name, part in weights.own.items()}
        filled = {name: part | first for name, part in statistics["own"].items()}
        return weights.replace(own=own, statistics=statistics | {"own": filled})

    def encode(
        self,
        encoder: Any,
        statistics: Any,
        images: Images,
        architecture: Specific,
        *,
        train: bool,
    ) -> tuple[dict[str, Any], Any]:
        """See ``DenseNetwork``: the ``weights`` of all layers, and the ``images``."""
        return {"weights": encoder["stages"], "images": images}, statistics

    def decode(
        self,
        own: dict[str, Any],
        statistics: Any,
        views: dict[str, Any],
        architecture: Specific,
        size: tuple[int, int],
        *,
        key: Array,
        train: bool,
    ) -> tuple[Predictions, Any]:
        """See ``DenseNetwork``."""
        own_weights, sound = isolate(own)

        def one(task):
            view, layers, own = task
            weights = {
                stage: jnp.where(architecture[p], layers[stage], view["weights"][stage])
                for stage, p in self.places.items()
            }
            return run_stages(self.stages, weights, own, view["images"], train=train)

        tasks = (
            views,
            stacked([own_weights[name]["layers"] for name in self.outputs]),
            stacked([statistics[name]["stages"] for name in self.outputs]),
        )
        features, positions, new = jax.lax.map(one, tasks)
        count = len(self.outputs)
        predictions, heads = self.heads.apply(
            part_of(own_weights, "head"),
            part_of(statistics, "head"),
            list(features),
            of_each(positions, count),
            size,
            sound=sound,
            key=key,
            train=train,
        )
        rows = zip(heads.items(), of_each(new, count), strict=True)
        found = {name: {"head": head, "stages": own} for (name, head), own in rows}
        return predictions, found

    def cosines(
        self, gradients: dict[str, Float[Array, "T _"]], pairs: list[tuple[int, int]]
    ) -> Float[Array, "P N"]:
        """Cosines of the tasks' gradients at each layer; 0 where a task has none.

        Args:
          gradients: of the shared weights, by stage.
          pairs: of tasks.
        """
        first, second = np.array(pairs).T
        count = len(self.layers)

        def inner(a, b):
            total = jnp.zeros((len(pairs), count))
            for stage, place in self.places.items():
                rows = (gradients[stage][a] * gradients[stage][b]).T
                total += jax.ops.segment_sum(rows, place, count).T
            return total

        size = jnp.sqrt(inner(first, first)) * jnp.sqrt(inner(second, second))
        there = size > 0
        return jnp.where(there, inner(first, second) / jnp.where(there, size, 1), 0)
