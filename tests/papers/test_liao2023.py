"""What the cards of Liao 2023 compute from runs."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from experiments.papers.liao2023_multitasking import TABLES, reached
from experiments.papers.liao2023_reevaluation import VARIANTS, steadiness
from experiments.papers.liao2023_relatedness import dissimilarities, relatedness

RANDOM = np.random.default_rng(0)


def test_dissimilarities_are_those_of_scipy():
    features = RANDOM.normal(size=(7, 5))
    expected = pdist(features, "correlation")
    np.testing.assert_allclose(dissimilarities(features), expected, rtol=1e-9)


def test_relatedness_is_the_rank_correlation_of_dissimilarities():
    first = RANDOM.normal(size=(9, 6))
    other = first + 0.5 * RANDOM.normal(size=(9, 6))
    matrix = relatedness([first, 3 * first + 1, other])
    np.testing.assert_allclose(matrix, matrix.T)
    assert matrix[0, 1] == pytest.approx(1)
    expected = stats.spearmanr(pdist(first, "correlation"), pdist(other, "correlation"))
    assert matrix[0, 2] == pytest.approx(expected.statistic)
    assert 0 < matrix[0, 2] < 1


def test_a_network_that_tells_no_images_apart_is_related_to_none():
    same = np.ones((9, 6)) * np.arange(6)
    matrix = relatedness([RANDOM.normal(size=(9, 6)), same])
    assert matrix.tolist() == [[1, 0], [0, 1]]


def test_steadiness():
    found = steadiness(np.array([0.5, 0.6, 0.7]), np.array([0.4, 0.6, 0.5]))
    assert found == pytest.approx({"gap": 10, "movement": 15, "falling": 5})


def test_when_an_accuracy_was_reached():
    run = {"accuracy": [0.1, 0.4, 0.4, 0.7], "elapsed": [2.0, 4.0, 6.0, 8.0]}
    assert reached(run, 0.4) == {"generations": 2, "seconds": 4.0}
    assert reached(run, 0.8) == {"generations": None, "seconds": None}


def test_the_figure_shows_two_rows_of_table_5():
    assert set(VARIANTS) < set(TABLES["5"].variants)
