import shutil

import numpy as np
import pytest
from PIL import Image

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import pictures
from evojax_mtl.tasks.pictures import read_square
from evojax_mtl.tasks.request import ENVIRONMENT
from evojax_mtl.tasks.sources import load_tasks

from .jpegs import write_imagenet


@pytest.fixture
def root(tmp_path):
    return write_imagenet(tmp_path / "imagenet")


def load(root, **wishes):
    (task,) = load_tasks("imagenet", data_dir=root.parent, **wishes)
    return task


def kept(root):
    return sorted(path.name for path in root.parent.glob("imagenet-squares/*/*"))


def test_splits_classes_and_pictures(root):
    task = load(root, image_size=24)
    assert (task.name, task.classes, task.input_shape) == ("imagenet", 3, (24, 24, 3))
    # every fifth of a class's ten serves for validation
    assert [len(s) for s in (task.train, task.validation, task.test)] == [24, 6, 12]
    names = sorted(p.name for p in (root / "train/n00000000").iterdir())
    for split, part, chosen in (
        (task.train, "train", [name for i, name in enumerate(names) if i % 5 != 4]),
        (task.validation, "train", names[4::5]),
        (task.test, "val", [f"val_{i}.JPEG" for i in range(4)]),
    ):
        assert isinstance(split.images, np.memmap)
        counts = np.bincount(split.labels, minlength=3)
        assert counts.tolist() == [len(chosen)] * 3
        for label in range(3):
            folder = root / part / f"n{label:08}"
            expected = [read_square(folder / name, 24) for name in chosen]
            found = split.images[split.labels == label]
            np.testing.assert_array_equal(found, expected)


def test_pictures_are_256_pixels_a_side_unless_asked_otherwise(root):
    assert load(root, max_classes=2).input_shape == (256, 256, 3)


def test_first_classes_decode_no_others(root):
    task = load(root, image_size=8, max_classes=2)
    assert task.classes == 2
    assert len(task.train) + len(task.validation) == 20


@pytest.mark.parametrize("size", [(60, 40), (40, 61), (40, 40), (30, 300)])
def test_a_square_is_the_middle_of_the_picture_at_the_shorter_side(tmp_path, size):
    width, height = size
    x = np.broadcast_to(np.arange(width), (height, width))
    y = np.broadcast_to(np.arange(height)[:, None], (height, width))
    pixels = np.stack([x, y, 0 * x], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    side = 20
    found = read_square(tmp_path / "a.png", side).astype(float)
    assert found.shape == (side, side, 3)
    step = min(size) / side
    middle = (np.arange(side) + 0.5 - side / 2) * step
    inner = slice(2, -2)  # windows at the border are cut
    atol = 1 + step / 2
    if width <= 256:
        expected = (width - 1) / 2 + middle
        np.testing.assert_allclose(found[0, inner, 0], expected[inner], atol=atol)
    np.testing.assert_allclose(
        found[inner, 0, 1], ((height - 1) / 2 + middle)[inner], atol=atol
    )


def test_decoding_happens_once_and_a_path_names_another_folder(root, monkeypatch):
    first = load(root, image_size=8)
    monkeypatch.setattr(pictures, "read_square", None)
    again = load(root, image_size=8)
    np.testing.assert_array_equal(first.train.images, again.train.images)
    (named,) = load_tasks(f"imagenet:{root}", data_dir=root.parent, image_size=8)
    np.testing.assert_array_equal(first.train.images, named.train.images)
    assert kept(root) == ["test.npy", "train.npy", "validation.npy"]


def test_decoding_goes_on_where_it_was_cut_off(root, monkeypatch):
    monkeypatch.setattr(pictures, "_BLOCK", 4)
    whole = load(root, image_size=8)
    shutil.rmtree(root.parent / "imagenet-squares")
    broken = sorted((root / "train/n00000001").iterdir())[5]
    intact = broken.read_bytes()
    broken.write_bytes(intact[: len(intact) // 2])
    with pytest.raises(UserError, match=rf"{broken.name}: not a readable image"):
        load(root, image_size=8)
    assert kept(root) == ["train.partial", "train.progress"]
    broken.write_bytes(intact)
    read = []

    def spy(path, side, grey):
        read.append(path)
        return read_square(path, side, grey)

    monkeypatch.setattr(pictures, "read_square", spy)
    task = load(root, image_size=8)
    for split in ("train", "validation", "test"):
        found, expected = getattr(task, split), getattr(whole, split)
        np.testing.assert_array_equal(found.images, expected.images)
    # 8 + 4 of 24 training pictures were there: blocks of four before the damaged one
    assert len(read) == 42 - 12
    assert kept(root) == ["test.npy", "train.npy", "validation.npy"]


def test_a_disk_that_is_too_small_is_told_before_it_is_full(root, monkeypatch):
    usage = shutil.disk_usage(root)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"0.0 GB free, must be .* or more"):
        load(root, image_size=8)
    assert kept(root) == []


def test_a_folder_that_cannot_be_written_is_told(root):
    (root.parent / "imagenet-squares").write_text("in the way")
    with pytest.raises(UserError, match=r"train.npy: .*--data-dir or"):
        load(root, image_size=8)


def test_what_is_missing_is_told(root, monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(UserError, match=r"imagenet not found in .*ILSVRC2012"):
        load(root / "imagenet")
    with pytest.raises(UserError, match="'imagenet:nowhere': no such folder in"):
        load_tasks("imagenet:nowhere", data_dir=root)
    with pytest.raises(UserError, match="has no folder 'train'; unpack"):
        load_tasks(f"imagenet:{root.parent}", data_dir=root)


def test_what_is_amiss_in_the_folder_is_told(root):
    shutil.rmtree(root / "val/n00000002")
    with pytest.raises(UserError, match=r"val: class 'n00000002' has no folder here"):
        load(root)
    (root / "val/n00000002").mkdir()
    with pytest.raises(UserError, match=r"val/n00000002: no picture; allowed: .bmp"):
        load(root)
    (root / "val/n00000003").mkdir()
    with pytest.raises(UserError, match=r"train: class 'n00000003' has no folder"):
        load(root)
    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    Image.new("L", (8, 8)).save(root / "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match="found no class folder; allowed: CLASS"):
        load(root)
