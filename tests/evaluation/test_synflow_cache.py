"""The file of all cells' flows."""

import jax
import numpy as np
import pytest

from evojax_mtl.evaluation import synflow, synflow_cache
from evojax_mtl.evaluation.synflow_cache import cached_synflow

RANDOM = np.random.default_rng(0)
CELLS = RANDOM.integers(0, 5, (20, 6))


@pytest.fixture
def passes(monkeypatch):
    """Calls that compute flows, which here are quick: functions of cells and size."""
    calls = []

    def flows(weights, ops, size):
        calls.append(size)
        channels = weights["stages"][-1]["conv_1x1"].shape[-1]
        return ops.astype(float) @ np.arange(6 * 2 * channels).reshape(6, -1)

    def shaped(weights, ops, size):
        return flows(weights, ops, size).reshape(len(ops), 2, -1)

    monkeypatch.setattr(synflow, "flows", shaped)
    return calls


def direct(classes, size, seed=None):
    if seed is None:
        return synflow.expected_synflow_scores(CELLS, classes, size)
    return synflow.synflow_scores(CELLS, classes, size, jax.random.key(seed))


def test_it_gives_each_cell_its_score_and_computes_once(tmp_path, passes):
    for classes in (10, 100):
        found = cached_synflow(CELLS, classes, 8, folder=tmp_path)
        np.testing.assert_allclose(found, direct(classes, 8))
    assert passes == [8, 8, 8]  # one of them fills the file, two are direct


def test_sizes_and_draws_have_files_of_their_own(tmp_path, passes):
    for size, seed in ((8, None), (4, None), (8, 0), (8, 1)):
        found = cached_synflow(CELLS, 10, size, seed, tmp_path)
        np.testing.assert_allclose(found, direct(10, size, seed))
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "foreign", "shape", "nan", "empty"])
def test_a_damaged_file_is_computed_again(tmp_path, passes, damage):
    expected = cached_synflow(CELLS, 10, 8, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    with np.load(path) as archive:
        flow = archive["array"]
    match damage:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "empty":
            path.write_bytes(b"")
        case "foreign":
            np.savez(path, scores=flow)
        case "shape":
            np.savez(path, array=flow[:-1])
        case "nan":
            np.savez(path, array=np.where(flow == flow.max(), np.nan, flow))
    found = cached_synflow(CELLS, 10, 8, folder=tmp_path)
    np.testing.assert_array_equal(found, expected)
    assert passes == [8, 8]
    cached_synflow(CELLS, 10, 8, folder=tmp_path)
    assert passes == [8, 8]


def test_a_folder_that_cannot_be_written_costs_the_file_only(tmp_path, passes):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.warns(RuntimeWarning, match="not kept"):
        found = cached_synflow(CELLS, 10, 8, folder=blocked / "computed")
    np.testing.assert_allclose(found, direct(10, 8))


def test_it_lies_in_the_users_cache_folder(tmp_path, monkeypatch, passes):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached_synflow(CELLS, 10, 8)
    version = synflow_cache.DEFINITION
    name = f"synflow-v{version}-8-mean.npz"
    assert (tmp_path / "evojax_mtl" / "computed" / name).is_file()
