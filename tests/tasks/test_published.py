"""What all data sets published as a training and a test split have in common."""

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.sources import load_tasks

from .conftest import medmnist_arrays
from .prepared import png, write
from .test_mnist import arrays as mnist_arrays
from .test_mnist import write as write_mnist


def keras(shape=(28, 28), classes=10, labels_shape=(-1,)):
    fields = medmnist_arrays(shape, classes, (classes * 5, 1, classes * 2))
    return {
        "x_train": fields["train_images"],
        "y_train": fields["train_labels"].reshape(labels_shape),
        "x_test": fields["test_images"],
        "y_test": fields["test_labels"].reshape(labels_shape),
    }


SETS = {
    "mnist": ((28, 28), 10),
    "fashion_mnist": ((28, 28), 10),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("labels_shape", [(-1,), (-1, 1)])
def test_kerass_fields(tmp_path, name, labels_shape):
    shape, classes = SETS[name]
    fields = keras(shape, classes, labels_shape)
    np.savez(tmp_path / f"{name}.npz", **fields)
    (task,) = load_tasks(name, data_dir=tmp_path)
    assert (task.name, task.classes) == (name, classes)
    held_out = slice(4 * classes, None)  # labels go round: the fifth of each class
    images = fields["x_train"].reshape(5 * classes, *task.input_shape)
    assert np.array_equal(task.validation.images, images[held_out])
    assert np.array_equal(task.train.images, images[: 4 * classes])
    assert np.array_equal(task.train.labels, fields["y_train"].ravel()[: 4 * classes])
    assert np.array_equal(task.test.images.ravel(), fields["x_test"].ravel())


@pytest.mark.parametrize("name", SETS)
def test_medmnists_fields_with_and_without_validation(tmp_path, name):
    shape, classes = SETS[name]
    fields = medmnist_arrays(shape, classes, (5 * classes, classes, classes))
    given, cut = tmp_path / "given", tmp_path / "cut"
    given.mkdir()
    cut.mkdir()
    np.savez(given / f"{name}_part.npz", **fields)
    (task,) = load_tasks(name, data_dir=given)
    assert (task.name, len(task.train)) == (name, 5 * classes)
    assert np.array_equal(task.validation.images.ravel(), fields["val_images"].ravel())
    del fields["val_images"], fields["val_labels"]
    np.savez(cut / f"{name}_part.npz", **fields)
    (task,) = load_tasks(name, data_dir=cut)
    assert [len(task.train), len(task.validation)] == [4 * classes, classes]


def test_two_files_match(tmp_path):
    for name in ("mnist", "mnist_part"):
        np.savez(tmp_path / f"{name}.npz", **keras())
    with pytest.raises(UserError, match=r"found 2 files mnist\*.npz"):
        load_tasks("mnist", data_dir=tmp_path)


def test_two_layouts_in_one_folder_but_not_in_two(tmp_path, home, monkeypatch):
    write_mnist(tmp_path)
    np.savez(tmp_path / "mnist.npz", **keras())
    with pytest.raises(
        UserError, match=r"found mnist 2 times .*mnist.npz\); allowed: "
    ):
        load_tasks("mnist", data_dir=tmp_path)
    (tmp_path / "mnist.npz").unlink()
    cache = home / "cache/evojax_mtl"
    cache.mkdir(parents=True)
    np.savez(cache / "mnist.npz", **keras())
    monkeypatch.setenv("EVOJAX_MTL_DATA", str(tmp_path))
    (task,) = load_tasks("mnist")
    assert np.array_equal(task.test.images[..., 0], mnist_arrays()[2])


def test_cifar100_is_not_found_for_cifar10(tmp_path):
    np.savez(tmp_path / "cifar100.npz", **keras((32, 32, 3), 100))
    with pytest.raises(UserError, match=r"cifar10 not found in .*cs.toronto.edu"):
        load_tasks("cifar10", data_dir=tmp_path)
    np.savez(tmp_path / "cifar10_subset.npz", **keras((32, 32, 3), 10))
    tasks = load_tasks("cifar10+cifar100", data_dir=tmp_path)
    assert [task.classes for task in tasks] == [10, 100]


def test_an_argument_is_refused(tmp_path):
    with pytest.raises(
        UserError, match="'mnist:even': found an argument; allowed: mnis"
    ):
        load_tasks("mnist:even", data_dir=tmp_path)


X, Y = keras()["x_train"], keras()["y_train"]
BAD = {
    "no test": ({"x_test": None}, "field 'x_test' is missing; found x_train, y_test"),
    "no labels": ({"y_train": None}, "field 'y_train' is missing"),
    "shape": ({"x_train": X[0]}, r"field 'x_train': shape \(28, 28\); allowed: \(n,"),
    "dtype": ({"x_train": X.astype(int)}, "field 'x_train': dtype int64; allowed"),
    "size": ({"x_train": X[:, 1:]}, r"test images are .* and train images \(27, 28, 1"),
    "colour": (
        {
            "x_train": np.stack([X] * 3, -1),
            "x_test": np.stack([X] * 3, -1),
            "y_test": Y,
        },
        r"found images \(28, 28, 3\) of 10 classes; allowed: \(28, 28, 1\) of 10",
    ),
    "labels": ({"y_train": Y[:9]}, "train labels: 9 labels for 50 images"),
    "label dtype": ({"y_train": Y * 1.0}, "train labels: dtype float64; allowed: int"),
    "range": ({"y_train": Y + 1}, "found train label 10; allowed: 0 to 9"),
    "absent": ({"y_train": Y % 9}, "class 9 of 10 has no train example"),
    "objects": ({"x_train": np.array([None] * 9)}, "it holds Python objects"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_ends_in_one_line(tmp_path, case):
    changed, message = BAD[case]
    fields = {k: v for k, v in (keras() | changed).items() if v is not None}
    np.savez(tmp_path / "mnist.npz", **fields)
    with pytest.raises(UserError, match=message) as caught:
        load_tasks("mnist", data_dir=tmp_path)
    assert str(tmp_path / "mnist.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_of_that_name(tmp_path):
    np.savez(tmp_path / "cifar10.npz", images=X, labels=Y)
    with pytest.raises(
        UserError, match=r"'train_images' is missing; found images, lab"
    ):
        load_tasks("cifar10", data_dir=tmp_path)
    whole = medmnist_arrays((32, 32, 3), 10, (50, 10, 10))
    np.savez(tmp_path / "cifar10.npz", **whole, classes=11)
    with pytest.raises(UserError, match=r"of 11 classes; allowed: \(32, 32, 3\) of 10"):
        load_tasks("cifar10", data_dir=tmp_path)
    (tmp_path / "cifar10.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"cifar10.npz: not a readable npz file"):
        load_tasks("cifar10", data_dir=tmp_path)


def test_prepared_by_tfds(library, tmp_path):
    features = {
        "image": library.features.Image(shape=(28, 28, 1)),
        "label": library.features.ClassLabel(num_classes=10),
    }
    rows = {
        split: [
            {"image": png(np.full((28, 28), i, np.uint8)), "label": i % 10}
            for i in range(size)
        ]
        for split, size in (("train", 50), ("test", 20))
    }
    write(library, tmp_path, "mnist", features, rows)
    (task,) = load_tasks("mnist", data_dir=tmp_path, image_size=14)
    assert (task.name, task.classes, task.input_shape) == ("mnist", 10, (14, 14, 1))
    for part, size in ((task.train, 40), (task.validation, 10), (task.test, 20)):
        assert len(part) == size
        assert np.array_equal(part.images[:, 0, 0, 0] % 10, part.labels)
    write_mnist(tmp_path / "mnist")
    with pytest.raises(UserError, match=r"found mnist 2 times \(.*/mnist, .*/1.0.0\)"):
        load_tasks("mnist", data_dir=tmp_path)


def test_real_cifar10(real_data):
    if not list(real_data.glob("cifar10*.npz")):
        pytest.skip(f"{real_data} has no cifar10*.npz")
    (task,) = load_tasks("cifar10", data_dir=real_data)
    assert (task.classes, task.input_shape) == (10, (32, 32, 3))
    sizes = np.bincount(task.train.labels), np.bincount(task.validation.labels)
    assert sizes[0].tolist() == (4 * sizes[1]).tolist()
    assert len(np.unique(np.bincount(task.test.labels))) == 1
