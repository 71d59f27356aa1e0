"""Arrays on disk; ``test_synflow_cache`` damages their files."""

import numpy as np

from evojax_mtl.evaluation.array_cache import digest, kept


def test_names_and_shapes_tell_arrays_apart(tmp_path):
    calls = []

    def compute(shape):
        calls.append(shape)
        return np.full(shape, float(len(calls)))

    for name, shape, expected in (
        ("a", (2,), 1.0),
        ("a", (2,), 1.0),
        ("b", (2,), 2.0),
        ("a", (3,), 3.0),
        ("a", (3,), 3.0),
    ):
        found = kept(name, shape, lambda shape=shape: compute(shape), tmp_path)
        np.testing.assert_array_equal(found, np.full(shape, expected))
    assert calls == [(2,), (2,), (3,)]


def test_digests_differ_where_facts_do():
    facts = [(1, "a"), (1, "b"), (2, "a"), (1, "a", None)]
    assert len({digest(*each) for each in facts}) == len(facts)
    assert digest(*facts[0]) == digest(1, "a")
