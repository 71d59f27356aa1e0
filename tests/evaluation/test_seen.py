"""Sets of rows in bits against Python's sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evaluation.seen import none_seen

TASKS, SIZE, ADDED = 3, 77, 9


@jax.jit
def _add(seen, rows, new):
    return jax.vmap(lambda seen, rows, new: seen.add(rows, new))(seen, rows, new)


@pytest.mark.parametrize("seed", range(3))
def test_rows_added_are_seen_and_no_others(seed):
    rng = np.random.default_rng(seed)
    seen, sets = none_seen(TASKS, SIZE), [set() for _ in range(TASKS)]
    assert len(seen) == SIZE
    for _ in range(20):
        rows = np.stack([rng.permutation(SIZE)[:ADDED] for _ in range(TASKS)])
        rows[:, 0] = -1
        new = [
            [r >= 0 and r not in s for r in own]
            for own, s in zip(rows, sets, strict=True)
        ]
        seen = _add(seen, jnp.asarray(rows), jnp.asarray(new))
        for own, known in zip(rows, sets, strict=True):
            known.update(int(r) for r in own if r >= 0)
        found = np.asarray(seen.every())
        assert [set(np.flatnonzero(own)) for own in found] == sets
        for t in range(TASKS):
            asked = jnp.asarray(rng.integers(0, SIZE, (4, 5)))
            assert (seen.task(t)[asked] == found[t][asked]).all()
    assert 0 < found.sum() < found.size
