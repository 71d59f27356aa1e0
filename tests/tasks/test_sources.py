import subprocess
import sys

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.dataset import stack_tasks
from evojax_mtl.tasks.request import data_folder, search_folders
from evojax_mtl.tasks.sources import SOURCES, load_tasks, parse_spec

from .conftest import medmnist_arrays


def test_importing_the_sources_imports_no_jax_and_no_extra():
    heavy = ("jax", "flax", "sklearn", "tensorflow_datasets", "tensorflow", "grain")
    code = (
        "import sys, evojax_mtl.tasks.sources, evojax_mtl.tasks.prepare;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_source_is_described():
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.description
        assert "\n" not in source.description
        assert bool(source.where) == (source.kind != "embedded")


def test_sources_join_by_comma_into_one_set_of_one_shape():
    tasks = load_tasks("glyphs:2, digits:odd", max_classes=3)
    assert [task.name for task in tasks] == ["glyphs-00", "glyphs-01", "digits-odd"]
    assert {task.input_shape for task in tasks} == {(28, 28, 1)}
    assert stack_tasks(tasks).images.shape[2:] == (28, 28, 1)


def test_colour_and_size_follow_the_largest_task(tmp_path):
    np.savez(tmp_path / "rgb.npz", **medmnist_arrays(shape=(10, 6, 3)))
    rgb, digit = load_tasks(f"npz:{tmp_path}/rgb.npz,digits:odd")
    assert rgb.input_shape == digit.input_shape == (10, 8, 3)
    assert np.ptp(digit.train.images, axis=-1).max() == 0


def test_channels_that_cannot_be_joined(tmp_path):
    np.savez(tmp_path / "a.npz", **medmnist_arrays(shape=(8, 8, 3)))
    np.savez(tmp_path / "b.npz", **medmnist_arrays(shape=(8, 8, 4)))
    with pytest.raises(UserError, match="task a: 3 channels beside 4"):
        load_tasks(f"npz:{tmp_path}")


def test_first_tasks_go_across_sources():
    names = [task.name for task in load_tasks("glyphs:1,digits", max_tasks=3)]
    assert names == ["glyphs-00", "digits-digit", "digits-odd"]
    assert len(load_tasks("glyphs:1,npz:/not/there", max_tasks=1)) == 1


def test_first_classes():
    digit, odd, *_ = load_tasks("digits", max_classes=4)
    assert (digit.classes, odd.classes) == (4, 2)
    for part in (digit.train, digit.validation, digit.test):
        assert sorted(set(part.labels.tolist())) == [0, 1, 2, 3]


def test_image_size():
    (task,) = load_tasks("digits:odd", image_size=16)
    assert task.input_shape == (16, 16, 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("glyph", "unknown source 'glyph'; allowed: glyphs"),
        ("", "unknown source ''"),
        ("glyphs,", "unknown source ''"),
        ("glyphs:", "nothing after 'glyphs:'; allowed: glyphs"),
        ("digits,digits:odd", "two tasks 'digits-odd'; allowed: unique names"),
        ("cifar10+cifar", "unknown source 'cifar'; allowed: glyphs"),
        ("cifar10+", "unknown source ''"),
        ("cifar10+cifar10:", "an argument after 'cifar10\\+cifar10'; allowed: sourc"),
        ("mnist+digits:odd", "'mnist\\+digits'; allowed: .* joined by comma"),
    ],
)
def test_bad_specifications(spec, message):
    with pytest.raises(UserError, match=message):
        load_tasks(spec)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"image_size": 0}, "image_size: found 0; allowed: 1 to 4096"),
        ({"image_size": 5000}, "image_size: found 5000"),
        ({"max_tasks": 0}, "max_tasks: found 0; allowed: 1 or more"),
        ({"max_classes": 1}, "max_classes: found 1; allowed: 2 or more"),
    ],
)
def test_bad_wishes(wish, message):
    with pytest.raises(UserError, match=message):
        load_tasks("digits", **wish)


def test_data_dir_is_not_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"data_dir: .* is not a folder"):
        load_tasks("digits", data_dir=tmp_path / "none")


def test_arguments():
    (glyphs, none), (npz, path) = parse_spec("glyphs, npz:a:b.npz")
    assert (glyphs.name, none, npz.name, path) == ("glyphs", None, "npz", "a:b.npz")


def test_sources_join_by_plus_and_arguments_keep_theirs():
    parsed = parse_spec("cifar10+cifar100, mnist,digits:odd+loops,npz:a+b:c.npz")
    assert [(source.name, argument) for source, argument in parsed] == [
        ("cifar10", None),
        ("cifar100", None),
        ("mnist", None),
        ("digits", "odd+loops"),
        ("npz", "a+b:c.npz"),
    ]


def test_where_files_are_looked_for(home, monkeypatch):
    usual = (home / "cache/evojax_mtl", home / "tfds")
    assert search_folders(None) == usual
    assert data_folder(None) == usual[0]
    monkeypatch.setenv("EVOJAX_MTL_DATA", str(home / "named"))
    assert search_folders(None) == (home / "named", *usual)
    assert search_folders(home) == (home,)


def test_a_file_is_found_in_the_cache_folder(home):
    folder = home / "cache/evojax_mtl"
    folder.mkdir(parents=True)
    np.savez(folder / "mine.npz", **medmnist_arrays())
    assert load_tasks("npz:mine.npz")[0].name == "mine"
