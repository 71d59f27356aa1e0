"""What the card of Liang 2019 asks for and tells."""

import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.commands import run
from evojax_mtl.configs import SCALES, preset
from evojax_mtl.leaf_configs import (
    LEAFConfig,
    LEAFHyperparameterConfig,
    LEAFImageConfig,
)
from evojax_mtl.methods import find_method
from evojax_mtl.search.codeepneat_populations import DECAY
from evojax_mtl.search.leaf_hyperparameters import table
from experiments.papers.cards import words
from experiments.papers.leaf_baselines import by_hand, suggested
from experiments.papers.liang2019_leaf import (
    BASELINES,
    HYPERPARAMETERS,
    MULTI,
    ROWS,
    SINGLE,
    dominated,
    pair,
    rows_on,
)


@pytest.mark.parametrize("tasks", ["remarks", "digits"])
def test_every_row_is_a_command(tasks):
    names, asked = rows_on(tasks)
    for name in set(names) - set(BASELINES):
        options = {"tasks": tasks, "scale": "smoke", "seed": 2} | asked | ROWS[name]
        settings, _ = run.read(find_method("leaf"), words(options))
        expected = "hyperparameters" if name == HYPERPARAMETERS else "architecture"
        assert settings.config.search == expected


def test_images_have_architectures_alone():
    assert set(rows_on("remarks")[0]) == {*BASELINES, *ROWS}
    assert rows_on("chestxray") == ((SINGLE, MULTI), {"fitness": "auroc"})


def test_the_smaller_network_is_little_behind():
    front = [
        {"validation": 0.5, "parameters": 10},
        {"validation": 0.74, "parameters": 56},
        {"validation": 0.75, "parameters": 80},
        {"validation": 0.77, "parameters": 125},
    ]
    found = pair(front)
    assert found["best"]["parameters"] == 125
    assert found["smaller"]["parameters"] == 56


class Trial:
    """Stands in for Optuna's: suggests the ends of ranges."""

    def __init__(self, at):
        self.at = at

    def suggest_categorical(self, name, choices):
        return choices[self.at]

    def suggest_int(self, name, low, high, *, log):
        return (low, high)[self.at]

    def suggest_float(self, name, low, high, *, log):
        return self.suggest_int(name, low, high, log=log)


@pytest.mark.parametrize("scale", SCALES)
def test_baselines_choose_from_what_leaf_searches(scale):
    config = preset(LEAFHyperparameterConfig, scale)
    space = table(config)
    names = {gene.name for gene in space.genes}
    for chosen in (by_hand(config), *(suggested(Trial(k), space) for k in (0, -1))):
        assert set(chosen) == names
        found = space.decode(jnp.asarray(space.encode(chosen)))
        assert found["width"] == chosen["width"]
        np.testing.assert_allclose(
            found["learning_rate_factor"], chosen["learning_rate_factor"], rtol=1e-5
        )
    assert by_hand(config)["learning_rate_factor"] == 1


def test_the_paper_s_tables_are_the_scale_paper():
    config = preset(LEAFImageConfig, "paper")
    # Table 2
    assert (config.modules, config.species, config.tables) == (56, 4, 22)
    assert config.networks == 100
    assert (config.add_node, config.add_connection) == (0.08, 0.08)
    assert (config.add_blueprint_node, config.add_blueprint_connection) == (0.16, 0.12)
    # Table 3
    assert (config.fewest_filters, config.filters) == (16, 64)
    assert (config.largest_kernel, config.most_dropout) == (3, 0.7)
    assert (config.depth, config.sharing) == (4, "evolved")
    assert DECAY == (1e-9, 1e-3)
    # Algorithm 2
    assert config.survivors == preset(LEAFConfig, "paper").survivors == "all"


def test_equals_do_not_dominate_each_other():
    front = [(1.0, 0.2), (2.0, 0.5), (4.0, 0.6), (9.0, 0.9)]
    other = [(1.0, 0.2), (2.0, 0.6), (10.0, 0.9)]
    # the second is beaten at the same cost, the third by a cheaper equal
    assert dominated(front, other) == pytest.approx(2 / 4)
    assert dominated(other, front) == pytest.approx(1 / 3)
    assert dominated(front, front) == 0
