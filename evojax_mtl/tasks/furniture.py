"""What stands in rendered rooms: pieces of furniture as lists of parts. NumPy only.

A piece is described in its own frame: x along its width, y up from the floor, z to its
front; lengths in metres.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from evojax_mtl.tasks.rendering import BOX, CYLINDER, ELLIPSOID
from evojax_mtl.tasks.surfaces import (
    Random,
    Surface,
    any_colour,
    surface,
    wood_colour,
)

CLASSES = (
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "tv",
    "wall",
    "window",
)
"""The 13 classes of NYUv2, in its order."""
LABELS = {name: i for i, name in enumerate(CLASSES)}


Vector = tuple[float | int, float | int, float | int]
"""x, y and z."""


@dataclass(frozen=True)
class Part:
    """A box, ellipsoid or cylinder.

    Attributes:
      label: a name of ``CLASSES``.
      centre: of the part.
      half: half of the extents.
      surface: what it looks like.
      shape: ``BOX``, ``ELLIPSOID`` or ``CYLINDER``.
      turn: about y, rad.
    """

    label: str
    centre: Vector
    half: Vector
    surface: Surface
    shape: int = BOX
    turn: float = 0.0


@dataclass(frozen=True)
class Piece:
    """Parts, and half of the width and depth that they stand on."""

    parts: list[Part]
    width: float
    depth: float


def _any(rng: Random, gloss: float = 0.1) -> Surface:
    return surface(rng, any_colour(rng), gloss=gloss)


def _wood(rng: Random) -> Surface:
    """Wood mostly, lacquer or metal else."""
    if rng.random() < 0.3:
        return surface(rng, any_colour(rng), pattern=None, gloss=0.3)
    colour = wood_colour(rng)
    return surface(rng, colour, pattern="grain", scale=(0.01, 0.1), gloss=0.15)


def _legs(
    label: str, width: float, depth: float, height: float, thick: float, look: Surface
) -> list[Part]:
    """Four legs under the corners."""
    return [
        Part(
            label,
            (x * (width - thick), height / 2, z * (depth - thick)),
            (thick, height / 2, thick),
            look,
        )
        for x in (-1, 1)
        for z in (-1, 1)
    ]


def things(rng: Random, width: float, depth: float, level: float) -> list[Part]:
    """A few objects and books on a level surface."""
    parts = []
    for _ in range(rng.integers(0, 4)):
        x, z = rng.uniform(-0.8, 0.8, 2) * (width, depth)
        if rng.random() < 0.35:
            parts += _pile(rng, float(x), float(z), level)
        else:
            parts.append(_object(rng, float(x), float(z), level))
    return parts


def _object(rng: Random, x: float, z: float, level: float, big: float = 1.0) -> Part:
    shape = int(rng.integers(3))
    a, b, c = (float(v) * big for v in rng.uniform(0.03, 0.14, 3))
    half = (a, b, c) if shape == BOX else (a, b, a)
    look = surface(rng, any_colour(rng), scale=(0.02, 0.2), gloss=rng.uniform(0, 0.6))
    turn = float(rng.uniform(0, np.pi))
    return Part("objects", (x, level + half[1], z), half, look, shape, turn)


def _pile(rng: Random, x: float, z: float, level: float) -> list[Part]:
    """Books on each other."""
    parts = []
    for _ in range(rng.integers(1, 4)):
        thick = float(rng.uniform(0.01, 0.03))
        half = (float(rng.uniform(0.07, 0.12)), thick, float(rng.uniform(0.1, 0.15)))
        turn = float(rng.uniform(-0.5, 0.5))
        centre = (x, level + thick, z)
        parts.append(Part("books", centre, half, _cover(rng), BOX, turn))
        level += 2 * thick
    return parts


def _cover(rng: Random) -> Surface:
    pattern = "stripes" if rng.random() < 0.5 else None
    return surface(rng, any_colour(rng), pattern=pattern, scale=(0.02, 0.1), gloss=0.1)


def bed(rng: Random) -> Piece:
    """Mattress, frame, headboard and pillows."""
    width, depth = float(rng.uniform(0.45, 0.95)), float(rng.uniform(0.95, 1.1))
    level, thick = float(rng.uniform(0.15, 0.3)), float(rng.uniform(0.08, 0.14))
    sheet, wood = _any(rng, 0.0), _wood(rng)
    top = level + 2 * thick
    board = float(rng.uniform(0.35, 0.65))
    parts = [
        Part("bed", (0, level / 2, 0), (width, level / 2, depth), wood),
        Part("bed", (0, level + thick, 0), (width, thick, depth), sheet),
        Part("bed", (0, board, -depth), (width, board, 0.04), wood),
    ]
    pillow = surface(rng, any_colour(rng), pattern=None)
    for x in (-0.5, 0.5) if width > 0.65 else (0.0,):
        half = (min(0.3, 0.45 * width), 0.09, 0.2)
        centre = (x * width, top + 0.04, 0.3 - depth)
        parts.append(Part("bed", centre, half, pillow, ELLIPSOID))
    if rng.random() < 0.6:
        reach = float(rng.uniform(0.3, 0.6)) * depth
        half = (width + 0.02, thick + 0.02, reach)
        parts.append(
            Part("bed", (0, level + thick, depth - reach), half, _any(rng, 0.0))
        )
    return Piece(parts, width, depth)


def chair(rng: Random) -> Piece:
    """Seat and back on legs or a stem."""
    half, seat = float(rng.uniform(0.2, 0.26)), float(rng.uniform(0.4, 0.5))
    look, wood = _any(rng), _wood(rng)
    back = float(rng.uniform(0.2, 0.35))
    parts = [
        Part("chair", (0, seat, 0), (half, 0.03, half), look),
        Part("chair", (0, seat + 0.1 + back, 0.03 - half), (half, back, 0.03), look),
    ]
    if rng.random() < 0.3:
        parts += [
            Part("chair", (0, seat / 2, 0), (0.04, seat / 2, 0.04), wood, CYLINDER),
            Part("chair", (0, 0.03, 0), (half, 0.03, half), wood, CYLINDER),
        ]
    else:
        parts += _legs("chair", half, half, seat, 0.025, wood)
    return Piece(parts, half, half)


def sofa(rng: Random) -> Piece:
    """Base, back, arms and cushions."""
    width, depth = float(rng.uniform(0.45, 1.1)), float(rng.uniform(0.4, 0.5))
    seat, back = float(rng.uniform(0.36, 0.46)), float(rng.uniform(0.38, 0.5))
    look = _any(rng, 0.05)
    arm = float(rng.uniform(0.28, 0.34))
    parts = [
        Part("sofa", (0, seat / 2, 0), (width, seat / 2, depth), look),
        Part("sofa", (0, back, 0.1 - depth), (width, back, 0.12), look),
        *(Part("sofa", (x * width, arm, 0), (0.1, arm, depth), look) for x in (-1, 1)),
    ]
    for _ in range(rng.integers(0, 4)):
        x = float(rng.uniform(-0.75, 0.75)) * width
        centre = (x, seat + 0.17, 0.3 - depth)
        parts.append(Part("sofa", centre, (0.2, 0.18, 0.1), _any(rng, 0.0), ELLIPSOID))
    return Piece(parts, width, depth)


def table(rng: Random) -> Piece:
    """A top, square or round, on legs or a stem, with things on it."""
    width, depth = float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.3, 0.5))
    height = float(rng.choice([0.42, 0.74]) + rng.uniform(-0.05, 0.05))
    wood = _wood(rng)
    if rng.random() < 0.3:
        depth = width = min(width, 0.6)
        parts = [
            Part("table", (0, height, 0), (width, 0.025, width), wood, CYLINDER),
            Part("table", (0, height / 2, 0), (0.05, height / 2, 0.05), wood, CYLINDER),
        ]
    else:
        parts = [Part("table", (0, height, 0), (width, 0.025, depth), wood)]
        parts += _legs("table", width, depth, height, 0.03, wood)
    level = height + 0.025
    return Piece(parts + things(rng, 0.7 * width, 0.7 * depth, level), width, depth)


def cabinet(rng: Random) -> Piece:
    """A closed box with two doors or drawers, and things on it if it is low."""
    width, depth = float(rng.uniform(0.25, 0.8)), float(rng.uniform(0.2, 0.3))
    height = float(rng.choice([rng.uniform(0.2, 0.5), rng.uniform(0.6, 1.05)]))
    wood, inset = _wood(rng), 0.02
    parts = [Part("furniture", (0, height, 0), (width, height, depth), wood)]
    front = replace_colour(wood, rng.uniform(0.7, 1.3))
    for x in (-0.5, 0.5):
        half = (width / 2 - inset, height - inset, 0.01)
        parts.append(Part("furniture", (x * width, height, depth), half, front))
    if height < 0.6:
        parts += things(rng, width, depth, 2 * height)
    return Piece(parts, width, depth)


def replace_colour(look: Surface, factor: float) -> Surface:
    """The same pattern, lighter or darker."""
    first, second = (np.clip(c * factor, 0, 1) for c in (look.first, look.second))
    return look._replace(first=first, second=second)


def shelf(rng: Random) -> Piece:
    """Boards between two sides, with rows of books and objects."""
    width, depth = float(rng.uniform(0.3, 0.6)), float(rng.uniform(0.13, 0.18))
    levels = int(rng.integers(2, 5))
    gap = float(rng.uniform(0.3, 0.4))
    height = levels * gap / 2
    wood = _wood(rng)
    parts = [
        Part("furniture", (0, height, -depth), (width, height, 0.01), wood),
        *(
            Part("furniture", (x * width, height, 0), (0.015, height, depth), wood)
            for x in (-1, 1)
        ),
    ]
    for i in range(levels + 1):
        parts.append(Part("furniture", (0, i * gap, 0), (width, 0.012, depth), wood))
        if i == levels:
            break
        if rng.random() < 0.7:
            parts += _row(rng, width, depth, i * gap + 0.012, gap)
        else:
            x = float(rng.uniform(-0.7, 0.7)) * width
            parts.append(_object(rng, x, 0.0, i * gap + 0.012, big=0.8))
    return Piece(parts, width, depth)


def _row(
    rng: Random, width: float, depth: float, level: float, gap: float
) -> list[Part]:
    """Groups of books that stand side by side."""
    parts, x = [], -0.95 * width
    end = x + 1.9 * width * float(rng.uniform(0.4, 1))
    while x < end:
        thick = float(rng.uniform(0.03, 0.09))
        half = (thick, gap * float(rng.uniform(0.28, 0.42)), 0.8 * depth)
        look = surface(rng, any_colour(rng), pattern="stripes", scale=(0.02, 0.06))
        parts.append(Part("books", (x + thick, level + half[1], 0), half, look))
        x += 2 * thick
    return parts


def tv_stand(rng: Random) -> Piece:
    """A television on a low cabinet."""
    low = cabinet(rng)
    box = low.parts[0]
    height = 0.25
    wood = replace(
        box, centre=(0, height, 0), half=(max(box.half[0], 0.5), height, box.half[2])
    )
    screen = television(rng)
    moved = [
        replace(part, centre=(part.centre[0], part.centre[1] + 0.9, part.centre[2]))
        for part in screen
    ]
    return Piece([wood, *moved], wood.half[0], wood.half[2])


def television(rng: Random) -> list[Part]:
    """A dark or glowing screen in a frame, about the origin."""
    width = float(rng.uniform(0.3, 0.65))
    height = 0.56 * width
    dark = surface(rng, np.full(3, rng.uniform(0.01, 0.05)), pattern=None, gloss=0.6)
    screen = dark
    if rng.random() < 0.5:
        colour = any_colour(rng)
        screen = surface(rng, colour, pattern="blobs", scale=(0.1, 0.5), glow=0.8)
    return [
        Part("tv", (0, 0, 0), (width, height, 0.03), dark),
        Part("tv", (0, 0, 0.02), (0.95 * width, 0.93 * height, 0.02), screen),
    ]


def lamp(rng: Random) -> Piece:
    """A stem with a shade that glows."""
    height, wide = float(rng.uniform(1.2, 1.7)), float(rng.uniform(0.13, 0.22))
    stem = surface(rng, any_colour(rng), pattern=None, gloss=0.4)
    shade = surface(rng, np.array([0.9, 0.8, 0.6]), pattern=None, glow=0.7)
    parts = [
        Part("objects", (0, height / 2, 0), (0.02, height / 2, 0.02), stem, CYLINDER),
        Part("objects", (0, 0.02, 0), (wide, 0.02, wide), stem, CYLINDER),
        Part("objects", (0, height, 0), (wide, 0.16, wide), shade, CYLINDER),
    ]
    return Piece(parts, wide, wide)


def clutter(rng: Random) -> Piece:
    """Something on the floor."""
    part = _object(rng, 0.0, 0.0, 0.0, big=float(rng.uniform(1, 2.2)))
    return Piece([part], part.half[0], part.half[2])


AGAINST_WALLS: dict[Callable[[Random], Piece], float] = {
    bed: 2.0,
    sofa: 2.0,
    cabinet: 2.5,
    shelf: 2.5,
    tv_stand: 1.5,
    table: 1.0,
    chair: 1.0,
    lamp: 1.0,
}
"""How often each piece stands against a wall."""
FREE: dict[Callable[[Random], Piece], float] = {
    table: 2.0,
    chair: 3.0,
    clutter: 2.0,
    sofa: 0.7,
    lamp: 0.3,
}
"""How often each stands anywhere."""
