"""Rendered rooms: exact against closed forms, and the same from the same numbers."""

import dataclasses

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.furniture import AGAINST_WALLS, CLASSES, FREE, LABELS
from evojax_mtl.tasks.rendering import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    Camera,
    Light,
    Scene,
    render,
)
from evojax_mtl.tasks.room_scenes import draw_scene
from evojax_mtl.tasks.rooms import room, room_scenes
from evojax_mtl.tasks.sources import load_tasks
from evojax_mtl.tasks.surfaces import stack, surface

FORWARD = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


def rays(camera, height, width):
    """Directions of unit depth in the camera's frame, z towards the viewer."""
    x = ((np.arange(width) + 0.5) / width * 2 - 1) * camera.spread
    y = (1 - (np.arange(height) + 0.5) / height * 2) * camera.spread * height / width
    x, y = np.meshgrid(x, y)
    return np.stack([x, y, -np.ones_like(x)], -1)


def scene_of(parts, size=(4, 3, 5), position=(2, 1.5, 1)):
    """A camera that looks along z; parts are shape, centre, half and turn."""
    rng = np.random.default_rng(0)
    looks = [surface(rng, np.full(3, 0.5), pattern=None)] * (3 + len(parts))
    turns = np.array([part[3] for part in parts]).reshape(-1)
    return Scene(
        size=np.array(size, np.float32),
        labels=np.array([4, 2, 11, *range(len(parts))], np.int8),
        surfaces=stack(looks),
        shapes=np.array([part[0] for part in parts], int),
        centres=np.array([part[1] for part in parts], np.float32).reshape(-1, 3),
        halves=np.array([part[2] for part in parts], np.float32).reshape(-1, 3),
        turns=np.stack([np.cos(turns), np.sin(turns)], 1).astype(np.float32),
        camera=Camera(np.array(position, np.float32), FORWARD, 0.8),
        light=Light(
            np.full(3, 0.3, np.float32),
            np.array([[1, 2.5, 1], [3, 2.5, 4]], np.float32),
            np.ones((2, 3), np.float32),
            1.0,
            0.0,
        ),
    )


def drawn(parts, height=44, width=60):
    scene = scene_of(parts)
    picture = render(scene, height, width, np.random.default_rng(0))
    return picture, rays(scene.camera, height, width)


def test_an_empty_room_is_its_planes():
    picture, ray = drawn([])
    x, y = ray[..., 0], ray[..., 1]
    depth = np.minimum(np.minimum(2 / np.abs(x), 1.5 / np.abs(y)), 4)
    np.testing.assert_allclose(picture.depth[..., 0], depth, rtol=1e-5)
    back = depth == 4
    level = ~back & (1.5 / np.abs(y) < 2 / np.abs(x))
    labels = np.where(level, np.where(y < 0, LABELS["floor"], LABELS["ceiling"]), 11)
    # a corner belongs to either of its planes
    sure = np.abs(2 / np.abs(x) - 1.5 / np.abs(y)) > 1e-4
    np.testing.assert_array_equal(picture.segmentation[sure], labels[sure])
    normal = np.where(level[..., None], [0, 1, 0], [1, 0, 0]) * -np.sign(
        np.where(level, y, x)
    ).reshape(*x.shape, 1)
    normal = np.where(back[..., None], [0, 0, 1], normal)
    np.testing.assert_allclose(picture.normals[sure], normal[sure], atol=1e-6)


def test_a_sphere_is_where_its_equation_says():
    """|t r - c| = R, from which the depth t and the normal (t r - c) / R follow."""
    centre, radius = np.array([0.3, -0.2, -2.0]), 0.5
    picture, ray = drawn([(ELLIPSOID, (2.3, 1.3, 3), (radius,) * 3, 0.7)])
    a, b = (ray**2).sum(-1), ray @ centre
    root = b**2 - a * (centre @ centre - radius**2)
    hit = root > 1e-4
    depth = (b - np.sqrt(np.maximum(root, 0))) / a
    np.testing.assert_array_equal(picture.segmentation[hit], 0)
    np.testing.assert_array_equal(picture.segmentation[root < -1e-4] == 0, False)
    np.testing.assert_allclose(picture.depth[hit, 0], depth[hit], rtol=2e-5)
    normal = (depth[..., None] * ray - centre) / radius
    np.testing.assert_allclose(picture.normals[hit], normal[hit], atol=2e-3)


def test_a_turned_box_shows_its_two_planes():
    """A square column turned by 45 degrees: its edge is nearest, sides fall away."""
    side = 0.4
    picture, ray = drawn([(BOX, (2, 1.5, 3), (side, 1, side), np.pi / 4)])
    hit = picture.segmentation == 0
    assert 0.1 < hit.mean() < 0.6
    x = np.abs(ray[..., 0])
    # the plane |x| + (2 - z) = side * sqrt(2) in front of the camera
    expected = (2 - side * np.sqrt(2)) / (1 - x)
    np.testing.assert_allclose(picture.depth[hit, 0], expected[hit], rtol=1e-5)
    normal = np.stack([np.sign(ray[..., 0]), 0 * x, np.ones_like(x)], -1) / np.sqrt(2)
    clear = hit & (x > 1e-6)
    np.testing.assert_allclose(picture.normals[clear], normal[clear], atol=1e-5)


def test_a_cylinder_has_a_round_side_and_a_flat_top():
    picture, ray = drawn([(CYLINDER, (2, 0.9, 2.5), (0.4, 0.3, 0.4), 0.0)])
    hit = picture.segmentation == 0
    points = picture.depth * ray - np.array([0, -0.6, -1.5])
    top = hit & (np.abs(points[..., 1] - 0.3) < 1e-4)
    side = hit & ~top
    assert top.sum() > 20
    assert side.sum() > 100
    np.testing.assert_allclose(picture.normals[top], [[0, 1, 0]] * top.sum(), atol=1e-5)
    flat = points[side] * [1, 0, 1]
    np.testing.assert_allclose(np.linalg.norm(flat, axis=-1), 0.4, rtol=1e-4)
    np.testing.assert_allclose(picture.normals[side], flat / 0.4, atol=1e-3)


def test_the_nearer_part_hides_the_other_whatever_their_order():
    near = (BOX, (2, 1.5, 2), (0.2, 0.2, 0.1), 0.0)
    far = (BOX, (2, 1.5, 3), (0.6, 0.6, 0.1), 0.0)
    one, _ = drawn([near, far])
    two, _ = drawn([far, near])
    np.testing.assert_array_equal(one.depth, two.depth)
    assert one.segmentation[21, 29] == 0
    assert two.segmentation[21, 29] == 1


@pytest.mark.parametrize("number", range(6))
def test_labels_of_a_scene_agree_with_each_other(number):
    picture = room(0, number, 48, 64)
    camera = draw_scene(0, number).camera
    ray = rays(camera, 48, 64)
    np.testing.assert_allclose(np.linalg.norm(picture.normals, axis=-1), 1, atol=1e-5)
    assert (picture.depth > 0.05).all()
    assert ((picture.normals * ray).sum(-1) < 1e-5).all()
    # where two neighbours have one normal and one class, the step between their points
    # lies in the plane, but where the step is from one part to another
    points = picture.depth * ray
    step = np.diff(points, axis=1)
    same = (picture.normals[:, 1:] == picture.normals[:, :-1]).all(-1)
    same &= picture.segmentation[:, 1:] == picture.segmentation[:, :-1]
    off = np.abs((step * picture.normals[:, 1:]).sum(-1))[same]
    assert same.mean() > 0.6
    assert np.mean(off < 1e-4) > 0.95


def test_a_scene_is_the_same_on_more_pixels():
    """At three times the size every third pixel's centre is the same."""
    small, large = room(3, 5, 24, 32), room(3, 5, 72, 96)
    every = slice(1, None, 3)
    same = small.segmentation == large.segmentation[every, every]
    assert same.mean() > 0.999
    np.testing.assert_allclose(
        small.depth[same], large.depth[every, every][same], rtol=1e-4
    )


def test_scenes_depend_on_seed_and_number_alone():
    one, two = room_scenes(20, 12), room_scenes(26, 12)
    for name, array in one.labels.items():
        np.testing.assert_array_equal(array, two.labels[name][:20])
    np.testing.assert_array_equal(one.images, two.images[:20])
    other = room_scenes(20, 12, seed=1)
    assert (other.images != one.images).mean() > 0.9


def test_splits_are_seventy_ten_and_twenty_percent():
    splits = room_scenes(40, 12).splits
    assert [len(splits[name]) for name in splits] == [28, 4, 8]
    assert sorted(np.concatenate(list(splits.values()))) == list(range(40))


def test_every_class_is_in_every_split():
    scenes = room_scenes(120, 18)
    for rows in scenes.splits.values():
        found = np.bincount(scenes.labels["segmentation"][rows].ravel(), minlength=13)
        assert (found > 0).all(), [CLASSES[i] for i in np.flatnonzero(found == 0)]


def test_pieces_stand_on_the_floor():
    rng = np.random.default_rng(0)
    for make in {*AGAINST_WALLS, *FREE}:
        for part in make(rng).parts:
            assert part.centre[1] - part.half[1] > -0.03, (make.__name__, part.label)
            assert part.label in LABELS


def test_colour_alone_tells_little_about_the_class():
    """The nearest mean colour of a class is right for few pixels."""
    scenes = room_scenes(40, 18)
    colour = scenes.images.reshape(-1, 3).astype(float)
    truth = scenes.labels["segmentation"].ravel()
    means = np.stack([colour[truth == c].mean(0) for c in range(13)])
    nearest = ((colour[:, None] - means) ** 2).sum(-1).argmin(1)
    right = [(nearest[truth == c] == c).mean() for c in range(13)]
    assert np.mean(right) < 0.3


def test_the_source():
    tasks = load_tasks("rooms:20", image_size=24)
    assert [task.name for task in tasks] == ["segmentation", "depth", "normals"]
    assert [task.outputs for task in tasks] == [13, 1, 3]
    assert tasks[0].scenes is tasks[2].scenes
    assert tasks[0].scenes.images.shape == (20, 24, 32, 3)
    assert len(load_tasks("rooms:20", image_size=24, max_tasks=2)) == 2
    default = dataclasses.asdict(tasks[0])["name"]
    assert default == "segmentation"


@pytest.mark.parametrize(
    ("spec", "wishes", "message"),
    [
        ("rooms:19", {}, "found '19'; allowed: a number of scenes, 20 to 100000"),
        ("rooms:many", {}, "found 'many'; allowed: a number of scenes"),
        ("rooms", {"image_size": 8}, "image_size: found 8; allowed for rooms: a heig"),
        ("rooms", {"seed": -1}, "data seed: found -1; allowed: 0 and up"),
        ("rooms", {"max_classes": 3}, "max_classes: found 3; allowed for scenes"),
        ("rooms,nyuv2", {}, "found rooms, nyuv2; allowed: one source of scenes"),
        ("rooms,digits", {}, "rooms gives scenes with labels at every pixel and digi"),
    ],
)
def test_bad_wishes(spec, wishes, message):
    with pytest.raises(UserError, match=message):
        load_tasks(spec, **wishes)
