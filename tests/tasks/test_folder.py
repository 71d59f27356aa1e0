import numpy as np
import pytest
from PIL import Image

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.sources import load_tasks


def write(root, task, *, mode="L", size=(6, 6), validation="validation", classes="ab"):
    for split in ("train", validation, "test"):
        for label, name in enumerate(classes):
            folder = root / task / split / name
            folder.mkdir(parents=True)
            for index in range(2):
                value = 40 * label + index
                colour = value if mode == "L" else (value, 0, 255)
                Image.new(mode, size, colour).save(folder / f"{index}.png")


def test_tasks_splits_and_classes(tmp_path):
    write(tmp_path, "beta", classes="xyz", validation="val")
    write(tmp_path, "alpha")
    alpha, beta = load_tasks(f"folder:{tmp_path}")
    assert (alpha.name, beta.name) == ("alpha", "beta")
    assert (alpha.classes, beta.classes) == (2, 3)
    assert alpha.train.labels.tolist() == [0, 0, 1, 1]
    assert alpha.test.images[:, 0, 0, 0].tolist() == [0, 1, 40, 41]


def test_grey_and_colour_tasks_get_one_shape(tmp_path):
    write(tmp_path, "grey", size=(8, 4))
    write(tmp_path, "colour", mode="RGB")
    colour, grey = load_tasks(f"folder:{tmp_path}")
    assert colour.input_shape == grey.input_shape == (6, 8, 3)
    assert np.ptp(grey.train.images, axis=-1).max() == 0


def test_first_tasks_and_classes(tmp_path):
    write(tmp_path, "one", classes="abcd")
    write(tmp_path, "two")
    (task,) = load_tasks(f"folder:{tmp_path}", max_tasks=1, max_classes=3)
    assert (task.name, task.classes) == ("one", 3)


def test_pictures_of_several_sizes_need_an_image_size(tmp_path):
    write(tmp_path, "one")
    Image.new("L", (9, 9)).save(tmp_path / "one/test/a/big.png")
    with pytest.raises(UserError, match=r"big.png: 9x9 pixels beside 6x6"):
        load_tasks(f"folder:{tmp_path}")
    (task,) = load_tasks(f"folder:{tmp_path}", image_size=7)
    assert task.input_shape == (7, 7, 1)


def test_bad_folders(tmp_path):
    with pytest.raises(UserError, match="no path; allowed: folder:PATH"):
        load_tasks("folder")
    with pytest.raises(UserError, match="no such folder in"):
        load_tasks(f"folder:{tmp_path}/none")
    with pytest.raises(UserError, match="found no folder; allowed: TASK/SPLIT"):
        load_tasks(f"folder:{tmp_path}")
    (tmp_path / "one").mkdir()
    with pytest.raises(UserError, match="found nothing; allowed: one folder 'train'"):
        load_tasks(f"folder:{tmp_path}")


def test_bad_contents(tmp_path):
    write(tmp_path, "one")
    picture = tmp_path / "one/test/a/0.png"
    picture.write_bytes(picture.read_bytes()[:40])
    with pytest.raises(UserError, match=r"0.png: not a readable image"):
        load_tasks(f"folder:{tmp_path}")
    Image.new("I;16", (6, 6)).save(picture)
    with pytest.raises(UserError, match=r"0.png: pixel mode I;16; allowed: 8-bit"):
        load_tasks(f"folder:{tmp_path}")
    picture.unlink()
    (tmp_path / "one/test/c").mkdir()
    with pytest.raises(UserError, match="class 'c' has no folder here"):
        load_tasks(f"folder:{tmp_path}")


def test_one_class_and_empty_split(tmp_path):
    write(tmp_path, "one", classes="a")
    with pytest.raises(UserError, match="one class in the training labels"):
        load_tasks(f"folder:{tmp_path}")
    for picture in (tmp_path / "one/test/a").iterdir():
        picture.unlink()
    with pytest.raises(UserError, match="test: no image; allowed: CLASS/IMAGE"):
        load_tasks(f"folder:{tmp_path}")
