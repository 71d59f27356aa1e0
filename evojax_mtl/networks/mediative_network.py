"""MAMO's network: a shared backbone, and kernels that mediate (Tan 2024, Eqs. 6 to 8).

Shape legend: ``T`` tasks, ``S`` streams, ``L = 5`` stages, ``B`` images, ``h`` x ``w``
and ``C`` of the last map.

A *stream* is a second way through the backbone: with ``mediative`` kernels there is one
for each pair of tasks, with ``exclusive`` ones (CoNAL's, MAMO's ablation 'without GMK')
one for each task, with ``none`` there are no streams (hard parameter sharing). For each
stream and stage a kernel, a copy of the stage, is allocated from the start; ``active``
``(S, L)`` says which are in use, and is data: growing compiles nothing.

With ``f`` the shared maps and ``z`` a stream's:

* ``f = stage(f)`` (Eq. 6).
* An active kernel: ``z = kernel(f + z)`` (Eq. 7), ``z`` being 0 before the first one.
  An exclusive one reads ``z`` alone, or ``f`` where it is the first.
* An idle kernel of a stream that has begun: ``z = stage(z)``, by the shared weights, so
  that a kernel at an early stage alone still has a gradient.
* A stream that has not begun: nothing. That is a true conditional: it costs no
  operations forward or backward, and idle weights are not read. They do take memory.
* Task ``t`` reads ``f + sum_s beta[t, s] z_s`` over its streams that have begun (Eq.
  8), or with exclusive kernels ``z`` in the place of ``f``.

``concat`` fusion joins maps instead: a kernel reads ``[f, z]`` and a head ``[f, row,
column]``, the sums over the pairs in which its task comes first, and second. A new
kernel's extra weights are such that it begins equal to ``sum`` fusion.

Where the backbone has ``positions``, heads read those of the shared stages alone.

Batch norms of a stream have statistics of their own at each stage, whichever weights it
runs through. The paper tells neither fusion nor the kernels' form; parameter counts
speak for sums of copies.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from evojax_mtl.networks.backbone import STAGES, Backbone
from evojax_mtl.networks.dense_network import (
    Heads,
    Images,
    Part,
    Predictions,
    Shape,
    Weights,
    init_parts,
    isolate,
    of_each,
    part_of,
    stage_parts,
    stream,
)

Kernels = Literal["mediative", "exclusive", "none"]
Fusion = Literal["sum", "concat"]
Active = Bool[Array, "S L"]


def task_pairs(tasks: int) -> list[tuple[int, int]]:
    """The unordered pairs of tasks, in the order of their streams."""
    return list(itertools.combinations(range(tasks), 2))


@dataclass(frozen=True)
class MediativeNetwork:
    """See the module; it is a ``DenseNetwork`` whose architecture is ``active``.

    Attributes:
      backbone: the shared network.
      outputs: channels that each task predicts at a pixel.
      image_shape: ``(H, W, c)``.
      kernels: what streams there are.
      fusion: how maps are joined.
    """

    backbone: Backbone
    outputs: dict[str, int]
    image_shape: Shape
    kernels: Kernels = "mediative"
    fusion: Fusion = "sum"

    @cached_property
    def stages(self) -> tuple[Part, ...]:
        """The shared stages."""
        return stage_parts(self.backbone, self.image_shape)

    @cached_property
    def kernel_stages(self) -> tuple[Part, ...]:
        """The stages of a stream."""
        doubled = self.fusion == "concat"
        return stage_parts(self.backbone, self.image_shape, doubled=doubled)

    @cached_property
    def heads(self) -> Heads:
        """The tasks' decoders."""
        *place, channels = self.stages[-1].output
        joined = 3 if self.streams and self.fusion == "concat" else 1
        return Heads(self.backbone, self.outputs, (*place, joined * channels))

    @cached_property
    def members(self) -> np.ndarray:
        """Tasks of each stream, bool ``(S, T)``."""
        tasks = len(self.outputs)
        if self.kernels == "exclusive":
            return np.eye(tasks, dtype=bool)
        pairs = task_pairs(tasks) if self.kernels == "mediative" else []
        members = np.zeros((len(pairs), tasks), bool)
        for s, pair in enumerate(pairs):
            members[s, list(pair)] = True
        return members

    @property
    def streams(self) -> int:
        """``S``."""
        return len(self.members)

    def idle(self) -> Active:
        """No kernel in use."""
        return jnp.zeros((self.streams, len(STAGES)), bool)

    def init(self, key: Array) -> Weights:
        """See ``DenseNetwork``; kernels are 0 until ``grow`` fills them."""
        stage_key, head_key = jax.random.split(key)
        stages, statistics = init_parts(self.stages, stage_key)
        encoder: dict[str, Any] = {"stages": stages}
        encoder_statistics: dict[str, Any] = {"stages": statistics}
        if self.streams:
            rows = dict(zip(STAGES, self.kernel_stages, strict=True))

            def empty(size):
                return jnp.zeros((self.streams, size), jnp.float32)

            encoder["kernels"] = {n: empty(p.weights.size) for n, p in rows.items()}
            encoder_statistics["kernels"] = {
                n: empty(p.statistics.size) for n, p in rows.items()
            }
        heads, head_statistics = self.heads.init(head_key)
        own = {
            name: {"head": head, "fusion": jnp.zeros((self.streams,), jnp.float32)}
            for name, head in heads.items()
        }
        return Weights(
            encoder, own, {"encoder": encoder_statistics, "own": head_statistics}
        )

    def encode(
        self,
        encoder: Any,
        statistics: Any,
        images: Images,
        architecture: Active,
        *,
        train: bool,
    ) -> tuple[dict[str, Any], Any]:
        """See ``DenseNetwork``.

        Returns:
          ``features`` ``(B, h, w, C)``, ``positions`` of the shared stages if the
          backbone has any, and, if there are streams, ``streams`` ``(S, B, h, w, C)``,
          0 for those that have not begun.
        """
        maps, positions, new = [images], (), {}
        for name, stage in zip(STAGES, self.stages, strict=True):
            weights, own = encoder["stages"][name], statistics["stages"][name]
            x, found, new[name] = stage.step(weights, own, maps[-1], train=train)
            maps.append(x)
            positions += found
        shared: dict[str, Any] = {"features": maps[-1], "positions": positions}
        if not self.streams:
            return shared, {"stages": new}

        def stream(_, one):
            kernels, own, active = one
            return None, self._stream(
                encoder["stages"], kernels, own, maps, active, train=train
            )

        rows = (encoder["kernels"], statistics["kernels"], architecture)
        _, (streams, kernel_statistics) = jax.lax.scan(stream, None, rows)
        representation = shared | {"streams": streams}
        return representation, {"stages": new, "kernels": kernel_statistics}

    def _stream(
        self,
        stages: Any,
        kernels: Any,
        statistics: Any,
        maps: list[Array],
        active: Bool[Array, "L"],
        *,
        train: bool,
    ) -> tuple[Float[Array, "B h w C"], Any]:
        """A stream's last map and its new statistics."""
        begun = jnp.cumsum(active) > 0

        def run(i, z, weights, own):
            shared = self._as_kernel(i, stages[STAGES[i]], first=0.0)
            chosen = jnp.where(active[i], weights, shared)
            before = begun[i - 1] if i else jnp.array(False)
            read = self._read(maps[i], z, active[i], before, first=i == 0)
            x, _, found = self.kernel_stages[i].step(chosen, own, read, train=train)
            return x, found

        return stream(maps, kernels, statistics, begun, run)

    def _read(
        self,
        shared: Array,
        z: Array,
        active: Bool[Array, ""],
        begun: Bool[Array, ""],
        *,
        first: bool,
    ) -> Array:
        """What a stage of a stream reads."""
        if self.kernels == "exclusive":
            return jnp.where(begun, z, shared)
        if self.fusion == "concat" and not first:
            return jnp.concatenate([shared, z], -1)
        return jnp.where(active, shared + z, z)

    def _as_kernel(self, i: int, stage: Array, first: float) -> Array:
        """Weights of the ``i``-th stage in the layout of its kernels.

        Where a kernel reads two maps, the weights of the second are the stage's, and
        those of the first ``first`` times them.
        """
        plain, wide = self.stages[i].weights, self.kernel_stages[i].weights
        if plain == wide:
            return stage
        leaves, structure = jax.tree.flatten(plain.unravel(stage))
        fitted = [
            leaf if leaf.shape == shape else jnp.concatenate([first * leaf, leaf], -2)
            for leaf, shape in zip(leaves, wide.shapes, strict=True)
        ]
        return wide.ravel(jax.tree.unflatten(structure, fitted))

    def grow(self, tree: Any, new: Active, *, statistics: bool = False) -> Any:
        """Copies the shared stages into new kernels.

        Args:
          tree: has ``stages`` and ``kernels``: the encoder's weights, their moments, or
            statistics.
          new: kernels that become active.
          statistics: whether these are statistics.
        """
        kernels = {}
        for i, name in enumerate(STAGES):
            copy = tree["stages"][name]
            if not statistics:
                copy = self._as_kernel(i, copy, first=1.0)
            kernels[name] = jnp.where(new[:, i, None], copy, tree["kernels"][name])
        return tree | {"kernels": kernels}

    def trees(self, weights: Weights) -> Weights:
        """The shared stages, the heads, and their statistics as trees of arrays."""
        parts = dict(zip(STAGES, self.stages, strict=True))
        statistics = weights.statistics

        def stages(vectors, kind):
            trees = {n: getattr(p, kind).unravel(vectors[n]) for n, p in parts.items()}
            return {"stages": trees}

        heads = {
            name: {"head": part.weights.unravel(weights.own[name]["head"])}
            for name, part in self.heads.parts.items()
        }
        own = {
            name: part.statistics.unravel(statistics["own"][name])
            for name, part in self.heads.parts.items()
        }
        encoder = stages(statistics["encoder"]["stages"], "statistics")
        return Weights(
            stages(weights.encoder["stages"], "weights"),
            heads,
            {"encoder": encoder, "own": own},
        )

    def begin_fusion(
        self, own: dict[str, Any], before: Active, after: Active
    ) -> dict[str, Any]:
        """Fusion weights of streams that begin: 1 over the task's streams and one."""
        began, begins = before.any(1), after.any(1) & ~before.any(1)
        changed = {}
        for t, (name, weights) in enumerate(own.items()):
            mine = jnp.asarray(self.members[:, t])
            count = jnp.sum(mine & (began | begins))
            fusion = jnp.where(mine & begins, 1 / (1 + count), weights["fusion"])
            changed[name] = weights | {"fusion": fusion}
        return changed

    def decode(
        self,
        own: dict[str, Any],
        statistics: Any,
        views: dict[str, Array],
        architecture: Active,
        size: tuple[int, int],
        *,
        key: Array,
        train: bool,
    ) -> tuple[Predictions, Any]:
        """See ``DenseNetwork``."""
        weights, sound = isolate(own)
        each = of_each(views, len(self.outputs))
        features = [
            self._fuse(t, weights[name]["fusion"], each[t], architecture)
            for t, name in enumerate(self.outputs)
        ]
        return self.heads.apply(
            part_of(weights, "head"),
            statistics,
            features,
            [view["positions"] for view in each],
            size,
            sound=sound,
            key=key,
            train=train,
        )

    def _fuse(
        self,
        task: int,
        fusion: Float[Array, "S"],
        view: dict[str, Array],
        active: Active,
    ) -> Array:
        """What a head reads (Eq. 8)."""
        features = view["features"]
        if not self.streams:
            return features
        begun = active.any(1)
        if self.kernels == "exclusive":
            return jnp.where(begun[task], view["streams"][task], features)
        weights = jnp.where(begun & jnp.asarray(self.members[:, task]), fusion, 0)
        if self.fusion == "sum":
            return features + jnp.tensordot(weights, view["streams"], 1)
        first = np.array([pair[0] == task for pair in task_pairs(len(self.outputs))])
        sums = (
            jnp.tensordot(jnp.where(side, weights, 0), view["streams"], 1)
            for side in (first, ~first)
        )
        return jnp.concatenate([features, *sums], -1)
