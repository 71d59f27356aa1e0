"""What the card of Liang 2019 asks for and tells."""

import pytest

from evojax_mtl.commands import run
from evojax_mtl.methods import find_method
from experiments.papers.cards import words
from experiments.papers.liang2019_leaf import (
    HYPERPARAMETERS,
    ROWS,
    dominated,
)


@pytest.mark.parametrize("name", list(ROWS))
def test_every_row_is_a_command(name):
    options = {"tasks": "remarks", "scale": "smoke", "seed": 2} | ROWS[name]
    settings, _ = run.read(find_method("leaf"), words(options))
    expected = "hyperparameters" if name == HYPERPARAMETERS else "architecture"
    assert settings.config.search == expected


def test_equals_do_not_dominate_each_other():
    front = [(1.0, 0.2), (2.0, 0.5), (4.0, 0.6), (9.0, 0.9)]
    other = [(1.0, 0.2), (2.0, 0.6), (10.0, 0.9)]
    # the second is beaten at the same cost, the third by a cheaper equal
    assert dominated(front, other) == pytest.approx(2 / 4)
    assert dominated(other, front) == pytest.approx(1 / 3)
    assert dominated(front, front) == 0
