"""Small data in the official layouts, written by the tests."""

import os
from pathlib import Path

import numpy as np
import pytest

from evojax_mtl.tasks.request import ENVIRONMENT

MISSING = "the extra is not installed: pip install 'evojax-mtl[tfds]'"


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get(ENVIRONMENT)
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"${ENVIRONMENT} names no folder of real data")
    return Path(folder)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A user who has no data: no variable, empty cache folders."""
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path


@pytest.fixture
def library():
    pytest.importorskip("array_record", reason=MISSING)
    return pytest.importorskip("tensorflow_datasets", reason=MISSING)


def medmnist_arrays(shape=(8, 8), classes=3, sizes=(15, 6, 9), seed=0):
    """Fields of a MedMNIST file: every class in every split."""
    rng = np.random.default_rng(seed)
    fields = {}
    for part, size in zip(("train", "val", "test"), sizes, strict=True):
        fields[f"{part}_images"] = rng.integers(0, 256, (size, *shape), np.uint8)
        fields[f"{part}_labels"] = (np.arange(size) % classes).astype(np.uint8)[:, None]
    return fields
