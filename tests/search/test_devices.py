"""Searches over several devices equal searches on one, for every method."""

import subprocess
import sys
import time
from functools import cache

import numpy as np
import pytest

from tests.search.cases import (
    assert_close,
    axes_of,
    comparable,
    compiled,
    labels,
    pieces,
    steep,
    weights_and_metrics,
)
from tests.search.sharded import SEARCHES

# these are spread by the code of cm, and there is nothing else to it
LIKE_CM = ("cmsr", "cmtr", "leaf@architecture", "leaf@images")
METHODS = [label for label in labels() if label not in LIKE_CM]


@pytest.fixture(scope="module")
def stored(tmp_path_factory, request):
    """Each method's searches over 8 virtual devices, by another process meanwhile."""
    folder = tmp_path_factory.mktemp("sharded")
    mine = [item for item in request.session.items if item.path == request.path]
    asked = {item.callspec.params["method"] for item in mine}
    methods = [method for method in METHODS if method in asked]
    command = [sys.executable, "-m", "tests.search.sharded", str(folder), *methods]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(command, stderr=errors)

    @cache
    def of(method):
        path, end = folder / f"{method}.npz", time.monotonic() + 1200
        while process.poll() is None and not path.exists():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.1)
        assert path.exists(), (folder / "errors").read_text()
        return dict(np.load(path))

    yield of
    process.kill()
    process.wait()


# relative and absolute: a step of cells enlarges what the order of sums changes
NEAR = 1e-3, 5e-4


def in_pieces(case, seed):
    state = case.init(seed)
    for start, stop in pieces(case.steep, case.search, case.data):
        state, metrics = case.advance(state, start=start, stop=stop)
    return state, metrics


@pytest.mark.parametrize("method", METHODS)
def test_searches_vmapped_and_spread_over_devices_equal_a_loop(method, stored):
    case, near = compiled(method), NEAR if steep(method) else ()
    for seed in range(SEARCHES):
        outcome = comparable(case.steep, *in_pieces(case, seed))
        mine = {f"searches/{i}": leaf for i, leaf in enumerate(outcome)}
        got = {k: stored(method)[k][seed] for k in mine}
        assert_close(got, mine, *near)


@pytest.mark.parametrize(
    ("axis", "method"),
    [(axis, method) for method in METHODS for axis in axes_of(method)],
)
def test_one_search_on_two_devices_equals_one_device(axis, method, stored):
    outcome = weights_and_metrics(*in_pieces(compiled(method), 0))
    mine = {f"{axis}/{i}": leaf for i, leaf in enumerate(outcome)}
    assert_close({k: stored(method)[k] for k in mine}, mine, *NEAR)
