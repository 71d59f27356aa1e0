"""How tests compile and in which order their files run.

They compile quickly, and each program once for all processes. This is set by variables,
which processes that tests start inherit.
"""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# without the optimisations of the last stage, and kernels written in the quicker way
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
_FLAGS = "XLA_FLAGS"
_EMITTERS = "xla_cpu_use_fusion_emitters"
if _EMITTERS not in os.environ.get(_FLAGS, ""):
    os.environ[_FLAGS] = f"{os.environ.get(_FLAGS, '')} --{_EMITTERS}=false".strip()

_CACHE = "JAX_COMPILATION_CACHE_DIR"
_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"

FIRST = [
    "search/test_contract.py",
    "balancing/test_contract.py",
    "networks/test_cell_network.py",
    "networks/test_cell_supernet.py",
    "networks/test_executor.py",
    "search/test_tabular.py",
    "search/test_devices.py",
]
"""The longest files, which must not be those that are waited for in the end; what the
last one compiles and the first one too, it finds compiled."""

_MAPS = Path("/proc/self/maps")
_MANY = 15_000
"""Memory maps of a process; Linux allows 65,530, and a file of tests takes some."""


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
    """Frees the compiled programs after a file once there are many.

    Each keeps memory maps, and XLA crashes where no more are to be had.
    """
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MANY:
        # their counts of traces end here, too
        if cases := sys.modules.get("tests.search.cases"):
            cases.compiled.cache_clear()
        sys.modules["jax"].clear_caches()
        gc.collect()


def pytest_configure(config):
    """Makes the folder of compiled programs that this session's processes share."""
    config.own_cache = None
    if _CACHE not in os.environ:
        config.own_cache = os.environ[_CACHE] = tempfile.mkdtemp(prefix="programs-")
        os.environ[_SECONDS] = "0.2"


def pytest_unconfigure(config):
    """Removes the folder again; xdist's workers, which found it made, leave it."""
    if config.own_cache is not None:
        shutil.rmtree(config.own_cache, ignore_errors=True)
        del os.environ[_CACHE]


def pytest_collection_modifyitems(items):
    """Sorts the files, and leaves the order within them."""
    place = {Path(__file__).parent / name: i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture
def refused(capsys):
    """Gives the one line that a refused command ends with."""
    # imported here, after the variables are set
    from evojax_mtl.cli import main

    def run(words):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    return run
