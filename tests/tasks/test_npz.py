import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import npz
from evojax_mtl.tasks.files import Arrays
from evojax_mtl.tasks.sources import load_tasks

from .conftest import medmnist_arrays


def load_one(path, **fields):
    np.savez(path, **fields)
    (task,) = load_tasks(f"npz:{path}")
    return task


def test_medmnist_fields(tmp_path):
    fields = medmnist_arrays()
    task = load_one(tmp_path / "organ.npz", **fields)
    assert (task.name, task.classes, task.input_shape) == ("organ", 3, (8, 8, 1))
    assert np.array_equal(task.validation.images[..., 0], fields["val_images"])
    assert np.array_equal(task.test.labels, fields["test_labels"][:, 0])
    assert task.train.mask.all()


def test_without_validation_every_fifth_of_each_class_is_held_out(tmp_path):
    fields = medmnist_arrays(sizes=(30, 6, 9))
    del fields["val_images"], fields["val_labels"]
    task = load_one(tmp_path / "a.npz", **fields)
    assert np.bincount(task.train.labels).tolist() == [8, 8, 8]
    assert np.bincount(task.validation.labels).tolist() == [2, 2, 2]
    # Class 0 is at rows 0, 3, ...: its fifth example is row 12.
    assert np.array_equal(task.validation.images[0, ..., 0], fields["train_images"][12])


def test_unsplit_images_are_split_per_class_and_always_alike(tmp_path):
    images = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    labels = np.repeat([0, 1], 20)
    task = load_one(tmp_path / "a.npz", images=images, labels=labels)
    parts = [
        part.images[:, 0, 0, 0] for part in (task.train, task.validation, task.test)
    ]
    assert [len(part) for part in parts] == [20, 8, 12]
    assert sorted(np.concatenate(parts)) == list(range(40))
    again = load_tasks(f"npz:{tmp_path}/a.npz", seed=9)[0]
    assert np.array_equal(again.train.images, task.train.images)


def test_float_images_and_colour(tmp_path):
    fields = medmnist_arrays(shape=(8, 8, 3))
    fields |= {k: v / 255.0 for k, v in fields.items() if k.endswith("images")}
    task = load_one(tmp_path / "a.npz", **fields)
    whole = medmnist_arrays(shape=(8, 8, 3))
    assert np.array_equal(task.train.images, whole["train_images"])


def test_classes_and_masks(tmp_path):
    mask = np.arange(15) > 3
    task = load_one(tmp_path / "a.npz", **medmnist_arrays(), classes=5, train_mask=mask)
    assert task.classes == 5
    assert np.array_equal(task.train.mask, mask)
    assert task.test.mask.all()


def test_a_folder_a_glob_and_the_data_folder(tmp_path):
    for name in ("b", "a", "other"):
        np.savez(tmp_path / f"{name}.npz", **medmnist_arrays())
    assert [t.name for t in load_tasks(f"npz:{tmp_path}")] == ["a", "b", "other"]
    assert [t.name for t in load_tasks(f"npz:{tmp_path}/?.npz")] == ["a", "b"]
    (task,) = load_tasks("npz:b.npz", data_dir=tmp_path)
    assert task.name == "b"
    assert len(load_tasks(f"npz:{tmp_path}", max_tasks=2)) == 2


def test_a_folder_of_npy_files_is_one_task(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, array in medmnist_arrays().items():
        np.save(folder / f"{name}.npy", array)
    (task,) = load_tasks(f"npz:{folder}")
    assert (task.name, len(task.train)) == ("mine", 15)


@pytest.mark.parametrize("as_folder", [False, True])
def test_large_stored_arrays_are_mapped(tmp_path, as_folder):
    fields = medmnist_arrays()
    path = tmp_path / "big"
    if as_folder:
        path.mkdir()
        for name, array in fields.items():
            np.save(path / f"{name}.npy", array)
    else:
        path = path.with_suffix(".npz")
        np.savez(path, **fields)
    arrays = Arrays(path, map_bytes=600)
    images = arrays.read("train_images")
    assert isinstance(images, np.memmap)
    assert np.array_equal(images, fields["train_images"])
    assert not isinstance(arrays.read("train_labels"), np.memmap)


def test_compressed_arrays_are_read(tmp_path):
    fields = medmnist_arrays()
    np.savez_compressed(tmp_path / "a.npz", **fields)
    images = Arrays(tmp_path / "a.npz", map_bytes=0).read("train_images")
    assert np.array_equal(images, fields["train_images"])


def test_a_mapped_task_stays_mapped(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", **medmnist_arrays())
    monkeypatch.setattr(npz, "Arrays", lambda path: Arrays(path, map_bytes=600))
    task = npz.load_file(tmp_path / "a.npz")
    assert isinstance(task.train.images, np.memmap)


LABELS = medmnist_arrays()["train_labels"]
IMAGES = medmnist_arrays()["train_images"]
NAN = np.full(IMAGES.shape, np.nan, np.float32)

BAD = {
    "float labels": ({"train_labels": LABELS * 1.0}, "train_labels.*float64.*integers"),
    "nan labels": ({"train_labels": LABELS * np.nan}, "train_labels.*not all finite"),
    "text labels": ({"train_labels": LABELS.astype(str)}, "train_labels.*<U.*integers"),
    "negative": (
        {"train_labels": LABELS.astype(int) - 1},
        "train_labels.*found label -1",
    ),
    "two columns": (
        {"train_labels": np.zeros((15, 2), int)},
        "train_labels.*one label",
    ),
    "too few labels": ({"train_labels": LABELS[:9]}, "train_labels.*9 labels for 15"),
    "gap": ({"train_labels": LABELS * 2}, "class 1 of 5 has no training example"),
    "out of range": (
        {"test_labels": np.full((9, 1), 3)},
        "test label 3; allowed: 0 to 2",
    ),
    "above classes": ({"classes": 2}, "train label 2; allowed: 0 to 1"),
    "one class": ({"train_labels": LABELS * 0}, "one class in the training labels"),
    "classes 1": ({"classes": 1}, "'classes': found 1; allowed: 2 or more"),
    "classes list": ({"classes": np.arange(3)}, "'classes' is not one integer"),
    "flat images": ({"train_images": IMAGES[:, 0, 0]}, "train_images.*shape \\(15,\\)"),
    "channels first": (
        {"train_images": np.zeros((15, 3, 8, 8), np.uint8)},
        "train_images.*8 channels.*channels last",
    ),
    "integer images": (
        {"train_images": IMAGES.astype(int)},
        "train_images.*dtype int64",
    ),
    "nan images": ({"train_images": NAN}, "train_images.*not finite"),
    "float range": ({"train_images": IMAGES * 1.0}, "train_images.*0 to 1 for float"),
    "objects": ({"train_images": np.array([None] * 15)}, "holds Python objects"),
    "mask": ({"train_mask": np.ones(15)}, "train_mask.*float64.*allowed: bool"),
    "empty split": (
        {"val_images": IMAGES[:0], "val_labels": LABELS[:0]},
        "the validation split is empty",
    ),
    "shapes differ": (
        {"test_images": np.zeros((9, 4, 4), np.uint8)},
        "test images are \\(4, 4, 1\\) and train images \\(8, 8, 1\\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_ends_in_one_line(tmp_path, case):
    fields, message = BAD[case]
    with pytest.raises(UserError, match=message) as caught:
        load_one(tmp_path / "bad.npz", **(medmnist_arrays() | fields))
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_field_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"'train_images' is missing; found pixels"):
        load_one(tmp_path / "a.npz", pixels=IMAGES)
    with pytest.raises(UserError, match=r"'labels' is missing; found images"):
        load_one(tmp_path / "b.npz", images=IMAGES)


def test_too_few_examples_for_a_split(tmp_path):
    with pytest.raises(UserError, match="the validation split is empty"):
        load_one(tmp_path / "a.npz", images=IMAGES[:6], labels=[0, 0, 0, 1, 1, 1])


def test_a_truncated_file(tmp_path):
    whole, part = tmp_path / "whole.npz", tmp_path / "part.npz"
    np.savez_compressed(whole, **medmnist_arrays())
    data = whole.read_bytes()
    part.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"part.npz: not a readable npz file"):
        load_tasks(f"npz:{part}")


def test_a_damaged_file(tmp_path):
    np.savez(tmp_path / "a.npz", **medmnist_arrays())
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[400] ^= 255
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"a.npz: not a readable npz file \(Bad CRC"):
        load_tasks(f"npz:{tmp_path}/a.npz")


def test_not_an_npz_file(tmp_path):
    (tmp_path / "a.npz").write_text("name,label\n")
    with pytest.raises(UserError, match=r"a.npz: not a readable npz file"):
        load_tasks(f"npz:{tmp_path}/a.npz")
    np.save(tmp_path / "b.npy", IMAGES)
    with pytest.raises(UserError, match=r"b.npy: not a readable npz file"):
        load_tasks(f"npz:{tmp_path}/b.npy")


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such file or folder in"):
        load_tasks(f"npz:{tmp_path}/none.npz")
    with pytest.raises(UserError, match=r"found no .npz file"):
        load_tasks(f"npz:{tmp_path}")
    with pytest.raises(UserError, match="no path; allowed: npz:FILE"):
        load_tasks("npz")
