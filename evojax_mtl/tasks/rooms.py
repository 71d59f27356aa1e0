"""``rooms``: rendered indoor scenes, labelled exactly at every pixel.

Three tasks of one image: segmentation into the 13 classes of NYUv2, depth, and surface
normals. Scene ``i`` depends on ``(seed, i)`` alone, not on how many scenes are asked
for, nor, but for the sensor's noise, on the image size. Of each twenty scenes the first
fourteen train, two validate and four test.

``image_size`` is the height; images are 4:3. 288 gives NYUv2's 288 x 384. A scene takes
some 20 ms of a core at 72 x 96, and 110 ms at 288 x 384.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.dense import DenseTask, Scenes, blank, dense_tasks
from evojax_mtl.tasks.furniture import CLASSES
from evojax_mtl.tasks.rendering import Rendered, render
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.room_scenes import draw_scene
from evojax_mtl.tasks.task import SPLITS

SCENES, LEAST, MOST = 1000, 20, 100_000
HEIGHT, LEAST_HEIGHT, MOST_HEIGHT = 72, 12, 576
_NOISE = 1
_PERIOD = 20
_SHARES = (14, 2, 4)


def load(argument: str | None, request: Request) -> list[DenseTask]:
    """The tasks of the first scenes; ``argument`` says how many (1,000 by default).

    Raises:
      UserError: a wrong number of scenes, height or seed.
    """
    count = SCENES
    if argument is not None:
        count = int(argument) if argument.isdecimal() else 0
        if not LEAST <= count <= MOST:
            raise UserError(
                f"tasks 'rooms:{argument}': found {argument!r}; allowed: a number of "
                f"scenes, {LEAST} to {MOST}"
            )
    height = request.image_size or HEIGHT
    if not LEAST_HEIGHT <= height <= MOST_HEIGHT:
        raise UserError(
            f"image_size: found {height}; allowed for rooms: a height of "
            f"{LEAST_HEIGHT} to {MOST_HEIGHT}"
        )
    if request.seed < 0:
        raise UserError(f"data seed: found {request.seed}; allowed: 0 and up")
    return dense_tasks(room_scenes(count, height, request.seed))


def room_scenes(count: int, height: int, seed: int = 0) -> Scenes:
    """The first ``count`` scenes, ``height`` pixels high."""
    width = round(height * 4 / 3)
    images, labels = blank(count, height, width)

    def fill(number: int) -> None:
        picture = room(seed, number, height, width)
        images[number] = picture.image
        for name, array in labels.items():
            array[number] = getattr(picture, name)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(fill, range(count)):
            pass
    names = np.repeat(SPLITS, _SHARES)[np.arange(count) % _PERIOD]
    splits = {name: np.flatnonzero(names == name) for name in SPLITS}
    return Scenes("rooms", CLASSES, images, labels, splits)


def room(seed: int, number: int, height: int, width: int) -> Rendered:
    """One scene."""
    noise = np.random.default_rng([seed, number, _NOISE])
    return render(draw_scene(seed, number), height, width, noise)
