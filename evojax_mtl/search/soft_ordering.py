"""Soft ordering: shared layers, usable at every depth (Liang 2018, 2.1, Eq. 2).

``y_t^d = softmerge(W_1(y_t^{d-1}), ..., W_L(y_t^{d-1}))`` for ``d = 1 .. D``, between
the identity encoder and one linear decoder a task. The scales ``S`` have shape
``(T, D, L)`` (tasks, depths, layers), start equal and are trained with the layers; the
softmax is over the layers. After each depth follows an adapter while the map is at
least 4 x 4: each layer's output is pooled, then merged. ``modules`` is ``L``, ``depth``
is ``D``; the paper has ``L = D``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evojax_mtl.architectures.table import INPUT, OUTPUT, Architecture
from evojax_mtl.genomes.routings import chain_resolutions
from evojax_mtl.search.routed import RoutedSearch


class SoftOrdering(RoutedSearch):
    """Soft ordering; ``config`` is a ``SoftOrderingConfig``."""

    method = "soft-ordering"

    def initial_genome(self) -> dict[str, Any]:
        """Nothing evolves."""
        return {}

    def architecture(self, genome: dict[str, Any]) -> Architecture:
        """Node ``2 + d * L + l`` is layer ``l`` at depth ``d``."""
        layers, depth = self.config.modules, self.config.depth
        levels = chain_resolutions(self.size, depth)
        node = 2 + np.arange(depth * layers).reshape(depth, layers)
        source = [np.full(layers, INPUT)]
        target = [node[0]]
        for d in range(1, depth):
            source.append(np.repeat(node[d - 1], layers))
            target.append(np.tile(node[d], layers))
        source.append(node[-1])
        target.append(np.full(layers, OUTPUT))
        ends = np.concatenate(source), np.concatenate(target)
        resolution = np.concatenate([[0, levels[-1]], np.repeat(levels[:-1], layers)])
        table: dict[str, Any] = {
            "operation": np.zeros(2 + depth * layers, np.int32),
            "slot": np.concatenate([[0, 0], np.tile(np.arange(layers), depth)]),
            "resolution": resolution,
            "active": np.ones(2 + depth * layers, bool),
            "source": ends[0],
            "target": ends[1],
            "edge": np.ones(len(ends[0]), bool),
        }
        one = Architecture(**table)

        def repeat(x):
            x = np.asarray(x, bool if x.dtype == bool else np.int32)
            return np.broadcast_to(x, (self.networks, *x.shape))

        return jax.tree.map(repeat, one)

    def merge_shape(self, genome: dict[str, Any]) -> tuple[int, ...]:
        """``S``: tasks, depths, layers."""
        return (self.tasks, self.config.depth, self.config.modules)

    def edge_logits(self, merge: Float[Array, "T D L"]) -> Float[Array, "P E"]:
        """An edge out of layer ``l`` at depth ``d`` has scale ``S[t, d, l]``."""
        xp: Any = np if isinstance(merge, np.ndarray) else jnp
        layers = self.config.modules
        tasks = merge.shape[0]
        inner = xp.repeat(merge[:, :-1].reshape(tasks, -1), layers, axis=1)
        entry = np.zeros((tasks, layers), merge.dtype)
        return xp.concatenate([entry, inner, merge[:, -1]], axis=1)

    def merge_scales(self, networks: list[dict[str, Any]]) -> int:
        """All of ``S``: layers at one depth share the scales they read."""
        return self.tasks * self.config.depth * self.config.modules
