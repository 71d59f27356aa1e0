"""The turns of networks side by side are those of one device, in another order."""

import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.search.codeepneat_turns import Turns

CASES = [(5, 1, 1), (5, 2, 3), (6, 3, 4), (10, 3, 1), (4, 2, 8), (8, 2, 4), (7, 0, 1)]
SEARCHING = 2


def taken(turns: Turns) -> list[tuple[int, ...]]:
    """All turns of a search of two generations and final training, in order."""
    found = []
    for generation in range(SEARCHING + turns.finals):
        told = turns.all(jnp.int32(generation), jnp.int32(SEARCHING))
        for i in np.flatnonzero(np.asarray(told.active)):
            own = [
                int(np.broadcast_to(np.asarray(x), told.active.shape)[i]) for x in told
            ]
            _, final, place, who, before, of, number = own
            whose = (who, before) if final else (place, 0)
            found.append((final, *whose, of, number))
    return found


@pytest.mark.parametrize(("networks", "finals", "finalists"), CASES)
def test_one_lane_takes_the_turns_in_order(networks, finals, finalists):
    turns = Turns(networks, finals, finalists)
    assert turns.rounds == networks
    found = taken(turns)
    searched = [t for t in found if not t[0]]
    expected = [(g, n) for g in range(SEARCHING) for n in range(networks)]
    assert [t[-2:] for t in searched] == expected
    last = found[len(searched) :]
    expected = [(SEARCHING + g, n) for g in range(finals) for n in range(networks)]
    assert [t[-2:] for t in last] == expected
    each = finals * networks // finalists
    whose = [min(i // max(each, 1), finalists - 1) for i in range(finals * networks)]
    assert [t[1] for t in last] == whose
    assert all(t[2] == whose[:i].count(t[1]) for i, t in enumerate(last))


@pytest.mark.parametrize("lanes", [2, 3, 8])
@pytest.mark.parametrize(("networks", "finals", "finalists"), CASES)
def test_several_lanes_take_the_same_turns(networks, finals, finalists, lanes):
    alone = Turns(networks, finals, finalists)
    together = Turns(networks, finals, finalists, lanes)
    assert sorted(taken(together)) == sorted(taken(alone))
    # where everything divides, no lane is ever idle
    shares = networks / lanes, finalists / lanes, finals * networks / finalists
    if all(share == int(share) for share in shares):
        assert together.rounds == networks // lanes
    assert together.rounds >= -(-networks // lanes)
