"""Where the tasks' gradients conflict, and which kernels that makes (Tan 2024, 3.3).

Shape legend: ``T`` tasks, ``P`` pairs of tasks, ``L`` stages of the backbone.

1. Of each mini-batch: the cosine of the gradients of each pair of tasks at each stage
   (Eq. 9); a negative one is a conflict (Eq. 10). A task's gradient at a stage is that
   of the shared weights, with that of the pair's kernel where there is one.
2. Conflicts are counted over mini-batches (Eq. 11).
3. Pairs and stages whose count is at least the mean of those that are not 0 get a
   kernel (Eqs. 12, 13). Where no count is above 0 none does.

The paper defines Eqs. 9 to 13 at a stage and draws the mean over all pairs: whether it
also runs over the stages is open. Its first detection on CityScapes, one pair of tasks,
makes 2 kernels of 5, which a mean for each stage could not.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.balancing.gradients import gramian_of
from evojax_mtl.pytrees import Pytree

Threshold = Literal["average", "layer", "top"]


class Conflicts(Pytree):
    """What the mini-batches of a generation told.

    Attributes:
      counts: mini-batches in which a pair conflicts at a stage, Q.
      cosines: sums over the mini-batches.
      batches: how many there were.
    """

    counts: Int[Array, "P L"]
    cosines: Float[Array, "P L"]
    batches: Int[Array, ""]

    def add(
        self, cosines: Float[Array, "P L"], below: Float[Array, ""] | float = 0.0
    ) -> "Conflicts":
        """With one more mini-batch; cosines that are not finite are no conflicts.

        ``below`` is what a conflict is below, at most 0.
        """
        found = jnp.where(jnp.isfinite(cosines), cosines, 0)
        return Conflicts(
            self.counts + (found < below), self.cosines + found, self.batches + 1
        )


def no_conflicts(pairs: int, stages: int) -> Conflicts:
    """Of no mini-batch."""
    return Conflicts(
        jnp.zeros((pairs, stages), jnp.int32),
        jnp.zeros((pairs, stages), jnp.float32),
        jnp.zeros((), jnp.int32),
    )


def gradient_cosines(
    stages: Sequence[Any], kernels: Sequence[Any], pairs: Sequence[tuple[int, int]]
) -> Float[Array, "P L"]:
    """Eq. 9; 0 where a task has no gradient.

    Args:
      stages: gradients of each stage's shared weights, leaves ``(T, ...)``.
      kernels: of each stage's kernels, leaves ``(T, P, ...)``, 0 for idle ones; empty
        where the pairs have none.
      pairs: tasks of each pair.
    """
    first, second = np.array(pairs).T
    columns = []
    for i, shared in enumerate(stages):
        gramian = gramian_of(jax.tree.leaves(shared))
        inner = gramian[first, second]
        sizes = [gramian[first, first], gramian[second, second]]
        for leaf in jax.tree.leaves(kernels[i]) if kernels else ():
            own = np.arange(len(pairs))
            a, b = (
                leaf[tasks, own].reshape(len(pairs), -1) for tasks in (first, second)
            )
            inner += jnp.sum(a * b, 1)
            sizes = [
                size + jnp.sum(x * x, 1) for size, x in zip(sizes, (a, b), strict=True)
            ]
        size = jnp.sqrt(sizes[0]) * jnp.sqrt(sizes[1])
        columns.append(jnp.where(size > 0, inner / jnp.where(size > 0, size, 1), 0))
    return jnp.stack(columns, 1)


def indicated(
    counts: Int[Array, "P L"], threshold: Threshold = "average", top: int = 1
) -> Bool[Array, "P L"]:
    """Eqs. 12 and 13: which pairs and stages the counts make a kernel for.

    Args:
      counts: Q.
      threshold: ``average``: at least the mean of the counts that are not 0; ``layer``:
        of those of the same stage; ``top``: the ``top`` largest, and those equal.
      top: see ``threshold``.
    """
    if threshold == "top":
        ranked = jnp.sort(counts.ravel())[::-1]
        least = ranked[min(top, ranked.size) - 1].astype(jnp.float32)
    else:
        axis = 0 if threshold == "layer" else None
        total, there = jnp.sum(counts, axis), jnp.sum(counts > 0, axis)
        least = total / jnp.maximum(there, 1)
    return (counts > 0) & (counts >= least)
