"""Cells: a network's two cell types as forty integers (Liao 2023, 3.2).

Shape legend: ``...`` any leading axes (tasks, individuals).

A genome is an integer array ``(..., 2, 5, 4)``: cell type (0 reduction, 1 normal),
block, and the block's ``[in_a, in_b, op_a, op_b]``. Block ``i`` is node ``2 + i`` of
its cell and reads two earlier nodes; nodes 0 and 1 are the cell's inputs, the previous
cell's output and that of the one before. Its value is ``op_a(in_a) + op_b(in_b)``.
Blocks that no block of the cell reads are loose ends and make up the cell's output.
Flattened, the array is the paper's code, whose order of cell types and operations the
paper leaves open: this is the authors' code's.

Block ``i`` holds one set of weights for each pair of an input and an operation, so two
edges of a block with the same pair share theirs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.wiring import (
    BLOCKS,
    EDGES,
    INPUTS,
    OPERATIONS,
    Wiring,
    rows,
)
from evojax_mtl.errors import UserError

REDUCTION, NORMAL = 0, 1
CELL_TYPES = ("reduction", "normal")
LENGTH = len(CELL_TYPES) * BLOCKS * 4

Cells = Int[Array, "*n 2 5 4"]


def choices() -> np.ndarray:
    """How many values each integer of a cell can take, ``(5, 4)``."""
    inputs = INPUTS + np.arange(BLOCKS)
    operations = np.full(BLOCKS, len(OPERATIONS))
    return np.stack([inputs, inputs, operations, operations], 1).astype(np.int32)


def random_cells(key: Array, shape: tuple[int, ...] = ()) -> Cells:
    """Uniform genomes of the leading ``shape``."""
    return jax.random.randint(
        key, (*shape, len(CELL_TYPES), BLOCKS, 4), 0, jnp.asarray(choices())
    )


def crossover(
    key: Array, a: Int[Array, "2 5 4"], b: Int[Array, "2 5 4"]
) -> tuple[Int[Array, "2 5 4"], Int[Array, "2 5 4"]]:
    """Block-based crossover (Fig. 4): each block comes from either parent.

    Returns two complementary children.
    """
    swap = jax.random.bernoulli(key, 0.5, (len(CELL_TYPES), BLOCKS, 1))
    return jnp.where(swap, b, a), jnp.where(swap, a, b)


def mutate(
    key: Array, cells: Cells, probability: Float[Array, ""] | float, *, step: bool
) -> Cells:
    """Bit-based mutation (Fig. 4): each integer changes with ``probability``.

    Args:
      key: randomness.
      cells: genomes.
      probability: of every integer.
      step: False draws a new value uniformly from all candidates, as the paper says
        (the old one included); True adds or subtracts 1 with wrap-around, as the
        authors' code does.
    """
    change_key, value_key = jax.random.split(key)
    change = jax.random.bernoulli(change_key, probability, cells.shape)
    most = jnp.broadcast_to(choices(), cells.shape)
    if step:
        sign = 2 * jax.random.bernoulli(value_key, 0.5, cells.shape) - 1
        value = (cells + sign) % most
    else:
        value = jax.random.randint(value_key, cells.shape, 0, most)
    return jnp.where(change, value, cells)


NEIGHBOURS = len(CELL_TYPES) * int((choices() - 1).sum())
"""Genomes that differ from one in a single integer."""


def neighbours(cells: Int[Array, "2 5 4"]) -> Int[Array, "220 2 5 4"]:
    """All genomes that differ in a single integer."""
    most = np.tile(choices().ravel(), len(CELL_TYPES))
    place = np.repeat(np.arange(LENGTH), most - 1)
    step = np.concatenate([np.arange(1, count) for count in most])
    flat = cells.ravel()
    changed = (flat[place] + step) % most[place]
    own = jnp.arange(len(place))
    near = jnp.broadcast_to(flat, (len(place), LENGTH)).at[own, place].set(changed)
    return near.reshape(-1, *cells.shape)


def sources(cells: Cells) -> Int[Array, "*n 2 10"]:
    """Node that each edge reads; edge ``2 i + k`` belongs to block ``i``."""
    return cells[..., :2].reshape(*cells.shape[:-2], EDGES)


def operations(cells: Cells) -> Int[Array, "*n 2 10"]:
    """Operation of each edge."""
    return cells[..., 2:].reshape(*cells.shape[:-2], EDGES)


def pairs(cells: Cells) -> Int[Array, "*n 2 10"]:
    """The (block, input) pair whose weights each edge uses, below ``PAIRS``."""
    begin = np.cumsum([0, *(INPUTS + np.arange(BLOCKS - 1))])
    return sources(cells) + np.repeat(begin, 2).astype(np.int32)


def loose_ends(cells: Cells) -> Bool[Array, "*n 2 5"]:
    """The blocks that no block of their cell reads."""
    read = sources(cells)[..., None] == INPUTS + np.arange(BLOCKS)
    return ~read.any(-2)


def decode(cells: Int[Array, "2 5 4"], types: tuple[int, ...]) -> Wiring:
    """The architecture of a stack of cells of these types."""
    stack = jnp.asarray(types)
    return Wiring(
        source=rows(sources(cells)[stack]),
        operation=operations(cells)[stack],
        pair=pairs(cells)[stack],
        loose=loose_ends(cells)[stack],
    )


def code(cells: Any) -> list[int]:
    """The forty integers of one genome, reduction cell first."""
    return [int(value) for value in np.asarray(cells).ravel()]


def from_code(values: Any, where: str = "genotype") -> np.ndarray:
    """The genome of forty integers.

    Raises:
      UserError: if there are not forty, or one is no integer or out of its range;
        ``where`` says in the message what was read.
    """
    array = np.asarray(values)
    if array.shape != (LENGTH,) or array.dtype.kind not in "iu":
        raise UserError(
            f"{where}: found {np.size(values)} values of type {array.dtype}, must be "
            f"{LENGTH} integers"
        )
    cells = array.reshape(len(CELL_TYPES), BLOCKS, 4).astype(np.int32)
    wrong = np.argwhere((cells < 0) | (cells >= choices()))
    if len(wrong):
        cell, block, place = wrong[0]
        most = choices()[block, place] - 1
        kind = "operation" if place > 1 else "input"
        raise UserError(
            f"{where}: found {kind} {cells[cell, block, place]} in block {block} of "
            f"the {CELL_TYPES[cell]} cell, must be 0 to {most}"
        )
    return cells
