"""Conflicts of gradients, and the kernels that they make."""

import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.evaluation.conflicts import (
    gradient_cosines,
    indicated,
    no_conflicts,
)

PAIRS = [(0, 1), (0, 2), (1, 2)]


def test_cosines_are_of_shared_weights_and_the_pairs_kernel():
    draw = np.random.default_rng(3)
    stages = [{"a": draw.normal(size=(3, 4)), "b": draw.normal(size=(3, 2, 2))}, {}]
    stages[1] = {"a": draw.normal(size=(3, 5))}
    kernels = [draw.normal(size=(3, 3, 6)), np.zeros((3, 3, 7))]
    found = gradient_cosines(
        [{k: jnp.asarray(v, jnp.float32) for k, v in s.items()} for s in stages],
        [jnp.asarray(k, jnp.float32) for k in kernels],
        PAIRS,
    )
    for p, (i, j) in enumerate(PAIRS):
        for stage, own in enumerate(kernels):
            a, b = (
                np.concatenate(
                    [*(leaf[t].ravel() for leaf in stages[stage].values()), own[t, p]]
                )
                for t in (i, j)
            )
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            np.testing.assert_allclose(found[p, stage], cosine, rtol=1e-5)


def test_a_task_without_a_gradient_is_in_no_conflict():
    leaf = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    found = gradient_cosines([leaf], [], PAIRS)
    np.testing.assert_allclose(found[:, 0], [-1, 0, 0], atol=1e-6)
    conflicts = no_conflicts(3, 1).add(found).add(jnp.full((3, 1), jnp.nan))
    assert conflicts.counts[:, 0].tolist() == [1, 0, 0]
    assert conflicts.batches == 2


# mean of those not 0: (8 + 2 + 5 + 1) / 4 = 4
COUNTS = jnp.array([[8, 0], [2, 5], [0, 1]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[1, 0], [0, 1], [0, 0]]),
        # 5 in the first stage, 3 in the second
        ({"threshold": "layer"}, [[1, 0], [0, 1], [0, 0]]),
        ({"threshold": "top", "top": 1}, [[1, 0], [0, 0], [0, 0]]),
        ({"threshold": "top", "top": 3}, [[1, 0], [1, 1], [0, 0]]),
        ({"threshold": "top", "top": 99}, [[1, 0], [1, 1], [0, 1]]),
    ],
)
def test_kernels_are_made_where_conflicts_are_frequent(options, expected):
    found = indicated(COUNTS, **options)
    assert found.astype(int).tolist() == expected


def test_equal_counts_make_all_kernels_and_no_conflicts_none():
    assert indicated(jnp.full((3, 5), 7)).all()
    for threshold in ("average", "layer", "top"):
        assert not indicated(jnp.zeros((3, 5), int), threshold, 2).any()


def test_layers_have_means_of_their_own():
    counts = jnp.array([[90, 1], [10, 3]])
    assert indicated(counts).astype(int).tolist() == [[1, 0], [0, 0]]
    assert indicated(counts, "layer").astype(int).tolist() == [[1, 0], [0, 1]]
