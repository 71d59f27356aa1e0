"""``glyphs``: alphabets drawn by procedure, in the manner of Omniglot.

One alphabet is one task; its classes are its characters, 14 to 55, each drawn once by
each of 20 drawers: 10 drawings to train, 4 to validate and 6 to test. A drawer has a
personal slant, rotation, scale, pen and unsteadiness; each drawing has its own.

A drawing depends on ``(seed, alphabet, character, drawer)`` alone: not on how many
alphabets or characters are asked for, nor on the image size, which only says on how
many pixels it is drawn.

Shape legend: ``D`` drawers, ``S`` pixels a side.
"""

from dataclasses import dataclass

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.alphabets import Character, Random, draw_alphabet, stream
from evojax_mtl.tasks.build import split_task
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.strokes import draw
from evojax_mtl.tasks.task import Task

ALPHABETS = 100
DRAWERS = 20
SIZE, MAX_SIZE = 28, 105


@dataclass(frozen=True)
class Hands:
    """How each drawer writes.

    Attributes:
      linear: slant, rotation and scale about the image's centre ``(D, 2, 2)``.
      shift: ``(D, 2)``, a share of the image's side.
      pen: radius ``(D,)``, a share of the image's side.
      shake: unsteadiness ``(D,)``, 1 on average.
    """

    linear: np.ndarray
    shift: np.ndarray
    pen: np.ndarray
    shake: np.ndarray


def draw_hands(rng: Random) -> Hands:
    """The drawers of an alphabet."""
    slant, turn = rng.normal(0, 0.13, DRAWERS), rng.normal(0, 0.07, DRAWERS)
    scale = rng.normal(1, 0.1, (DRAWERS, 2)).clip(0.75, 1.25)
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2)
    shear = np.zeros((DRAWERS, 2, 2)) + np.eye(2)
    shear[:, 0, 1] = slant
    return Hands(
        linear=rotation @ shear * scale[:, None],
        shift=rng.normal(0, 0.03, (DRAWERS, 2)),
        pen=rng.uniform(0.016, 0.024, DRAWERS),
        shake=rng.gamma(4, 0.25, DRAWERS),
    )


def draw_character(
    rng: Random, character: Character, hands: Hands, size: int
) -> np.ndarray:
    """Every drawer's drawing of a character: uint8 ``(D, S, S)``, 255 is ink."""
    points, stroke = character.points, character.stroke
    shake = hands.shake[:, None, None]
    wobble = rng.normal(0, 0.02, (DRAWERS, len(points), 2))
    slip = rng.normal(0, 0.032, (DRAWERS, len(character.strokes), 2))
    drawn = points + shake * (wobble + slip[:, stroke])
    linear = hands.linear + rng.normal(0, 0.13, (DRAWERS, 2, 2))
    shift = hands.shift + rng.normal(0, 0.045, (DRAWERS, 2))
    drawn = (drawn - 0.5) @ linear.transpose(0, 2, 1) + 0.5 + shift[:, None]
    pen = hands.pen * rng.uniform(0.9, 1.1, DRAWERS)
    return draw(drawn[:, character.curves], pen, size)


def alphabet_images(
    seed: int, alphabet: int, size: int = SIZE, characters: int | None = None
) -> np.ndarray:
    """Drawings of an alphabet's first ``characters`` (all by default).

    Returns:
      uint8 ``(characters, D, S, S)``, 255 is ink.
    """
    hands = draw_hands(stream(seed, alphabet, "hands"))
    drawings = [
        draw_character(
            stream(seed, alphabet, "drawing", index),
            character,
            hands,
            size,
        )
        for index, character in enumerate(draw_alphabet(seed, alphabet, characters))
    ]
    return np.stack(drawings)


def load(argument: str | None, request: Request) -> list[Task]:
    """The first alphabets; ``argument`` says how many there are (20 by default)."""
    count = 20
    if argument is not None:
        count = int(argument) if argument.isdecimal() else 0
        if not 1 <= count <= ALPHABETS:
            raise UserError(
                f"tasks 'glyphs:{argument}': found {argument!r}; allowed: a number of "
                f"alphabets, 1 to {ALPHABETS}"
            )
    if request.seed < 0:
        raise UserError(f"data seed: found {request.seed}; allowed: 0 and up")
    # Beyond the size of Omniglot's originals, enlarging shows as much as drawing.
    size = min(request.image_size or SIZE, MAX_SIZE)
    return [_task(alphabet, size, request) for alphabet in range(request.first(count))]


def _task(alphabet: int, size: int, request: Request) -> Task:
    images = alphabet_images(request.seed, alphabet, size, request.max_classes)
    labels = np.repeat(np.arange(len(images), dtype=np.int32), DRAWERS)
    name = f"glyphs-{alphabet:02d}"
    flat = images.reshape(-1, size, size, 1)
    return split_task(name, flat, labels, alphabet, name)
