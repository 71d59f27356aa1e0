"""NIH's chest X-rays, on a small data set in their layout."""

import csv

import numpy as np
import pytest
from PIL import Image

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import pictures
from evojax_mtl.tasks.chestxray import FINDINGS, NONE, TABLE
from evojax_mtl.tasks.pictures import read_square
from evojax_mtl.tasks.sources import load_tasks

HEADER = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age")
PATIENTS, EACH = 40, 2


def entries():
    """Rows of a table: patient p has the findings p, p + 5 modulo 15, 14 is none."""
    rows = []
    for image in range(PATIENTS * EACH):
        patient = 1 + image // EACH
        names = [
            (*FINDINGS, NONE)[(image % EACH * 7 + patient + k) % 15] for k in (0, 5)
        ]
        real = [name for name in names if name != NONE]
        name = f"{patient:08}_{image % EACH:03}.png"
        rows.append([name, "|".join(real) or NONE, image % EACH, patient, 50])
    return rows


def write(root, rows, header=HEADER):
    root.mkdir(exist_ok=True)
    with (root / f"{TABLE}_v2020.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    rng = np.random.default_rng(0)
    for number, row in enumerate(rows):
        # as unpacked from the twelve archives; a few have an alpha channel
        folder = root / f"images_{1 + number % 3:03}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = Image.fromarray(rng.integers(0, 256, (20, 20), np.uint8))
        pixels.convert("RGBA" if number % 9 == 0 else "L").save(folder / row[0])


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "chestxray", entries())
    return tmp_path / "chestxray"


def load(root, spec="chestxray", **wishes):
    return load_tasks(spec, data_dir=root.parent, **{"image_size": 8} | wishes)


def splits_of(task):
    return task.train, task.validation, task.test


def picture(root, name):
    (path,) = root.glob(f"images*/images/{name}")
    return read_square(path, 8, grey=True)


def row_of(root, image):
    """The row that a picture is of."""
    found = [row for row in entries() if np.array_equal(picture(root, row[0]), image)]
    assert len(found) == 1
    return found[0]


def test_every_picture_has_its_findings_and_every_patient_one_split(root):
    (task,) = load(root)
    assert (task.name, task.classes, task.several) == ("chestxray", 14, True)
    assert task.input_shape == (8, 8, 1)
    # 28, 4 and 8 of 40 patients
    assert [len(split) for split in splits_of(task)] == [56, 8, 16]
    patients = []
    for split in splits_of(task):
        assert isinstance(split.images, np.memmap)
        assert split.mask.all()
        rows = [row_of(root, image) for image in split.images]
        for row, bits in zip(rows, split.labels, strict=True):
            names = [name for k, name in enumerate(FINDINGS) if bits >> k & 1]
            assert set(names) == set(row[1].split("|")) - {NONE}
        patients.append({row[3] for row in rows})
    assert sum(map(len, patients)) == len(set.union(*patients)) == PATIENTS


def test_pictures_are_224_pixels_a_side_and_decoded_once(root, monkeypatch):
    assert load(root, image_size=None)[0].input_shape == (224, 224, 1)
    first = load(root)[0]
    monkeypatch.setattr(pictures, "read_square", None)
    np.testing.assert_array_equal(load(root)[0].train.images, first.train.images)


def test_a_task_of_each_finding(root):
    (whole,) = load(root)
    mass, hernia = load(root, "chestxray:Mass+Hernia")
    assert (mass.name, mass.classes) == ("chestxray-mass", 2)
    assert hernia.metric == "accuracy"
    for split, own, other in zip(
        splits_of(whole), splits_of(mass), splits_of(hernia), strict=True
    ):
        np.testing.assert_array_equal(own.labels, split.labels >> 4 & 1)
        np.testing.assert_array_equal(other.labels, split.labels >> 13 & 1)
    assert [t.name for t in load(root, "chestxray:Mass+Hernia", max_tasks=1)] == [
        "chestxray-mass"
    ]


def test_published_lists(root):
    names = [row[0] for row in entries()]
    (root / "test_list.txt").write_text("\n".join(names[:16]))
    (root / "train_val_list.txt").write_text("\n".join(names[16:]) + "\n")
    (task,) = load(root, "chestxray:official")
    found = sorted(row_of(root, image)[0] for image in task.test.images)
    assert found == names[:16]
    # an eighth of 32 patients
    assert [len(split) for split in splits_of(task)] == [56, 8, 16]
    train, validation = (
        {row_of(root, image)[3] for image in split.images}
        for split in (task.train, task.validation)
    )
    assert not train & validation
    (alone,) = load(root, "chestxray:official+Edema")
    assert len(alone.test) == 16


def test_a_row_without_labels_does_not_count(tmp_path):
    rows = entries()
    for row in rows[:3]:
        row[1] = ""
    write(tmp_path / "chestxray", rows)
    (task,) = load(tmp_path / "chestxray")
    masks = np.concatenate([split.mask for split in splits_of(task)])
    assert (~masks).sum() == 3
    for split in splits_of(task):
        assert not split.labels[~split.mask].any()


def changed(row, column, value):
    rows = entries()
    rows[row][column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (changed(4, 1, "Mass|Flu"), HEADER, "row 5: found 'Flu'; allowed: No Finding"),
        (changed(4, 3, "x"), HEADER, "row 5: found Patient ID 'x'; allowed: a number"),
        (entries(), ("a", *HEADER[1:]), "column 'Image Index' is missing"),
        ([], HEADER, "the train split is empty"),
        (
            [row for row in entries() if "Edema" not in row[1]],
            HEADER,
            "label 9 of 14 has no train example",
        ),
    ],
)
def test_a_table_that_is_not_as_published(tmp_path, rows, header, message):
    write(tmp_path / "chestxray", rows, header)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "chestxray")


def test_what_is_missing(root):
    with pytest.raises(UserError, match="found 'Flu'; allowed: official, Atelectasis"):
        load(root, "chestxray:Flu")
    with pytest.raises(UserError, match=r"train_val_list.txt: no such file; get Data"):
        load(root, "chestxray:official")
    (root / "test_list.txt").write_text("a.png b.png")
    (root / "train_val_list.txt").write_text("b.png")
    with pytest.raises(UserError, match=r"b.png is in train_val_list.txt and in test"):
        load(root, "chestxray:official")
    (gone,) = root.glob(f"images*/images/{entries()[6][0]}")
    gone.unlink()
    with pytest.raises(UserError, match=rf"row 7: no picture {gone.name} in .*; get"):
        load(root)
    (root / f"{TABLE}.csv").write_text("")
    with pytest.raises(UserError, match=r"found 2 files Data_Entry_2017\*.csv"):
        load(root)
    root.rename(root.with_name("away"))
    with pytest.raises(UserError, match=r"chestxray/Data_Entry_2017\*.csv not found"):
        load(root)
