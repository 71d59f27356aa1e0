import zipfile

import numpy as np
import pytest
from PIL import Image

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import omniglot
from evojax_mtl.tasks.prepare import prepare
from evojax_mtl.tasks.sources import load_tasks
from evojax_mtl.tasks.task import SPLITS

FOUR = omniglot.ORDER[:4]


def drawing(alphabet, character, drawer):
    """Ink as a bar whose place names the drawing."""
    ink = np.zeros((105, 105), bool)
    ink[
        5 * alphabet : 5 * alphabet + 5, 30 * character : 30 * character + drawer + 4
    ] = True
    return ink


def write_file(folder, *, packed, alphabets=FOUR, name=None):
    """Two characters an alphabet, in the layout of the shared files."""
    ink = np.array(
        [
            [drawing(a, c, d) for d in range(20)]
            for a in range(len(alphabets))
            for c in range(2)
        ]
    )
    common = {
        "alphabet_names": np.array(alphabets),
        "alphabet": np.repeat(np.arange(len(alphabets)), 2).astype(np.uint8),
        "char_in_alphabet": np.tile(np.arange(2), len(alphabets)).astype(np.uint8),
    }
    if packed:
        fields = {"ink_packed": np.packbits(ink.reshape(-1, 20, 105 * 105), axis=-1)}
        name = name or "omniglot20_105_packed"
    else:
        fields = {"images": ink[:, :, :28, :28] * np.uint8(255)}
        name = name or "omniglot20_28"
    np.savez(folder / f"{name}.npz", **common, **fields)


def write_folders(folder, alphabets=omniglot.ORDER[:20]):
    for index, name in enumerate(alphabets):
        root = ("images_background", "images_evaluation")[index % 2]
        for character in range(2):
            path = folder / root / name / f"character{character + 1:02d}"
            path.mkdir(parents=True)
            for drawer in range(20):
                paper = Image.fromarray(~drawing(index, character, drawer))
                paper.save(path / f"0001_{drawer + 1:02d}.png")


def test_the_order_has_50_alphabets_and_the_20_of_the_literature():
    assert len(set(omniglot.ORDER)) == 50
    assert omniglot.ORDER[0] == "Gujarati"
    assert omniglot.ORDER[19] == "Atemayar_Qelisayer"


def test_split_is_10_4_6_of_each_character_and_never_changes(tmp_path):
    write_file(tmp_path, packed=False)
    first = load_tasks("omniglot:4", data_dir=tmp_path)
    again = load_tasks("omniglot:4", data_dir=tmp_path, seed=7)
    assert [task.name for task in first] == list(FOUR)
    for one, other in zip(first, again, strict=True):
        for split, each in zip(SPLITS, (10, 4, 6), strict=True):
            part = getattr(one, split)
            assert np.bincount(part.labels).tolist() == [each, each]
            assert np.array_equal(part.images, getattr(other, split).images)


def test_splits_are_disjoint_and_complete_and_differ_between_alphabets(tmp_path):
    write_file(tmp_path, packed=True)
    tasks = load_tasks("omniglot:2", data_dir=tmp_path, image_size=105)
    trained = []
    for task in tasks:
        # The length of the bar of character 0 is the drawer.
        drawers = []
        for split in SPLITS:
            part = getattr(task, split)
            ink = (part.images[part.labels == 0] == 255).any(1).sum((1, 2))
            drawers.append(set((ink - 4).tolist()))
        assert set.union(*drawers) == set(range(20))
        assert sum(map(len, drawers)) == 20
        trained.append(drawers[0])
    assert trained[0] != trained[1]


def test_size_chooses_the_file(tmp_path):
    write_file(tmp_path, packed=False)
    (small,) = load_tasks("omniglot", data_dir=tmp_path, max_tasks=1)
    assert small.input_shape == (28, 28, 1)
    (enlarged,) = load_tasks("omniglot", data_dir=tmp_path, max_tasks=1, image_size=56)
    assert enlarged.input_shape == (56, 56, 1)
    write_file(tmp_path, packed=True)
    (large,) = load_tasks("omniglot", data_dir=tmp_path, max_tasks=1, image_size=105)
    assert set(np.unique(large.train.images)) == {0, 255}
    (tmp_path / "omniglot20_28.npz").unlink()
    (reduced,) = load_tasks("omniglot", data_dir=tmp_path, max_tasks=1)
    assert reduced.input_shape == (28, 28, 1)


def test_official_folders_equal_the_packed_file(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    write_file(a, packed=True)
    write_folders(b / "omniglot", FOUR)
    for one, other in zip(
        load_tasks("omniglot:4", data_dir=a, image_size=105),
        load_tasks("omniglot:4", data_dir=b, image_size=105),
        strict=True,
    ):
        assert one.name == other.name
        assert np.array_equal(one.train.images, other.train.images)
        assert np.array_equal(one.test.labels, other.test.labels)


def test_prepare_from_zip_files_and_from_folders(tmp_path):
    originals, data = tmp_path / "originals", tmp_path / "data"
    write_folders(originals)
    data.mkdir()
    for name in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(data / f"{name}.zip", "w") as archive:
            for file in sorted((originals / name).rglob("*.png")):
                archive.write(file, file.relative_to(originals))
    written = prepare("omniglot", data)
    assert [path.name for path in written] == [
        "omniglot20_28.npz",
        "omniglot20_105_packed.npz",
    ]
    assert sorted(path.name for path in data.iterdir() if path.suffix != ".zip") == [
        "omniglot20_105_packed.npz",
        "omniglot20_28.npz",
    ]
    prepared = load_tasks("omniglot", data_dir=data, image_size=105)
    direct = load_tasks("omniglot", data_dir=originals, image_size=105)
    small = load_tasks("omniglot", data_dir=data)
    reduced = load_tasks("omniglot", data_dir=originals)
    assert len(prepared) == 20
    for pair in (
        *zip(prepared, direct, strict=True),
        *zip(small, reduced, strict=True),
    ):
        assert np.array_equal(pair[0].train.images, pair[1].train.images)


def test_bad_zip_files(tmp_path, home):
    with pytest.raises(UserError, match=r"images_background.zip or .* not found in"):
        prepare("omniglot", tmp_path)
    (tmp_path / "images_background.zip").write_bytes(b"PK\3\4 cut off")
    with pytest.raises(UserError, match=r"images_background.zip: not a complete zip"):
        prepare("omniglot", tmp_path)


def test_nothing_to_prepare(tmp_path):
    with pytest.raises(UserError, match="glyphs needs no preparation; allowed: omni"):
        prepare("glyphs", tmp_path)
    with pytest.raises(UserError, match="allowed: one source"):
        prepare("omniglot,glyphs", tmp_path)
    with pytest.raises(UserError, match="unknown source 'x'"):
        prepare("x", tmp_path)


def test_no_file_says_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"omniglot20_28\*.npz.*not found in .*http"):
        load_tasks("omniglot", data_dir=tmp_path)


def test_two_matching_files(tmp_path):
    write_file(tmp_path, packed=False)
    write_file(tmp_path, packed=False, name="omniglot20_28_new")
    with pytest.raises(UserError, match=r"found 2 files omniglot20_28\*.npz"):
        load_tasks("omniglot", data_dir=tmp_path)


def test_a_longer_name_matches(tmp_path):
    write_file(tmp_path, packed=False, name="omniglot20_28_subset")
    assert len(load_tasks("omniglot:3", data_dir=tmp_path)) == 3


def test_bad_files(tmp_path):
    with pytest.raises(UserError, match=r"found '51'; allowed: .* 1 to 50"):
        load_tasks("omniglot:51", data_dir=tmp_path)
    file = tmp_path / "omniglot20_28.npz"
    write_file(tmp_path, packed=False)
    with pytest.raises(UserError, match=r"alphabet 'Old_Church.* is missing; found 4"):
        load_tasks("omniglot:5", data_dir=tmp_path)
    with np.load(file) as whole:
        fields = dict(whole)
    np.savez(file, **(fields | {"images": fields["images"][:, :19]}))
    with pytest.raises(
        UserError, match=r"'images' is uint8 \(8, 19, 28, 28\); allowed"
    ):
        load_tasks("omniglot:4", data_dir=tmp_path)
    np.savez(file, **(fields | {"alphabet": fields["alphabet"][1:]}))
    with pytest.raises(
        UserError, match=r"'alphabet' and 'char_in_alphabet' are \(7,\)"
    ):
        load_tasks("omniglot:4", data_dir=tmp_path)
    del fields["alphabet_names"]
    np.savez(file, **fields)
    with pytest.raises(UserError, match="field 'alphabet_names' is missing"):
        load_tasks("omniglot:4", data_dir=tmp_path)


def test_bad_folders(tmp_path):
    write_folders(tmp_path, FOUR[:2])
    with pytest.raises(UserError, match="alphabet 'Arcadian' found 0 times"):
        load_tasks("omniglot:3", data_dir=tmp_path)
    character = tmp_path / "images_background" / FOUR[0] / "character01"
    Image.new("1", (50, 50)).save(character / "0001_01.png")
    with pytest.raises(UserError, match=r"0001_01.png: \(50, 50, 1\) pixels; allowed"):
        load_tasks("omniglot:1", data_dir=tmp_path)
    (character / "0001_01.png").unlink()
    with pytest.raises(UserError, match="character01: found 19 images; allowed: 20"):
        load_tasks("omniglot:1", data_dir=tmp_path)


@pytest.mark.parametrize("size", [28, 105])
def test_real_omniglot(real_data, size):
    if not list(real_data.glob("omniglot20_*.npz")):
        pytest.skip(f"{real_data} has no omniglot20_*.npz")
    tasks = load_tasks("omniglot", image_size=size, max_tasks=4 if size > 28 else None)
    assert [task.classes for task in tasks[:4]] == [48, 28, 26, 42]
    assert {task.input_shape for task in tasks} == {(size, size, 1)}
    if size == 28:
        assert sum(task.classes for task in tasks) == 668
        assert sum(len(task.train) for task in tasks) == 6680
