"""What the card of Figs. 6 to 8 of Liang 2018 computes from runs."""

import dataclasses

import pytest

from evojax_mtl.methods import find_method
from experiments.papers.liang2018_figures import (
    FINALS,
    VARIANTS,
    curves,
    draw,
    meta_iterations,
    options_of,
)

LINES = [
    {"mean_validation": 0.3, "mean_fitness": 0.2, "final_training": 0},
    {"mean_validation": 0.5, "mean_fitness": 0.4, "final_training": 0},
    {"mean_validation": 0.6, "mean_fitness": 0.6, "final_training": 1},
    {"mean_validation": 0.55, "mean_fitness": 0.5, "final_training": 1},
]


def configured(figure, name, scale):
    method, own = VARIANTS[figure][name]
    options = options_of(figure, method, scale, own)
    return dataclasses.replace(find_method(method).configure(scale), **options)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "study", "paper"])
@pytest.mark.parametrize("figure", VARIANTS)
def test_every_line_is_a_method_with_its_options(figure, scale):
    for name in VARIANTS[figure]:
        configured(figure, name, scale)


@pytest.mark.parametrize("scale", ["smoke", "paper"])
def test_both_lines_of_figure_7_train_on_as_many_examples(scale):
    ctr, cmtr = configured("7", "CTR", scale), configured("7", "CMTR", scale)
    assert cmtr.finals == FINALS
    each = FINALS * meta_iterations(scale)
    assert (ctr.generations, ctr.iterations) == (each, cmtr.iterations)
    assert (ctr.batch, ctr.max_tasks) == (cmtr.batch, cmtr.max_tasks)


def test_figures_6_and_8_end_where_the_final_training_begins():
    found = curves("6", "cm", "smoke", LINES)
    assert found == {"x": [1, 2], "best": [0.3, 0.5], "mean": [0.2, 0.4]}
    assert curves("8", "cm", "smoke", LINES) == {"x": [1, 2], "best": [0.3, 0.5]}


def test_figure_7_has_the_best_so_far_by_meta_iteration():
    each = meta_iterations("smoke")
    found = curves("7", "cmtr", "smoke", LINES)
    assert found == {"x": [each, 2 * each], "best": [0.6, 0.6]}
    plain = [{"mean_validation": y} for y in (0.2, 0.1, 0.4)]
    found = curves("7", "ctr", "smoke", plain)
    assert found == {"x": [1, 2, 3], "best": [0.2, 0.2, 0.4]}


@pytest.mark.parametrize("figure", VARIANTS)
def test_figures_are_drawn(figure, tmp_path):
    lines = LINES if figure != "7" else LINES[2:]
    runs = [curves(figure, "cmtr", "smoke", lines)] * 2
    path = draw(tmp_path / "figure.png", figure, dict.fromkeys(VARIANTS[figure], runs))
    assert path.stat().st_size > 5000
