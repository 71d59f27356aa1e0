"""Which architectures were evaluated, a bit each.

A thousand searches look up some hundred architectures a generation here, at random
places: in bits what they read fits in a cache that it does not fit in otherwise.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from evojax_mtl.pytrees import Pytree, static

SHIFT = 5
BITS = 1 << SHIFT


class Seen(Pytree):
    """A set of rows of a table; of several tasks where there is an axis before.

    Attributes:
      words: bit ``row % 32`` of word ``row // 32`` is set for a row in the set.
      size: number of rows of the table.
    """

    words: UInt32[Array, "*t _"]
    size: int = static()

    def __len__(self) -> int:
        """Rows of the table."""
        return self.size

    def __getitem__(self, rows: Int[Array, "*n"]) -> Bool[Array, "*n"]:
        """Whether each row is in the set of one task; of -1 any answer."""
        return (self.words[rows >> SHIFT] >> _place(rows)) & 1 != 0

    def task(self, number: Array | int) -> "Seen":
        """The set of one of several tasks."""
        return self.replace(words=self.words[number])

    def add(self, rows: Int[Array, "n"], new: Bool[Array, "n"]) -> "Seen":
        """The set of one task with the rows that are new, which must be.

        Args:
          rows: no two of those that are new are equal.
          new: which to add; false for any that is in the set.
        """
        bits = jnp.where(new, jnp.uint32(1) << _place(rows), jnp.uint32(0))
        # sums of different bits, so that rows of one word do not undo each other
        return self.replace(words=self.words.at[rows >> SHIFT].add(bits))

    def every(self) -> Bool[Array, "*t A"]:
        """Whether each row of the table is in the set."""
        bits = (self.words[..., None] >> jnp.arange(BITS, dtype=jnp.uint32)) & 1
        return jax.lax.collapse(bits, self.words.ndim - 1)[..., : self.size] != 0


def none_seen(tasks: int, size: int) -> Seen:
    """Empty sets of rows of tables of ``size``."""
    return Seen(words=jnp.zeros((tasks, -(-size // BITS)), jnp.uint32), size=size)


def _place(rows):
    return (rows & (BITS - 1)).astype(jnp.uint32)
