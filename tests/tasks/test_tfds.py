"""TFDS data sets that the tests write as array_record, without TensorFlow."""

import importlib
import sys

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import omniglot, tfds
from evojax_mtl.tasks.prepare import prepare
from evojax_mtl.tasks.sources import load_tasks

from .prepared import png, write


def write_toy(library, folder, sizes, name="toy", shape=(6, 6, 1)):
    features = {
        "image": library.features.Image(shape=shape),
        "label": library.features.ClassLabel(num_classes=2),
        "coarse": library.features.ClassLabel(num_classes=3),
        "text": library.features.Text(),
    }
    rows = {
        split: [
            {
                "image": png(np.full(shape[:2], 5 * index, np.uint8)),
                "label": index % 2,
                "coarse": index % 3,
                "text": "x",
            }
            for index in range(size)
        ]
        for split, size in sizes.items()
    }
    write(library, folder, name, features, rows)


def test_train_and_test_splits(library, tmp_path):
    write_toy(library, tmp_path, {"train": 20, "test": 6})
    (task,) = load_tasks("tfds:toy", data_dir=tmp_path)
    assert (task.name, task.classes, task.input_shape) == ("toy", 2, (6, 6, 1))
    assert np.bincount(task.train.labels).tolist() == [8, 8]
    assert np.bincount(task.validation.labels).tolist() == [2, 2]
    assert len(task.test) == 6
    for part in (task.train, task.validation, task.test):
        assert np.array_equal(part.images[:, 0, 0, 0] // 5 % 2, part.labels)
    assert "tensorflow" not in sys.modules


def test_another_label_feature_is_another_task(library, tmp_path):
    write_toy(library, tmp_path, {"train": 15, "validation": 6, "test": 6})
    tasks = load_tasks("tfds:toy+toy@coarse", data_dir=tmp_path)
    assert [(task.name, task.classes) for task in tasks] == [
        ("toy", 2),
        ("toy-coarse", 3),
    ]
    assert [len(task.train) for task in tasks] == [15, 15]
    write_toy(library, tmp_path, {"train": 30, "test": 6}, "two")
    one, other = load_tasks("tfds:two+two@coarse", data_dir=tmp_path)
    assert np.array_equal(one.validation.images, other.validation.images)
    with pytest.raises(UserError, match="no feature 'none'; allowed: coarse, image"):
        load_tasks("tfds:toy@none", data_dir=tmp_path)
    with pytest.raises(UserError, match="feature 'text' is not a class label"):
        load_tasks("tfds:toy@text", data_dir=tmp_path)


def test_other_sets_of_splits(library, tmp_path):
    write_toy(library, tmp_path, {"train": 20}, "lone")
    (task,) = load_tasks("tfds:lone", data_dir=tmp_path)
    assert [len(task.train), len(task.validation), len(task.test)] == [10, 4, 6]
    write_toy(library, tmp_path, {"train": 20, "validation": 5}, "pair")
    (task,) = load_tasks("tfds:pair", data_dir=tmp_path)
    assert [len(task.train), len(task.validation), len(task.test)] == [16, 4, 5]
    write_toy(library, tmp_path, {"test": 5}, "untrained")
    with pytest.raises(UserError, match=r"splits \['test'\]; allowed: 'train'"):
        load_tasks("tfds:untrained", data_dir=tmp_path)


def test_omniglot(library, tmp_path):
    names = sorted(omniglot.ORDER)
    features = {
        "image": library.features.Image(shape=(105, 105, 3)),
        "alphabet": library.features.ClassLabel(names=names),
        "alphabet_char_id": np.int64,
        "label": library.features.ClassLabel(num_classes=1623),
    }
    rows = []
    for alphabet in omniglot.ORDER[:2]:
        for character in range(2):
            for drawer in range(20):
                paper = np.full((105, 105, 3), 255, np.uint8)
                paper[drawer, character] = 0
                rows.append(
                    {
                        "image": png(paper),
                        "alphabet": names.index(alphabet),
                        "alphabet_char_id": character,
                        "label": 0,
                    }
                )
    splits = {"train": rows[::2], "test": rows[1::2]}
    write(library, tmp_path, "omniglot", features, splits)
    tasks = load_tasks("omniglot:2", data_dir=tmp_path, image_size=105)
    assert [task.name for task in tasks] == list(omniglot.ORDER[:2])
    train = tasks[0].train
    assert np.bincount(train.labels).tolist() == [10, 10]
    ink = train.images[..., 0] == 255
    assert (ink.sum((1, 2)) == 1).all()
    assert np.array_equal(ink.any(1).argmax(1), train.labels)
    with pytest.raises(UserError, match=r"has \[\] drawings a character"):
        load_tasks("omniglot:3", data_dir=tmp_path)


def test_the_newest_version_is_taken(tmp_path):
    for version in ("1.9.0", "1.10.0", "incomplete.X_2.0.0"):
        (tmp_path / "set" / version).mkdir(parents=True)
        (tmp_path / "set" / version / "dataset_info.json").write_text("{}")
    assert tfds.find_dataset("set", (tmp_path,)) == tmp_path / "set" / "1.10.0"
    assert tfds.find_dataset("other", (tmp_path,)) is None


def test_a_damaged_data_set(library, tmp_path):
    write_toy(library, tmp_path, {"train": 4})
    (tmp_path / "toy/1.0.0/dataset_info.json").write_text("{")
    with pytest.raises(UserError, match=r"toy.1.0.0: not a readable data set"):
        load_tasks("tfds:toy", data_dir=tmp_path)


def test_truncated_records(library, tmp_path):
    write_toy(library, tmp_path, {"train": 20, "test": 4})
    (records,) = (tmp_path / "toy/1.0.0").glob("toy-train*")
    records.write_bytes(records.read_bytes()[:200])
    with pytest.raises(
        UserError, match=r"toy.1.0.0: not a readable data set"
    ) as caught:
        load_tasks("tfds:toy", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_another_file_format(library, tmp_path):
    write_toy(library, tmp_path, {"train": 4})
    info = tmp_path / "toy/1.0.0/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match="prepared as tfrecord; allowed: array_record"):
        load_tasks("tfds:toy", data_dir=tmp_path)


def test_not_prepared_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"data set mnist not found in .*data prepare"):
        load_tasks("tfds:mnist", data_dir=tmp_path)
    for spec in ("tfds", "tfds:a+"):
        with pytest.raises(UserError, match=r"no name; allowed: tfds:NAME\+NAME"):
            load_tasks(spec, data_dir=tmp_path)


def test_without_the_extra_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    def refuse(name, *rest):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    (tmp_path / "mnist/3.0.1").mkdir(parents=True)
    (tmp_path / "mnist/3.0.1/dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match=r"pip install 'evojax-mtl\[tfds\]'"):
        load_tasks("tfds:mnist", data_dir=tmp_path)
    with pytest.raises(UserError, match=r"pip install 'evojax-mtl\[tfds-prepare\]'"):
        prepare("tfds:cifar10", tmp_path)


def test_prepare_needs_a_name(tmp_path):
    with pytest.raises(UserError, match="no name; allowed"):
        prepare("tfds", tmp_path)


def test_prepare_writes_array_record(library, tmp_path, monkeypatch):
    class ToBePrepared(library.core.GeneratorBasedBuilder):
        VERSION = library.core.Version("1.0.0")
        code_path = None

        def _info(self):
            features = {
                "image": library.features.Image(shape=(4, 4, 1)),
                "label": library.features.ClassLabel(num_classes=2),
            }
            return library.core.DatasetInfo(
                builder=self, features=library.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index in range(20):
                pixels = np.full((4, 4), index, np.uint8)
                yield index, {"image": png(pixels), "label": index % 2}

    real = tfds.import_extra
    monkeypatch.setattr(
        tfds,
        "import_extra",
        lambda module, extra: None if module == "tensorflow" else real(module, extra),
    )
    assert prepare("tfds:to_be_prepared", tmp_path) == [
        tmp_path / "to_be_prepared/1.0.0"
    ]
    (task,) = load_tasks("tfds:to_be_prepared", data_dir=tmp_path)
    assert len(task.train) == 10
    with pytest.raises(UserError, match="'tfds:no_such_set': "):
        prepare("tfds:no_such_set", tmp_path)


def test_what_is_prepared_is_not_prepared_again(library, tmp_path):
    write_toy(library, tmp_path, {"train": 4})
    assert prepare("tfds:toy+toy@coarse", tmp_path) == [tmp_path / "toy/1.0.0"]
