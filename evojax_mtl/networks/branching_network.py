"""CoNAL's network: tasks branch off a shared backbone (Yue, Zhang, Liang 2023).

Shape legend: ``T`` tasks, ``L = 5`` stages, ``B`` images, ``h`` x ``w`` and ``C`` of
the last map.

Each task has a private copy of the backbone. Its *tail* from stage ``b`` on is the
private copies of stages ``b`` to ``L - 1`` over what the shared stages before them make
of an image. The architecture is ``mix`` ``(T, L + 1)``, shares of the tails and, last,
of the shared backbone as a whole: task ``t`` reads

    sum_b mix[t, b] tail_b + mix[t, L] shared.

A tail whose share is 0 is not computed, by a true conditional: a network whose shares
are 0 and 1 costs what it takes. Batch norms of a tail have statistics of their own at
each stage; the authors' tails share those of a private stage. Heads read the
``positions`` of the shared stages, where the backbone has any.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.networks.backbone import STAGES
from evojax_mtl.networks.dense_network import (
    Images,
    OnBackbone,
    Predictions,
    Weights,
    isolate,
    of_each,
    part_of,
    stacked,
    stream,
)

POINTS = len(STAGES) + 1
"""Where a task can branch off: before each stage, or nowhere."""
Mix = Float[Array, "T _"]


@dataclass(frozen=True)
class BranchingNetwork(OnBackbone):
    """See the module; it is a ``DenseNetwork`` whose architecture is ``mix``."""

    def init(self, key: Array) -> Weights:
        """See ``DenseNetwork``; private stages begin as copies of the shared ones."""
        return self.copied(self.begin(key))

    def copied(self, weights: Weights) -> Weights:
        """With private stages and statistics that are copies of the shared ones."""
        statistics = weights.statistics
        tails = {
            name: jnp.broadcast_to(own, (len(STAGES), *own.shape))
            for name, own in statistics["encoder"]["stages"].items()
        }
        private = dict(weights.encoder["stages"])
        own = {n: part | {"private": private} for n, part in weights.own.items()}
        filled = {n: part | {"private": tails} for n, part in statistics["own"].items()}
        return weights.replace(own=own, statistics=statistics | {"own": filled})

    def encode(
        self,
        encoder: Any,
        statistics: Any,
        images: Images,
        architecture: Mix,
        *,
        train: bool,
    ) -> tuple[dict[str, Any], Any]:
        """See ``DenseNetwork``: the images, all shared ``maps``, and ``positions``."""
        maps, positions, new = (images,), (), {}
        for name, stage in zip(STAGES, self.stages, strict=True):
            weights, own = encoder["stages"][name], statistics["stages"][name]
            x, found, new[name] = stage.step(weights, own, maps[-1], train=train)
            maps, positions = (*maps, x), (*positions, *found)
        return {"maps": maps, "positions": positions}, {"stages": new}

    def decode(
        self,
        own: dict[str, Any],
        statistics: Any,
        views: dict[str, Any],
        architecture: Mix,
        size: tuple[int, int],
        *,
        key: Array,
        train: bool,
    ) -> tuple[Predictions, Any]:
        """See ``DenseNetwork``."""
        weights, sound = isolate(own)
        private = [weights[name]["private"] for name in self.outputs]
        tails = [statistics[name]["private"] for name in self.outputs]
        mixed, new = self._tails(private, tails, views["maps"], architecture, train)
        last = views["maps"][-1]
        count = len(self.outputs)
        predictions, heads = self.heads.apply(
            part_of(weights, "head"),
            part_of(statistics, "head"),
            [mixed[t] + architecture[t, -1] * last[t] for t in range(count)],
            of_each(views["positions"], count),
            size,
            sound=sound,
            key=key,
            train=train,
        )
        rows = zip(heads.items(), of_each(new, count), strict=True)
        found = {name: {"head": head, "private": own} for (name, head), own in rows}
        return predictions, found

    def _tails(
        self,
        private: list[dict[str, Array]],
        statistics: list[dict[str, Array]],
        maps: tuple[Array, ...],
        mix: Mix,
        train: bool,
    ) -> tuple[Float[Array, "T B h w C"], dict[str, Array]]:
        """The tails' part of what each task reads, and new statistics."""
        tasks, count = len(private), len(STAGES)

        kernels = stacked(private)

        def tail(_, row):
            task, point, share, own = row
            weights = {name: leaf[task] for name, leaf in kernels.items()}
            views = [values[task] for values in maps]

            def run(i, z, weights, own):
                read = jnp.where(point == i, views[i], z)
                x, _, found = self.stages[i].step(weights, own, read, train=train)
                return x, found

            begun = (jnp.arange(count) >= point) & (share > 0)
            z, new = stream(views, weights, own, begun, run)
            return None, (share * z, new)

        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stacked(statistics))
        rows = (
            jnp.repeat(jnp.arange(tasks), count),
            jnp.tile(jnp.arange(count), tasks),
            mix[:, :count].ravel(),
            flat,
        )
        _, (parts, new) = jax.lax.scan(tail, None, rows)
        parts = parts.reshape(tasks, count, *parts.shape[1:])
        new = jax.tree.map(lambda x: x.reshape(tasks, count, *x.shape[1:]), new)
        return jnp.sum(parts, 1), new
