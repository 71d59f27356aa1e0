"""MTL-NAS's network: a backbone a task, and edges between them (Gao et al. 2020).

Shape legend: ``T`` tasks, ``L = 5`` stages, ``B`` images, ``h`` x ``w`` and ``C`` of a
stage's map.

After each stage ``l`` task ``t`` fuses its map with those of the other tasks, each
times a gate, as NDDR does (Gao et al. 2019): one 1x1 convolution of all of them, batch
norm, ReLU,

    y_t = ReLU(norm(W_t [x_t, gates[t, 0, l] x_u, gates[t, 1, l] x_v, ...])),

``u``, ``v``, ... being the other tasks in order. The architecture is ``gates`` ``(T,
T - 1, L)`` in ``[0, 1]``; 0 is no edge. ``W_t`` begins as 0.9 of the task's own map and
0.1 of the mean of the others'. The authors' candidates are edges between layers of a
stage of VGG-16; here a stage is a layer of that graph.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.dense_network import Images, Part, Weights, init_parts
from evojax_mtl.networks.layers import norm
from evojax_mtl.networks.task_network import TaskNetwork

Gates = Float[Array, "T _ L"]
OWN, OTHERS = 0.9, 0.1
"""What fusion begins with of a task's own map, and of the others' together."""


class Fusion(nn.Module):
    """NDDR: a 1x1 convolution of the maps of all tasks, batch norm, ReLU.

    Attributes:
      channels: of one map, and of the output.
      tasks: whose maps are read, the own one first.
    """

    channels: int
    tasks: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B h w _"], train: bool
    ) -> Float[Array, "B h w C"]:
        """The fused map."""

        def begin(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            shares = np.full(self.tasks, OTHERS / (self.tasks - 1))
            shares[0] = OWN
            return jnp.asarray(np.kron(shares[:, None], np.eye(self.channels)), dtype)

        mixed = nn.Dense(self.channels, use_bias=False, kernel_init=begin, name="mix")
        return nn.relu(norm(train, "norm")(mixed(x)))


@dataclass(frozen=True)
class FusedNetwork(TaskNetwork):
    """See the module; it is a ``DenseNetwork`` whose architecture is ``gates``."""

    @cached_property
    def fusions(self) -> tuple[Part, ...]:
        """What follows each stage."""
        tasks = len(self.outputs)
        parts = []
        for stage in self.stages:
            *place, channels = stage.output
            parts.append(Part(Fusion(channels, tasks), (*place, tasks * channels)))
        return tuple(parts)

    @cached_property
    def order(self) -> Int[np.ndarray, "T T"]:
        """Tasks whose maps each task reads, its own first."""
        tasks = range(len(self.outputs))
        return np.array([[t, *(u for u in tasks if u != t)] for t in tasks])

    def init(self, key: Array) -> Weights:
        """See ``DenseNetwork``; the encoder's leaves lead with ``T``."""
        weights = super().init(key)
        begun, statistics = init_parts(self.fusions, key)

        def each(tree):
            copies = (len(self.outputs),)
            return jax.tree.map(lambda x: jnp.broadcast_to(x, copies + x.shape), tree)

        own = weights.statistics["encoder"]
        encoder = {"stages": own, "fusions": each(statistics)}
        return weights.replace(
            encoder={"stages": weights.encoder, "fusions": each(begun)},
            statistics=weights.statistics | {"encoder": encoder},
        )

    def encode(
        self,
        encoder: Any,
        statistics: Any,
        images: Images,
        architecture: Gates,
        *,
        train: bool,
    ) -> tuple[dict[str, Any], Any]:
        """See ``TaskNetwork``."""
        tasks = len(self.outputs)
        x = jnp.broadcast_to(images, (tasks, *images.shape))
        own = jnp.ones((tasks, 1))
        positions, new = (), {"stages": {}, "fusions": {}}
        for i, name in enumerate(STAGES):
            stage, fusion = self.stages[i], self.fusions[i]

            def run(task, stage=stage):
                weights, statistics, x = task
                return stage.step(weights, statistics, x, train=train)

            def fuse(task, fusion=fusion):
                weights, statistics, order, gates, maps = task
                chosen = maps[order] * gates[:, None, None, None, None]
                joined = jnp.concatenate(list(chosen), -1)
                return fusion.apply(weights, statistics, joined, train=train)

            rows = (encoder["stages"][name], statistics["stages"][name], x)
            x, found, new["stages"][name] = jax.lax.map(run, rows)
            positions += found
            gates = jnp.concatenate([own, architecture[:, :, i]], 1)
            rows = (
                encoder["fusions"][name],
                statistics["fusions"][name],
                self.order,
                gates,
            )
            x, new["fusions"][name] = jax.lax.map(
                lambda row, maps=x, fuse=fuse: fuse((*row, maps)), rows
            )
        return {"features": x, "positions": positions}, new
