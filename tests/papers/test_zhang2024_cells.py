"""What the cards of Zhang 2024, Tables IV to VI, ask for."""

import pytest

from evojax_mtl.commands import run
from evojax_mtl.methods import find_method
from evojax_mtl.tasks.sources import data_kind
from experiments.papers import (
    zhang2024_table4,
    zhang2024_table5,
    zhang2024_table6,
    zhang2024_table7,
)
from experiments.papers.cards import words
from experiments.papers.cell_searches import cost, search_options, tasks_of, told

CARDS = (zhang2024_table4, zhang2024_table5, zhang2024_table6, zhang2024_table7)
TABLES = [card.TABLE for card in CARDS]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@pytest.mark.parametrize("scale", ["smoke", "paper"])
def test_every_search_is_a_command_on_images(table, scale):
    tasks = tasks_of(table, scale, None)
    assert data_kind(tasks) == "images"
    for name, (method, own) in table.rows.items():
        options = search_options(table, name, scale, tasks, 3)
        settings, _ = run.read(find_method(method), words(options))
        assert settings.form.data == "images"
        assert settings.seed == 3
        expected = own | (table.paper if scale == "paper" else {})
        assert expected.items() <= vars(settings.config).items()


def test_the_medical_sets_are_searched_as_by_liao_2023():
    options = search_options(TABLES[2], "KTNAS", "paper", TABLES[2].tasks, 0)
    settings, _ = run.read(find_method("ktnas"), words(options))
    config = settings.config
    assert (config.channels, config.generations, config.population) == (48, 100, 20)


def test_cost_is_in_percent_of_the_first_row():
    assert cost([9.0, 13.2], [10.0, 10.0]) == pytest.approx(11)


def test_a_line_tells_means_over_the_seeds():
    result = {
        "test": [0.5, 0.7],
        "tasks": [{"a": 0.4, "b": 0.6}, {"a": 0.6, "b": 0.8}],
        "scratch": [{"a": {"test": 0.9}}, {"a": {"test": 0.8}}],
        "cost": -7.5,
    }
    line = told("KTNAS", result)
    assert "test 60.00 +- 10.00 %" in line
    assert "a 50.00, b 70.00" in line
    assert "a from scratch 85.00" in line
    assert line.endswith("time -7.5 %")
