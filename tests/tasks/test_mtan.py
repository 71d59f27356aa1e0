"""NYUv2 and Cityscapes in MTAN's layout, on small files that the tests write."""

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.dense_dataset import stack_scenes
from evojax_mtl.tasks.sources import load_tasks

KINDS = {"nyuv2": ("image", "label", "depth", "normal"), "cityscapes": None}
KINDS["cityscapes"] = KINDS["nyuv2"][:3]


def write(root, name="nyuv2", sizes=(12, 3), shape=(8, 12), classes=13):
    """Files as MTAN's: float64, -1 and 0 where there is no label."""
    rng = np.random.default_rng(0)
    written = []
    for part, size in zip(("train", "val"), sizes, strict=True):
        for number in range(size):
            normal = rng.normal(size=(*shape, 3))
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            arrays = {
                "image": rng.random((*shape, 3)),
                "label": rng.integers(-1, classes, shape).astype(float),
                "depth": rng.uniform(0.5, 9, (*shape, 1)),
                "normal": normal,
            }
            missing = rng.random(shape) < 0.2
            arrays["depth"][missing], arrays["normal"][missing] = 0, 0
            for kind in KINDS[name]:
                folder = root / name / part / kind
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"{number}.npy", arrays[kind])
            written.append(arrays)
    return written


def test_files_are_read_as_they_are(tmp_path):
    written = write(tmp_path)
    tasks = load_tasks("nyuv2", data_dir=tmp_path)
    assert [task.name for task in tasks] == ["segmentation", "depth", "normals"]
    scenes = tasks[0].scenes
    assert len(scenes.classes) == 13
    for row, arrays in enumerate(written):
        np.testing.assert_allclose(
            scenes.images[row] / 255, arrays["image"], atol=0.51 / 255
        )
        np.testing.assert_array_equal(
            scenes.labels["segmentation"][row], arrays["label"]
        )
        for kind, name in (("depth", "depth"), ("normal", "normals")):
            np.testing.assert_array_equal(
                scenes.labels[name][row], arrays[kind].astype(np.float32)
            )


def test_invalid_pixels_are_masked(tmp_path):
    written = write(tmp_path)
    batch = stack_scenes(load_tasks("nyuv2", data_dir=tmp_path)).batch_at(2, 0, 3)
    for row, arrays in enumerate(written[12:]):
        expected = {
            "segmentation": arrays["label"] >= 0,
            "depth": arrays["depth"][..., 0] != 0,
            "normals": arrays["normal"].sum(-1) != 0,
        }
        for name, mask in expected.items():
            np.testing.assert_array_equal(batch.masks[name][row], mask)


def test_val_is_the_test_split_and_every_tenth_of_train_validates(tmp_path):
    write(tmp_path)
    splits = load_tasks("nyuv2", data_dir=tmp_path)[0].scenes.splits
    assert splits["validation"].tolist() == [9]
    assert splits["test"].tolist() == [12, 13, 14]
    assert len(splits["train"]) == 11
    write(tmp_path / "few", sizes=(3, 1))
    splits = load_tasks("nyuv2", data_dir=tmp_path / "few")[0].scenes.splits
    assert [s.tolist() for s in splits.values()] == [[0, 1], [2], [3]]


def test_cityscapes_has_no_normals(tmp_path):
    write(tmp_path, "cityscapes", classes=7)
    tasks = load_tasks("cityscapes", data_dir=tmp_path)
    assert [(task.name, task.outputs) for task in tasks] == [
        ("segmentation", 7),
        ("depth", 1),
    ]
    data = stack_scenes(tasks)
    assert data.outputs == {"segmentation": 7, "depth": 1}
    assert set(data.batch_at(0, 0, 2).labels) == {"segmentation", "depth"}


def test_a_folder_may_be_named(tmp_path):
    write(tmp_path / "deep")
    by_path = load_tasks(f"nyuv2:{tmp_path}/deep/nyuv2")
    in_data = load_tasks("nyuv2:deep/nyuv2", data_dir=tmp_path)
    for tasks in (by_path, in_data):
        assert len(tasks[0].scenes.images) == 15


def test_a_divisor_of_the_height_makes_scenes_smaller(tmp_path):
    written = write(tmp_path)
    scenes = load_tasks("nyuv2", data_dir=tmp_path, image_size=4)[0].scenes
    assert scenes.images.shape == (15, 4, 6, 3)
    mean = written[0]["image"][2:4, 4:6].mean((0, 1))
    np.testing.assert_allclose(scenes.images[0, 1, 2] / 255, mean, atol=0.51 / 255)
    np.testing.assert_array_equal(
        scenes.labels["segmentation"][0], written[0]["label"][1::2, 1::2]
    )


def spoil(path, change):
    np.save(path, change(np.load(path)))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("label/1", lambda x: x + 5, r"label/1.npy: found values 4 to 17; allowed: -1"),
        ("label/1", lambda x: x / 2, r"label/1.npy: found fractions; allowed: classes"),
        ("label/2", lambda x: x[1:], r"label/2.npy: found shape \(7, 12\); allowed"),
        ("depth/0", lambda x: -x, r"depth/0.npy: found values -.* allowed: 0 to inf"),
        ("depth/0", lambda x: x * np.nan, r"depth/0.npy: not all finite"),
        ("normal/4", lambda x: x * 127, r"normal/4.npy: found values .* -1.01 to 1.01"),
        ("image/3", lambda x: x * 255, r"image/3.npy: found values .* allowed: 0 to 1"),
        ("image/0", lambda x: x[..., 0], r"image/0.npy: found shape \(8, 12\); allow"),
        ("image/3", lambda x: x.astype("U4"), r"image/3.npy: found dtype <U4; allowed"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, file, change, message):
    write(tmp_path)
    spoil(tmp_path / f"nyuv2/train/{file}.npy", change)
    with pytest.raises(UserError, match=message) as error:
        load_tasks("nyuv2", data_dir=tmp_path)
    assert "\n" not in str(error.value)


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"nyuv2/train not found in .*lorenmt/mtan"):
        load_tasks("nyuv2", data_dir=tmp_path)
    with pytest.raises(UserError, match=r"tasks 'nyuv2:/not/there': no folder train"):
        load_tasks("nyuv2:/not/there", data_dir=tmp_path)
    write(tmp_path)
    with pytest.raises(UserError, match=r"image_size: found 3; allowed .* 8, 4, 2"):
        load_tasks("nyuv2", data_dir=tmp_path, image_size=3)
    (tmp_path / "nyuv2/val/depth/1.npy").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"depth/1.npy: not a readable .npy file"):
        load_tasks("nyuv2", data_dir=tmp_path)
    (tmp_path / "nyuv2/val/depth/1.npy").unlink()
    with pytest.raises(UserError, match=r"depth/1.npy: no such file"):
        load_tasks("nyuv2", data_dir=tmp_path)
    for file in (tmp_path / "nyuv2/val/image").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"val/image: no .npy files"):
        load_tasks("nyuv2", data_dir=tmp_path)
