import sys

import pytest

from tests.runs import fake


@pytest.fixture(scope="session", autouse=True)
def program_cache(tmp_path_factory):
    """One cache of compiled programs for all tests here and their subprocesses."""
    folder = str(tmp_path_factory.mktemp("programs"))
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
    jax = sys.modules.get("jax")
    if jax is not None:
        jax.config.update("jax_compilation_cache_dir", folder)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def fake_method():
    """Registers the method ``fake`` and its tasks for one file of tests."""
    from evojax_mtl import methods
    from evojax_mtl.tasks import sources

    before = sources.load_tasks
    fake.install()
    yield
    sources.load_tasks = before
    del methods.METHODS["fake"]


@pytest.fixture
def without_reports(monkeypatch):
    """Spares the second that each run's report takes."""
    from evojax_mtl.runs import report

    monkeypatch.setattr(report, "write_report", lambda *_: None)
