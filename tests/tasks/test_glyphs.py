import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import glyphs
from evojax_mtl.tasks.alphabets import CHARACTERS, draw_alphabet, draw_style, stream
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.sources import load_tasks
from evojax_mtl.tasks.strokes import draw
from evojax_mtl.tasks.task import SPLITS


def test_same_seed_same_drawings_and_another_seed_others():
    first = glyphs.alphabet_images(3, 7, characters=4)
    assert np.array_equal(first, glyphs.alphabet_images(3, 7, characters=4))
    assert not np.array_equal(first, glyphs.alphabet_images(4, 7, characters=4))
    assert not np.array_equal(first, glyphs.alphabet_images(3, 8, characters=4))


def test_drawings_do_not_depend_on_how_much_is_asked_for():
    more = glyphs.alphabet_images(0, 2, characters=9)
    assert np.array_equal(more[:5], glyphs.alphabet_images(0, 2, characters=5))
    alone = load_tasks("glyphs", max_tasks=2, max_classes=3)
    both = load_tasks("glyphs:50", max_tasks=3, max_classes=3)
    assert np.array_equal(alone[1].train.images, both[1].train.images)


def test_every_alphabet_has_14_to_55_characters_unlike_each_other():
    styles = [draw_style(stream(0, a, "style")) for a in range(glyphs.ALPHABETS)]
    counts = [style.characters for style in styles]
    assert CHARACTERS[0] <= min(counts) < 18
    assert 51 < max(counts) <= CHARACTERS[1]
    characters = draw_alphabet(0, 1)
    assert len(characters) == counts[1]
    shapes = {character.points.round(3).tobytes() for character in characters}
    assert len(shapes) == len(characters)


def test_a_task_has_10_4_6_drawings_of_each_character():
    (task,) = load_tasks("glyphs", max_tasks=1, max_classes=6)
    assert task.name == "glyphs-00"
    assert task.input_shape == (28, 28, 1)
    for split, each in zip(SPLITS, (10, 4, 6), strict=True):
        counts = np.bincount(getattr(task, split).labels)
        assert counts.tolist() == [each] * 6


@pytest.mark.parametrize("size", [12, 28, 105])
def test_a_character_is_drawn_natively_at_any_size(size):
    images = glyphs.alphabet_images(0, 0, size, characters=2)
    assert images.shape == (2, glyphs.DRAWERS, size, size)
    ink = images.mean(axis=(2, 3)) / 255
    assert (ink > 0.005).all()
    assert (ink < 0.5).all()


def test_the_geometry_does_not_depend_on_the_size():
    small = glyphs.alphabet_images(0, 4, 35, characters=3).astype(float)
    large = glyphs.alphabet_images(0, 4, 105, characters=3).astype(float)
    pooled = large.reshape(3, glyphs.DRAWERS, 35, 3, 35, 3).mean((3, 5))
    correlation = np.corrcoef(small.ravel(), pooled.ravel())[0, 1]
    assert correlation > 0.95


def test_beyond_105_pixels_images_are_enlarged():
    (task,) = load_tasks("glyphs", max_tasks=1, max_classes=2, image_size=120)
    assert task.input_shape == (120, 120, 1)


def test_the_pen_covers_what_a_straight_line_covers():
    # A horizontal line from x = 4 to 12 pixels at y = 8, with a pen of 2 pixels.
    nodes = np.array([[4, 8], [4 + 8 / 3, 8], [4 + 16 / 3, 8], [12, 8]]) / 16
    image = draw(nodes[None, None], np.array([2 / 16]), 16)[0]
    assert (image[6:10, 4:12] == 255).all()
    assert image[5, 8] == image[10, 8] == 0
    area = 8 * 4 + np.pi * 2**2
    assert abs(image.sum() / 255 - area) < 1


def test_ink_outside_of_the_image_is_cut_off():
    away = np.full((1, 1, 4, 2), 3.0)
    assert draw(away, np.array([0.05]), 16).max() == 0
    corner = np.zeros((1, 1, 4, 2))
    image = draw(corner, np.array([0.1]), 16)[0]
    assert image[0, 0] > 0
    assert image[4:].max() == image[:, 4:].max() == 0


@pytest.mark.parametrize("argument", ["0", "101", "-1", "many", "2.5"])
def test_a_wrong_number_of_alphabets(argument):
    with pytest.raises(UserError, match="allowed: a number of alphabets, 1 to 100"):
        glyphs.load(argument, Request())


def test_a_negative_seed():
    with pytest.raises(UserError, match="data seed: found -1"):
        load_tasks("glyphs", seed=-1)
