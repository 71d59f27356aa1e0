"""Rooms at random: their furniture, windows and pictures, camera and light. NumPy only.

A scene follows from ``(seed, number)`` alone. Patterns, colours and light are drawn
without regard to classes but for wood, screens and windows: colour tells little about
a class, and shading little about a pattern, so that depth and normals need what
segmentation should ignore, and the other way round.
"""

from collections.abc import Callable, Sequence

import numpy as np

from evojax_mtl.tasks.furniture import (
    AGAINST_WALLS,
    FREE,
    LABELS,
    Part,
    Piece,
    television,
)
from evojax_mtl.tasks.rendering import Camera, Light, Scene
from evojax_mtl.tasks.surfaces import Random, Surface, any_colour, stack, surface

Placed = list[tuple[float, float, float]]
"""x, z and radius of what stands on the floor."""


def draw_scene(seed: int, number: int) -> Scene:
    """The scene of a number."""
    rng = np.random.default_rng([seed, number])
    size = np.array(
        [rng.uniform(2.8, 5.5), rng.uniform(2.3, 2.9), rng.uniform(2.8, 5.5)]
    )
    camera = _camera(rng, size)
    parts = _on_walls(rng, size)
    x, _, z = camera.position.tolist()
    placed: Placed = [(x, z, 0.35)]
    for _ in range(rng.integers(3, 8)):
        parts += _stand(rng, size, placed, AGAINST_WALLS, at_wall=True)
    for _ in range(rng.integers(1, 6)):
        parts += _stand(rng, size, placed, FREE, at_wall=False)
    if rng.random() < 0.4:
        parts.append(_rug(rng, size))
    own = [LABELS[name] for name in ("floor", "ceiling", "wall")]
    labels = own + [LABELS[part.label] for part in parts]
    turns = np.array([part.turn for part in parts])
    return Scene(
        size=size.astype(np.float32),
        labels=np.array(labels, np.int8),
        surfaces=stack(_room_surfaces(rng) + [part.surface for part in parts]),
        shapes=np.array([part.shape for part in parts]),
        centres=np.array([part.centre for part in parts], np.float32),
        halves=np.array([part.half for part in parts], np.float32),
        turns=np.stack([np.cos(turns), np.sin(turns)], 1).astype(np.float32),
        camera=camera,
        light=_light(rng, size),
    )


def _camera(rng: Random, size: np.ndarray) -> Camera:
    """At eye level in the outer part of the room, looking across."""
    width, _, depth = size
    angle = rng.uniform(0, 2 * np.pi)
    away = np.array([np.sin(angle) * width, np.cos(angle) * depth]) * 0.42
    place = np.clip(
        away * rng.uniform(0.8, 1.1) + size[::2] / 2, 0.25, size[::2] - 0.25
    )
    position = np.array([place[0], rng.uniform(1.0, 1.8), place[1]])
    target = size[::2] / 2 + rng.normal(0, 0.12, 2) * size[::2]
    target = np.array([target[0], rng.uniform(0.3, 1.7), target[1]])
    ahead = target - position
    ahead /= np.linalg.norm(ahead)
    right = np.array([ahead[2], 0, -ahead[0]]) / np.hypot(ahead[0], ahead[2])
    up = np.cross(ahead, right)
    roll = rng.normal(0, 0.03)
    cos, sin = np.cos(roll), np.sin(roll)
    axes = np.stack([cos * right + sin * up, cos * up - sin * right, ahead])
    spread = np.tan(np.radians(rng.uniform(55, 80)) / 2)
    return Camera(position.astype(np.float32), axes.astype(np.float32), float(spread))


def _light(rng: Random, size: np.ndarray) -> Light:
    """Two coloured lamps below the ceiling."""
    white = rng.uniform(0.75, 1.25, (3, 3))
    places = rng.uniform(0.1, 0.9, (2, 3)) * size
    places[:, 1] = size[1] - rng.uniform(0.05, 0.8, 2)
    strength = rng.uniform(0.3, 2.2, (2, 1))
    return Light(
        ambient=(rng.uniform(0.08, 0.4) * white[0]).astype(np.float32),
        positions=places.astype(np.float32),
        colours=(strength * white[1:]).astype(np.float32),
        exposure=float(0.7 * np.exp(rng.normal(0, 0.3))),
        noise=float(rng.uniform(0, 0.03)),
    )


def _room_surfaces(rng: Random) -> list[Surface]:
    """Of floor, ceiling and walls."""
    pale = 0.5 + 0.5 * any_colour(rng)
    return [
        surface(rng, any_colour(rng), scale=(0.08, 0.6), gloss=rng.uniform(0, 0.3)),
        surface(rng, pale, pattern=None if rng.random() < 0.7 else "grid"),
        surface(rng, 0.3 + 0.7 * any_colour(rng), scale=(0.05, 0.8)),
    ]


def _wall(
    wall: int, size: np.ndarray, along: float, out: float
) -> tuple[float, float, float]:
    """x, z and angle of what stands ``out`` in front of a wall.

    Args:
      wall: 0 to 3.
      size: of the room.
      along: place on the wall, -1 to 1 from its middle.
      out: distance from the wall (m).
    """
    width, depth = size[0], size[2]
    if wall % 2 == 0:
        x = width / 2 * (1 + along)
        return (x, out, 0.0) if wall == 0 else (x, depth - out, np.pi)
    z = depth / 2 * (1 + along)
    if wall == 1:
        return out, z, np.pi / 2
    return width - out, z, -np.pi / 2


def _moved(
    parts: Sequence[Part], x: float, z: float, turn: float, y: float = 0.0
) -> list[Part]:
    """Parts of a piece in the room."""
    cos, sin = np.cos(turn), np.sin(turn)
    moved = []
    for part in parts:
        a, b, c = part.centre
        centre = (x + cos * a + sin * c, y + b, z + cos * c - sin * a)
        moved.append(
            Part(
                part.label,
                centre,
                part.half,
                part.surface,
                part.shape,
                turn + part.turn,
            )
        )
    return moved


def _stand(
    rng: Random,
    size: np.ndarray,
    placed: Placed,
    kinds: dict[Callable[[Random], Piece], float],
    *,
    at_wall: bool,
) -> list[Part]:
    """One more piece where there is room; nothing where there is none."""
    weights = np.array(list(kinds.values()))
    chosen = rng.choice(len(weights), p=weights / weights.sum())
    piece = list(kinds)[chosen](rng)
    radius = 0.85 * max(piece.width, piece.depth)
    for _ in range(6):
        if at_wall:
            wall = int(rng.integers(4))
            length = size[0] if wall % 2 == 0 else size[2]
            free = max(0.0, 1 - 2 * piece.width / length)
            x, z, turn = _wall(wall, size, free * rng.uniform(-1, 1), piece.depth)
        else:
            x, z = rng.uniform(0.2, 0.8, 2) * size[::2]
            turn = rng.uniform(0, 2 * np.pi)
        if all(np.hypot(x - a, z - b) > radius + r for a, b, r in placed):
            placed.append((x, z, radius))
            return _moved(piece.parts, x, z, turn)
    return []


def _on_walls(rng: Random, size: np.ndarray) -> list[Part]:
    """Windows, pictures and televisions, about two a wall."""
    parts: list[Part] = []
    for wall in range(4):
        count = int(rng.integers(1, 4))
        for i in range(count):
            along = ((i + rng.uniform(0.25, 0.75)) / count * 2 - 1) * 0.9
            kind = rng.choice(3, p=[0.4, 0.5, 0.1])
            piece = (_window, _picture, television)[kind](rng)
            x, z, turn = _wall(wall, size, along, 0.03)
            height = min(rng.uniform(1.25, 1.75), size[1] - 0.65)
            parts += _moved(piece, x, z, turn, height)
    return parts


def _window(rng: Random) -> list[Part]:
    """Bright panes behind a frame."""
    width, height = float(rng.uniform(0.25, 0.6)), float(rng.uniform(0.35, 0.6))
    sky = np.clip(rng.uniform(0.3, 1) * np.array([0.8, 0.9, 1.0]), 0, 1)
    pane = surface(
        rng, sky, pattern="blobs", scale=(0.2, 1.0), glow=rng.uniform(0.1, 1), gloss=0.4
    )
    frame = surface(rng, any_colour(rng), pattern=None)
    parts = [Part("window", (0, 0, -0.01), (width, height, 0.02), pane)]
    for x, y, a, b in (
        (-width, 0, 0.03, height),
        (width, 0, 0.03, height),
        (0, -height, width, 0.03),
        (0, height, width, 0.03),
        (0, 0, 0.02, height),
    ):
        parts.append(Part("window", (x, y, 0.01), (a, b, 0.03), frame))
    return parts


def _picture(rng: Random) -> list[Part]:
    """A pattern in a frame."""
    width, height = float(rng.uniform(0.12, 0.45)), float(rng.uniform(0.12, 0.4))
    pattern = rng.choice(["blobs", "stripes", "checks", "grid", "grain"])
    canvas = surface(rng, any_colour(rng), pattern=str(pattern), scale=(0.04, 0.4))
    frame = surface(rng, any_colour(rng), pattern=None, gloss=0.2)
    return [
        Part("picture", (0, 0, -0.01), (width, height, 0.02), frame),
        Part("picture", (0, 0, 0), (0.88 * width, 0.88 * height, 0.02), canvas),
    ]


def _rug(rng: Random, size: np.ndarray) -> Part:
    """A carpet, which is floor."""
    x, z = rng.uniform(0.3, 0.7, 2) * size[::2]
    half = (float(rng.uniform(0.5, 1.1)), 0.005, float(rng.uniform(0.4, 0.9)))
    look = surface(rng, any_colour(rng), scale=(0.05, 0.4))
    return Part("floor", (x, 0.005, z), half, look, turn=float(rng.uniform(0, np.pi)))
