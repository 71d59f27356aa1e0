import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.sources import load_tasks

from .conftest import medmnist_arrays


def test_official_files(tmp_path):
    np.savez(
        tmp_path / "organamnist.npz", **medmnist_arrays((28, 28), 11, (55, 22, 11))
    )
    np.savez(tmp_path / "bloodmnist_part.npz", **medmnist_arrays((28, 28, 3), 8))
    organ, blood = load_tasks("medmnist:organa+blood", data_dir=tmp_path)
    assert (organ.name, blood.name) == ("organamnist", "bloodmnist")
    assert (organ.classes, blood.classes) == (11, 8)
    assert organ.input_shape == blood.input_shape == (28, 28, 3)
    assert len(organ.validation) == 22


def test_a_small_part_keeps_the_published_classes(tmp_path):
    np.savez(tmp_path / "pathmnist.npz", **medmnist_arrays((28, 28, 3), classes=2))
    assert load_tasks("medmnist:path", data_dir=tmp_path)[0].classes == 9


def test_errors(tmp_path):
    with pytest.raises(UserError, match=r"organamnist.npz not found in .*zenodo"):
        load_tasks("medmnist:organa", data_dir=tmp_path)
    with pytest.raises(UserError, match="found 'chest'; allowed: path, derma"):
        load_tasks("medmnist:organa+chest", data_dir=tmp_path)
    with pytest.raises(UserError, match="found ''; allowed: path, derma"):
        load_tasks("medmnist", data_dir=tmp_path)
    for name in ("breastmnist", "breastmnist_64"):
        np.savez(tmp_path / f"{name}.npz", **medmnist_arrays(classes=2))
    with pytest.raises(UserError, match=r"found 2 files breastmnist\*.npz"):
        load_tasks("medmnist:breast", data_dir=tmp_path)
    np.savez(tmp_path / "octmnist.npz", **medmnist_arrays(classes=5))
    with pytest.raises(UserError, match="label 4; allowed: 0 to 3"):
        load_tasks("medmnist:oct", data_dir=tmp_path)


def test_real_subsets(real_data):
    for name in ("organamnist", "bloodmnist"):
        if not list(real_data.glob(f"{name}*.npz")):
            pytest.skip(f"{real_data} has no {name}*.npz")
    organ, blood = load_tasks("medmnist:organa+blood", data_dir=real_data)
    assert (len(organ.train), len(organ.validation), len(organ.test)) == (
        9000,
        1500,
        3000,
    )
    assert (organ.classes, blood.classes) == (11, 8)
