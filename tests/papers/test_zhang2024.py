"""What the cards of Zhang 2024 compute."""

import numpy as np

from experiments.papers.zhang2024_embedding import edit_distances


def test_edits_count_between_classes():
    # every cell of two operations of three kinds; 00 computes what 22 does
    ops = np.indices((3, 3)).reshape(2, -1).T
    classes = np.arange(9)
    classes[8] = classes[0]
    found = edit_distances(ops, classes, np.array([0, 4])).reshape(2, 3, 3)
    assert found[0].tolist() == [[0, 1, 1], [1, 2, 1], [1, 1, 0]]
    assert found[1].tolist() == [[2, 1, 2], [1, 0, 1], [2, 1, 2]]


def test_edits_are_operations_that_differ_where_no_cells_are_isomorphic():
    ops = np.indices((3, 3, 3)).reshape(3, -1).T
    found = edit_distances(ops, np.arange(27), np.arange(27))
    np.testing.assert_array_equal(found, (ops[:, None] != ops).sum(-1))
