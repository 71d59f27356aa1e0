"""Measuring individuals on batches of their tasks, side by side where devices allow.

Shape legend: ``T`` tasks, ``U`` individuals measured in one tick.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from evojax_mtl.evaluation.cell_batches import Minibatch, Pipeline, scored_minibatch
from evojax_mtl.evaluation.cell_training import System, score
from evojax_mtl.tasks.dataset import Dataset


@dataclass(frozen=True)
class Scorer:
    """Scores individuals in their supernets.

    Attributes:
      supernet: of each task, ``(T,)``.
      pipeline: what happens to images.
      batch: examples of a batch.
      running: whether batch norms use the running statistics, or those of the batch.
      repeats: normal cells in a row.
      mesh: devices; those of an axis ``population`` measure an individual each, those
        of ``data`` share each batch. None for one device.
    """

    supernet: np.ndarray
    pipeline: Pipeline
    batch: int
    running: bool
    repeats: int
    mesh: Mesh | None

    @property
    def side_by_side(self) -> int:
        """Individuals measured in one tick, ``U``."""
        return self.mesh.shape.get("population", 1) if self.mesh else 1

    def passes(self, data: Dataset, split: int) -> int:
        """Ticks of a pass over a split of every task."""
        batches = data.tasks * data.batches(split, self.batch)
        return -(-batches // self.side_by_side)

    def units(
        self, tick: Int[Array, ""], count: Int[Array, ""] | int
    ) -> tuple[Int[Array, "U"], Int[Array, "U"], Bool[Array, "U"]]:
        """Task and number of what is measured in a tick, ``count`` of them a task.

        And which of them are there: the last tick may have too few.
        """
        unit = tick * self.side_by_side + jnp.arange(self.side_by_side)
        tasks = len(self.supernet)
        task = unit // count
        return jnp.minimum(task, tasks - 1), unit % count, task < tasks

    def score(
        self,
        system: System,
        genomes: Int[Array, "U 2 5 4"],
        data: Dataset,
        split: int,
        tasks: Int[Array, "U"],
        indices: Int[Array, "U"],
        keys: Array | None = None,
        ordered: Bool[Array, ""] | bool = True,
    ) -> tuple[Int[Array, "U"], Int[Array, "U"], Bool[Array, "U"]]:
        """See ``cell_training.score``.

        Args:
          system: the weights.
          genomes: the individuals.
          data: all tasks.
          split: which split.
          tasks: of each individual.
          indices: which batch of a pass over the split, likewise.
          keys: of the random batches, likewise.
          ordered: whether the split is passed in order after all.
        """

        def examples(task: Array, index: Array, key: Array | None = None) -> Minibatch:
            batch = scored_minibatch(data, split, task, index, self.batch, key, ordered)
            return batch._replace(images=self.pipeline.plain(batch.images, task))

        drawn = () if keys is None else (keys,)
        return score(
            system,
            genomes,
            jnp.asarray(self.supernet)[tasks],
            tasks,
            jax.vmap(examples)(tasks, indices, *drawn),
            running=self.running,
            repeats=self.repeats,
            mesh=self.mesh,
        )
