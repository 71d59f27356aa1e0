import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.sources import load_tasks
from evojax_mtl.tasks.task import SPLITS


def test_all_questions_see_the_same_images_in_the_same_splits():
    tasks = load_tasks("digits")
    assert [task.name for task in tasks] == [
        "digits-digit",
        "digits-odd",
        "digits-above-four",
        "digits-loops",
    ]
    assert [task.classes for task in tasks] == [10, 2, 2, 3]
    digit = tasks[0]
    assert sum(len(getattr(digit, split)) for split in SPLITS) == 1797
    for split in SPLITS:
        labels = getattr(digit, split).labels
        for task in tasks[1:]:
            part = getattr(task, split)
            assert np.array_equal(part.images, getattr(digit, split).images)
        assert np.array_equal(getattr(tasks[1], split).labels, labels % 2)
        assert np.array_equal(getattr(tasks[2], split).labels, labels > 4)


def test_images_use_the_whole_range():
    (task,) = load_tasks("digits:digit")
    assert task.input_shape == (8, 8, 1)
    assert task.train.images.dtype == np.uint8
    assert (task.train.images.min(), task.train.images.max()) == (0, 255)


def test_the_split_takes_half_of_each_digit_and_never_changes():
    (task,) = load_tasks("digits:digit", seed=5)
    total = sum(np.bincount(getattr(task, split).labels) for split in SPLITS)
    assert np.array_equal(np.bincount(task.train.labels), total * 5 // 10)
    assert np.array_equal(np.bincount(task.validation.labels), total * 2 // 10)
    (again,) = load_tasks("digits:digit", seed=6)
    assert np.array_equal(task.test.images, again.test.images)


def test_an_unknown_question():
    with pytest.raises(UserError, match="found 'prime'; allowed: digit, odd"):
        load_tasks("digits:odd+prime")
