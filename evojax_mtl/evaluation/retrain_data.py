"""The examples of retraining: all on the device, or a part of them at a time.

The parts of an epoch have one size, so that nothing compiles again, and each epoch cuts
them from another order. The images may be mapped from disk: only the part at work is
read, and the one after it while the device is busy.

Shape legend: ``n`` examples, ``k`` rows, ``H`` x ``W`` pixels, ``c`` channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.retrain_records import Examples
from evojax_mtl.tasks.task import Split

Arrays = tuple[np.ndarray, np.ndarray]


class Pool:
    """The labelled examples of some splits, one split after the other, where they lie.

    Attributes:
      labels: int32 ``(n,)``.
    """

    def __init__(self, splits: Sequence[Split]) -> None:
        """Reads no image.

        Raises:
          UserError: if there is no labelled example.
        """
        self._splits = tuple(splits)
        self._rows = [np.flatnonzero(split.mask) for split in splits]
        labels = [
            np.asarray(split.labels)[rows]
            for split, rows in zip(splits, self._rows, strict=True)
        ]
        self.labels = np.concatenate(labels).astype(np.int32)
        if not len(self.labels):
            raise UserError("examples: found none with a label, must be 1 or more")

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(H, W, c)``."""
        return self._splits[0].images.shape[1:]

    def images(self, rows: np.ndarray) -> np.ndarray:
        """uint8 ``(k, H, W, c)`` of ``rows``, read."""
        out = np.empty((len(rows), *self.image_shape), np.uint8)
        begin = 0
        for split, own in zip(self._splits, self._rows, strict=True):
            here = (rows >= begin) & (rows < begin + len(own))
            out[here] = split.images[own[rows[here] - begin]]
            begin += len(own)
        return out


def on_device(images: np.ndarray, labels: np.ndarray) -> Examples:
    """Examples, put on the device."""
    return Examples(jnp.asarray(images), jnp.asarray(labels))


def examples(split: Split) -> Examples:
    """The labelled examples of a split, on the device.

    Raises:
      UserError: if there are none.
    """
    pool = Pool([split])
    return on_device(pool.images(np.arange(len(pool))), pool.labels)


class Parts(ABC):
    """Examples on the device, in ``count`` parts of ``size``; one is there at a time.

    Attributes:
      pool: the examples.
      count: parts of a pass over them.
      size: examples of a part.
    """

    def __init__(self, pool: Pool, count: int, size: int) -> None:
        """Reads nothing."""
        self.pool = pool
        self.count = count
        self.size = size
        self._held: tuple[tuple[int, int], Examples] | None = None

    def abstract(self) -> Examples:
        """Shapes of a part."""
        shape = (self.size, *self.pool.image_shape)
        return jax.eval_shape(
            lambda: Examples(
                jnp.zeros(shape, jnp.uint8), jnp.zeros(shape[:1], jnp.int32)
            )
        )

    def part(self, epoch: int, number: int) -> Examples:
        """The ``number``-th part of an epoch; both count from 0."""
        name = (0, 0) if self.count == 1 else (epoch, number)
        if self._held is None or self._held[0] != name:
            self._held = None  # the device need not hold two
            self._held = name, on_device(*self._read(name))
        return self._held[1]

    @abstractmethod
    def _read(self, name: tuple[int, int]) -> Arrays:
        """Images and labels of the part ``(epoch, number)``."""


class TrainParts(Parts):
    """Training examples: as many as fill an epoch's batches, in a new order each epoch.

    A part's rows follow from seed, epoch and number alone. They are ascending, so that
    a disk is read in its order: the shuffle of ``Retraining`` is the order of training.
    """

    def __init__(
        self, pool: Pool, resident: int | None, batch: int, seed: Sequence[int]
    ) -> None:
        """Parts of as equal a size as whole batches allow.

        Args:
          pool: the examples.
          resident: the most examples of a part; None for all.
          batch: examples of a batch.
          seed: of the order of the examples.

        Raises:
          UserError: if ``resident`` is too small for the batch.
        """
        total = len(pool)
        count, size = 1, total
        if resident is not None and resident < total:
            if resident < 2 * batch:
                raise UserError(
                    f"--resident: found {resident}, must be at least {2 * batch}, "
                    "twice the batch"
                )
            count = -(-total // resident)
            size = total // count // batch * batch
        super().__init__(pool, count, size)
        self._seed = tuple(seed)
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[tuple[int, int], Future[Arrays]] | None = None

    def rows(self, epoch: int, number: int) -> np.ndarray:
        """Rows of a part, int64 ``(size,)``."""
        if self.count == 1:
            return np.arange(self.size)
        order = np.random.default_rng([*self._seed, epoch]).permutation(len(self.pool))
        return np.sort(order[number * self.size : (number + 1) * self.size])

    def _read(self, name: tuple[int, int]) -> Arrays:
        if self._ahead is not None and self._ahead[0] == name:
            arrays = self._ahead[1].result()
        else:
            arrays = self._fetch(name)
        if self.count > 1:
            epoch, number = name
            after = (epoch, number + 1) if number + 1 < self.count else (epoch + 1, 0)
            self._ahead = after, self._reader.submit(self._fetch, after)
        return arrays

    def _fetch(self, name: tuple[int, int]) -> Arrays:
        rows = self.rows(*name)
        return self.pool.images(rows), self.pool.labels[rows]


class UnseenParts(Parts):
    """Test examples in their order; the last part is filled by some that do not count.

    They are the same in every epoch.
    """

    def __init__(self, pool: Pool, resident: int | None) -> None:
        """Parts of ``resident`` examples or fewer; None for one."""
        count = 1 if resident is None else -(-len(pool) // resident)
        super().__init__(pool, count, -(-len(pool) // count))

    def _read(self, name: tuple[int, int]) -> Arrays:
        rows = name[1] * self.size + np.arange(self.size)
        last = len(self.pool) - 1
        labels = self.pool.labels[np.minimum(rows, last)]
        images = self.pool.images(np.minimum(rows, last))
        return images, np.where(rows <= last, labels, np.int32(-1))
