"""Neighbours of genomes of cells."""

import jax
import numpy as np

from evojax_mtl.genomes.cells import (
    NEIGHBOURS,
    choices,
    code,
    from_code,
    neighbours,
    random_cells,
)


def test_neighbours_are_all_genomes_that_differ_in_one_integer():
    genome = random_cells(jax.random.key(0))
    near = np.asarray(jax.jit(neighbours)(genome))
    # of each cell the inputs' other values, and eight other operations ten times
    assert len(near) == NEIGHBOURS == 2 * (2 * (1 + 2 + 3 + 4 + 5) + 10 * 8)
    assert ((near != np.asarray(genome)).sum((1, 2, 3)) == 1).all()
    assert len({tuple(code(one)) for one in near}) == NEIGHBOURS
    assert (near < choices()).all()
    for one in near[::20]:
        from_code(code(one))
