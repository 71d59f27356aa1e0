"""MNIST and Fashion-MNIST in their original layout, small, as the tests write it."""

import gzip

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.mnist import read_idx
from evojax_mtl.tasks.sources import load_tasks

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array, code=8):
    """An idx file: magic number, sizes, values."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    train, test = np.arange(50, dtype=np.uint8) % 10, np.arange(20, dtype=np.uint8) % 10
    pictures = [rng.integers(0, 256, (n, 28, 28), np.uint8) for n in (50, 20)]
    return pictures[0], train, pictures[1], test


def write(folder, values=None, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(NAMES, values or arrays(), strict=True):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("mnist", ""),
        ("mnist", "mnist"),
        ("fashion_mnist", "fashion_mnist"),
        ("fashion_mnist", "fashion-mnist"),
    ],
)
def test_original_files(tmp_path, source, place, packed):
    write(tmp_path / place, packed=packed)
    (task,) = load_tasks(source, data_dir=tmp_path)
    images, labels, test_images, test_labels = arrays()
    assert (task.name, task.classes, task.input_shape) == (source, 10, (28, 28, 1))
    assert np.array_equal(task.train.images[..., 0], images[:40])
    assert np.array_equal(task.train.labels, labels[:40])
    assert np.array_equal(task.validation.images[..., 0], images[40:])
    assert np.array_equal(task.test.images[..., 0], test_images)
    assert np.array_equal(task.test.labels, test_labels)


def test_both_joined_by_plus_never_share_files(tmp_path):
    write(tmp_path / "mnist", arrays(1))
    write(tmp_path / "fashion-mnist", arrays(2))
    mnist, fashion = load_tasks("mnist+fashion_mnist", data_dir=tmp_path)
    assert (mnist.name, fashion.name) == ("mnist", "fashion_mnist")
    assert np.array_equal(mnist.test.images[..., 0], arrays(1)[2])
    assert np.array_equal(fashion.test.images[..., 0], arrays(2)[2])


def test_an_uncompressed_file_goes_first(tmp_path):
    write(tmp_path)
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(b"")
    assert len(load_tasks("mnist", data_dir=tmp_path)[0].train) == 40


def test_two_places(tmp_path):
    write(tmp_path)
    write(tmp_path / "mnist", packed=True)
    with pytest.raises(
        UserError, match=r"found mnist 2 times \(.*/mnist\); allowed: o"
    ):
        load_tasks("mnist", data_dir=tmp_path)


def test_a_file_is_missing(tmp_path):
    write(tmp_path, packed=True)
    (tmp_path / f"{NAMES[3]}.gz").unlink()
    message = rf"{NAMES[3]} or {NAMES[3]}.gz is missing; found {NAMES[2]}.gz"
    with pytest.raises(UserError, match=message):
        load_tasks("mnist", data_dir=tmp_path)
    with pytest.raises(
        UserError, match=r"fashion_mnist not found in .*zalandoresearch"
    ):
        load_tasks("fashion_mnist", data_dir=tmp_path)


IMAGES, LABELS, *TEST = arrays()
BAD = {
    "labels for images": (0, idx(LABELS), "found magic number 2049; allowed: 2051"),
    "images for labels": (1, idx(IMAGES), "found magic number 2051; allowed: 2049"),
    "signed": (0, idx(IMAGES, 9), "found magic number 2307; allowed: 2051"),
    "not idx": (0, b"name,label\n", "found magic number .*; allowed: 2051"),
    "no file": (0, b"", "found 0 bytes; allowed: a header of 16"),
    "short header": (0, idx(IMAGES)[:15], "found 15 bytes; allowed: a header of 16"),
    "truncated": (
        0,
        idx(IMAGES)[:-7],
        r"found 39193 values; allowed: 39200, .*\[50, 28, 28\]",
    ),
    "too long": (1, idx(LABELS) + b"x", "found 51 values; allowed: 50"),
    "fewer labels": (1, idx(LABELS[:49]), "train labels: 49 labels for 50 images"),
    "label 10": (1, idx(LABELS + 1), "found train label 10; allowed: 0 to 9"),
    "no 9": (3, idx(TEST[1] % 9), "class 9 of 10 has no test example"),
    "small": (
        0,
        idx(IMAGES[:, 1:]),
        r"test images are \(28, 28, 1\) and train images \(27, 28, 1\)",
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_ends_in_one_line(tmp_path, case, packed):
    place, content, message = BAD[case]
    write(tmp_path, packed=packed)
    if packed:
        (tmp_path / f"{NAMES[place]}.gz").write_bytes(gzip.compress(content))
    else:
        (tmp_path / NAMES[place]).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_tasks("mnist", data_dir=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_size_of_images(tmp_path):
    images, labels, test_images, test_labels = arrays()
    write(tmp_path, (images[:, 4:, 4:], labels, test_images[:, 4:, 4:], test_labels))
    message = r"found images \(24, 24, 1\) of 10 classes; allowed: \(28, 28, 1\)"
    with pytest.raises(UserError, match=message):
        load_tasks("mnist", data_dir=tmp_path)


def test_truncated_and_damaged_gzip_files(tmp_path):
    path = tmp_path / "a.gz"
    whole = gzip.compress(idx(IMAGES))
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 255
    for content in (whole[: len(whole) // 2], bytes(damaged), idx(IMAGES)):
        path.write_bytes(content)
        with pytest.raises(
            UserError, match=r"a.gz: not a complete gzip file"
        ) as caught:
            read_idx(path, 3)
        assert "\n" not in str(caught.value)


def test_sizes_that_overflow_a_machine_word(tmp_path):
    header = bytes([0, 0, 8, 3]) + b"\xff\xff\xff\xff" * 3
    (tmp_path / "a").write_bytes(header)
    with pytest.raises(
        UserError, match="found 0 values; allowed: 79228162458924105385"
    ):
        read_idx(tmp_path / "a", 3)
