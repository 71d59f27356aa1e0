"""CIFAR in its original layouts, small, as the tests write it."""

import io
import tarfile

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.sources import load_tasks

from . import python2

TRAIN = [f"data_batch_{number}" for number in range(1, 6)]


def examples(labels, seed):
    """Images ``(n, 32, 32, 3)`` of random bytes, and their labels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (len(labels), 32, 32, 3), np.uint8), list(labels)


def batch(images, labels, field=b"labels", **changed):
    """A batch file: a row is the red plane, the green and the blue."""
    fields = {
        b"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1),
        field: labels,
        b"filenames": [b"a.png"] * len(labels),
    }
    return fields | {name.encode(): value for name, value in changed.items()}


def ten():
    """Files of a small CIFAR-10 and the five training parts and test part in them."""
    parts = [examples(range(10), seed) for seed in range(6)]
    names = [*TRAIN, "test_batch"]
    pairs = zip(names, parts, strict=True)
    return {name: batch(*part) for name, part in pairs}, parts


def hundred():
    train = examples(list(range(100)) * 5, 0)
    test = examples(range(100), 1)
    coarse = {"coarse_labels": [0] * 500}
    return {
        "train": batch(*train, b"fine_labels", **coarse),
        "test": batch(*test, b"fine_labels", **coarse),
    }, (train, test)


def write_folder(path, files):
    path.mkdir(parents=True)
    for name, fields in files.items():
        (path / name).write_bytes(python2.dumps(fields))


def write_archive(path, folder, files):
    with tarfile.open(path, "w:gz") as archive:
        parent = tarfile.TarInfo(folder)
        parent.type = tarfile.DIRTYPE
        archive.addfile(parent)
        for name, fields in {"readme.html": {}, **files}.items():
            content = python2.dumps(fields)
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def check_ten(task, parts):
    """Every fifth of a class is the one of the fifth batch here."""
    train = np.concatenate([images for images, _ in parts[:4]])
    assert (task.name, task.classes, task.input_shape) == ("cifar10", 10, (32, 32, 3))
    assert np.array_equal(task.train.images, train)
    assert task.train.labels.tolist() == list(range(10)) * 4
    assert np.array_equal(task.validation.images, parts[4][0])
    assert np.array_equal(task.test.images, parts[5][0])
    assert task.test.labels.tolist() == list(range(10))


def test_the_extracted_folder(tmp_path):
    files, parts = ten()
    write_folder(tmp_path / "cifar-10-batches-py", files)
    (task,) = load_tasks("cifar10", data_dir=tmp_path)
    check_ten(task, parts)


def test_the_archive_and_both(tmp_path):
    files, parts = ten()
    write_archive(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)
    check_ten(load_tasks("cifar10", data_dir=tmp_path)[0], parts)
    # The folder that the archive unpacks to is no second data set, and the faster one.
    write_folder(tmp_path / "cifar-10-batches-py", files)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    check_ten(load_tasks("cifar10", data_dir=tmp_path)[0], parts)


@pytest.mark.parametrize("packed", [False, True])
def test_the_fine_labels_of_cifar100(tmp_path, packed):
    files, (train, test) = hundred()
    if packed:
        write_archive(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", files)
    else:
        write_folder(tmp_path / "cifar-100-python", files)
    (task,) = load_tasks("cifar100", data_dir=tmp_path)
    assert (task.name, task.classes) == ("cifar100", 100)
    assert np.array_equal(task.train.images, train[0][:400])
    assert np.array_equal(task.validation.images, train[0][400:])
    assert np.array_equal(task.validation.labels, np.arange(100))
    assert np.array_equal(task.test.images, test[0])


def test_both_data_sets_joined_by_plus(tmp_path):
    write_folder(tmp_path / "cifar-10-batches-py", ten()[0])
    write_folder(tmp_path / "cifar-100-python", hundred()[0])
    for spec in ("cifar10+cifar100", "cifar10,cifar100"):
        tasks = load_tasks(spec, data_dir=tmp_path)
        assert [task.name for task in tasks] == ["cifar10", "cifar100"]


IMAGES = np.zeros((10, 3072), np.uint8)
BAD = {
    "no data": (
        lambda files: files["data_batch_2"].pop(b"data"),
        "data_batch_2: field 'data' is missing; found .*filenames.*labels",
    ),
    "no labels": (
        lambda files: files["test_batch"].pop(b"labels"),
        "test_batch: field 'labels' is missing",
    ),
    "wide": (
        lambda files: files["test_batch"].update({b"data": IMAGES[:, 1:]}),
        r"test_batch: field 'data': \(10, 3071\); allowed: uint8 \(n, 3072\)",
    ),
    "no array": (
        lambda files: files["test_batch"].update({b"data": [1, 2]}),
        "test_batch: field 'data': list; allowed",
    ),
    "dtype": (
        lambda files: files["test_batch"].update({b"data": IMAGES.astype("f4")}),
        "test_batch: not a readable batch .*f4.*not of bytes",
    ),
    "text": (
        lambda files: files["test_batch"].update({b"labels": [b"cat"] * 10}),
        "test_batch: field 'labels' is not a list of integers",
    ),
    "fewer labels": (
        lambda files: files["data_batch_1"].update({b"labels": [0] * 9}),
        "data_batch_1: 9 labels for 10 images",
    ),
    "negative": (
        lambda files: files["test_batch"].update({b"labels": [*range(9), -1]}),
        "test labels: found label -1",
    ),
    "huge": (
        lambda files: files["test_batch"].update({b"labels": [*range(9), 1 << 80]}),
        "test labels: dtype object; allowed: integers",
    ),
    "out of range": (
        lambda files: files["test_batch"].update({b"labels": [*range(1, 11)]}),
        "found test label 10; allowed: 0 to 9",
    ),
    "absent": (
        lambda files: files["test_batch"].update({b"labels": [*range(9), 0]}),
        "class 9 of 10 has no test example; allowed: every class",
    ),
    "too few": (
        lambda files: files["data_batch_5"].update({b"labels": [1, *range(1, 10)]}),
        "class 0 of 10 has no validation example",
    ),
    "empty": (
        lambda files: files["test_batch"].update({b"labels": [], b"data": IMAGES[:0]}),
        "test_batch: 0 labels for 0 images; allowed: one an image, and an image or",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_batch_ends_in_one_line(tmp_path, case):
    change, message = BAD[case]
    files, _ = ten()
    change(files)
    write_folder(tmp_path / "cifar-10-batches-py", files)
    with pytest.raises(UserError, match=f"cifar-10-batches-py: .*{message}") as caught:
        load_tasks("cifar10", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_batch_that_is_no_dict(tmp_path):
    files, _ = ten()
    write_folder(tmp_path / "cifar-10-batches-py", files | {"test_batch": [1, 2]})
    with pytest.raises(UserError, match=r"test_batch: .*'data' is missing; found list"):
        load_tasks("cifar10", data_dir=tmp_path)


def test_a_truncated_batch_and_a_missing_one(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    write_folder(folder, ten()[0])
    content = (folder / "data_batch_3").read_bytes()
    (folder / "data_batch_3").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="data_batch_3: not a readable batch"):
        load_tasks("cifar10", data_dir=tmp_path)
    (folder / "data_batch_3").unlink()
    with pytest.raises(
        UserError, match=r"batches-py: data_batch_3 is missing; found d"
    ):
        load_tasks("cifar10", data_dir=tmp_path)


def test_truncated_and_damaged_archives(tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    files, _ = ten()
    write_archive(archive, "cifar-10-batches-py", files)
    whole = archive.read_bytes()
    damaged = bytearray(whole)
    damaged[-8] ^= 1  # the checksum: no member shows the damage
    for content in (
        whole[: len(whole) // 2],
        whole[:-4],
        whole[:9],
        bytes(damaged),
        b"x",
    ):
        archive.write_bytes(content)
        with pytest.raises(UserError, match=r"tar.gz: not a complete tar.gz") as caught:
            load_tasks("cifar10", data_dir=tmp_path)
        assert "\n" not in str(caught.value)


def test_an_archive_without_a_batch_or_in_another_folder(tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    files, _ = ten()
    del files["test_batch"]
    write_archive(archive, "cifar-10-batches-py", files)
    with pytest.raises(UserError, match=r"tar.gz: test_batch is missing; found data_b"):
        load_tasks("cifar10", data_dir=tmp_path)
    write_archive(archive, "cifar-100-python", files)
    with pytest.raises(UserError, match=r"data_batch_1 is missing; found nothing"):
        load_tasks("cifar10", data_dir=tmp_path)
