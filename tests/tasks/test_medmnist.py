import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import medmnist
from evojax_mtl.tasks.sources import load_tasks

from .conftest import medmnist_arrays


def test_official_files(tmp_path):
    np.savez(
        tmp_path / "organamnist.npz", **medmnist_arrays((28, 28), 11, (55, 22, 11))
    )
    np.savez(
        tmp_path / "bloodmnist_part.npz", **medmnist_arrays((28, 28, 3), 8, (16, 8, 8))
    )
    organ, blood = load_tasks("medmnist:organa+blood", data_dir=tmp_path)
    assert (organ.name, blood.name) == ("organamnist", "bloodmnist")
    assert (organ.classes, blood.classes) == (11, 8)
    assert organ.input_shape == blood.input_shape == (28, 28, 3)
    assert len(organ.validation) == 22


@pytest.mark.parametrize("name", medmnist.CLASSES)
def test_each_set_has_its_published_classes(tmp_path, name):
    classes = medmnist.CLASSES[name]
    fields = medmnist_arrays((28, 28), classes, (5 * classes, classes, classes))
    np.savez(tmp_path / f"{name}mnist.npz", **fields)
    (task,) = load_tasks(f"medmnist:{name}", data_dir=tmp_path)
    assert (task.name, task.classes) == (f"{name}mnist", classes)
    assert (task.loss, task.metric) == ("cross_entropy", "accuracy")
    assert np.array_equal(task.validation.labels, np.arange(classes))


def test_grey_sets_beside_coloured_ones_become_coloured(tmp_path):
    grey = medmnist_arrays((28, 28), 11, (55, 22, 11))
    np.savez(tmp_path / "organsmnist.npz", **grey)
    np.savez(
        tmp_path / "pathmnist.npz", **medmnist_arrays((28, 28, 3), 9, (45, 9, 9), 1)
    )
    organ, path = load_tasks("medmnist:organs+path", data_dir=tmp_path)
    assert organ.input_shape == path.input_shape == (28, 28, 3)
    for channel in range(3):
        found = organ.test.images[..., channel]
        assert np.array_equal(found, grey["test_images"])


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_part_without_a_class_is_refused(tmp_path, split):
    prefix = "val" if split == "validation" else split
    fields = medmnist_arrays((28, 28), 11, (55, 22, 11))
    fields[f"{prefix}_labels"] = fields[f"{prefix}_labels"] % 10
    np.savez(tmp_path / "organamnist.npz", **fields)
    message = f"organamnist.npz: class 10 of 11 has no {split} example; allowed: every"
    with pytest.raises(UserError, match=message):
        load_tasks("medmnist:organa", data_dir=tmp_path)


def test_another_number_of_classes(tmp_path):
    fields = medmnist_arrays((28, 28), 12, (60, 12, 12))
    np.savez(tmp_path / "organamnist.npz", **fields, classes=12)
    with pytest.raises(UserError, match=r"amnist.npz: found 12 classes; allowed: 11"):
        load_tasks("medmnist:organa", data_dir=tmp_path)


def test_errors(tmp_path):
    with pytest.raises(UserError, match=r"organamnist.npz not found in .*zenodo"):
        load_tasks("medmnist:organa", data_dir=tmp_path)
    with pytest.raises(UserError, match="found 'chess'; allowed: path, derma"):
        load_tasks("medmnist:organa+chess", data_dir=tmp_path)
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


def chest(train=40, rest=20, labels=14):
    rng = np.random.default_rng(0)
    fields = {}
    for part, size in (("train", train), ("val", rest), ("test", rest)):
        fields[f"{part}_images"] = rng.integers(0, 256, (size, 28, 28), np.uint8)
        fields[f"{part}_labels"] = rng.integers(0, 2, (size, labels), np.uint8)
    return fields


def test_chest_has_several_labels_an_image(tmp_path):
    fields = chest()
    np.savez(tmp_path / "chestmnist.npz", **fields)
    (task,) = load_tasks("medmnist:chest", data_dir=tmp_path)
    assert (task.classes, task.several, task.metric) == (14, True, "accuracy")
    bits = task.train.labels[:, None] >> np.arange(14) & 1
    np.testing.assert_array_equal(bits, fields["train_labels"])
    (first,) = load_tasks("medmnist:chest", data_dir=tmp_path, max_classes=3)
    assert (first.classes, first.several) == (3, True)
    np.testing.assert_array_equal(first.test.labels, task.test.labels % 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("val_labels"), "val_labels"),
        (lambda f: f.update(chest(labels=13)), "13 labels; allowed: 14"),
        (lambda f: f.update(test_labels=f["test_labels"] * 2), "found 2; allowed: 0"),
        (lambda f: f.update(test_labels=f["test_labels"][:, 0]), r"\(20, labels\)"),
        (lambda f: f["train_labels"].__setitem__((..., 5), 0), "label 5 of 14 has no"),
    ],
)
def test_a_chest_file_that_is_not_as_published(tmp_path, change, message):
    fields = chest()
    change(fields)
    np.savez(tmp_path / "chestmnist.npz", **fields)
    with pytest.raises(UserError, match=message):
        load_tasks("medmnist:chest", data_dir=tmp_path)
