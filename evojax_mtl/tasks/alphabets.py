"""Invented alphabets: the style of each, and the strokes of its characters.

Geometry only, in the unit square (x to the right, y down); ``glyphs`` draws it. A
stroke is a chain of cubic Bezier curves: ``3 m + 1`` control points for ``m`` curves.

Shape legend: ``K`` curves a character, ``Q`` control points a character.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evojax_mtl.tasks.strokes import bezier

Random = np.random.Generator

CHARACTERS = (14, 55)
# Mean distance between the strokes of two characters, a share of the image's side,
# below which jitter could turn one into the other.
_DISTINCT = 0.05
_OUTLINE = 24  # points that stand for a character where two are compared
_KAPPA = 0.5523  # control arm of the Bezier quarter of a unit circle
_PURPOSES = ("style", "hands", "character", "drawing")
_TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])


@dataclass(frozen=True)
class Style:
    """What the characters of one alphabet have in common.

    Attributes:
      characters: how many there are.
      columns: x where strokes begin and end.
      rows: y where strokes begin and end.
      kinds: cumulative probability of each kind of stroke in ``_KINDS`` but the last.
      bend: how far curves leave their chord, a share of its length.
      extra: mean number of strokes after the first.
      parts: strokes that several characters share.
      borrow: probability that a stroke is one of ``parts``.
      attach: probability that a stroke begins on an earlier one.
      headline: whether a bar runs along the top.
      ring: radius of the rings at the ends of strokes, 0 for none.
      dots: mean number of dots.
    """

    characters: int
    columns: np.ndarray
    rows: np.ndarray
    kinds: np.ndarray
    bend: float
    extra: float
    parts: tuple[np.ndarray, ...]
    borrow: float
    attach: float
    headline: bool
    ring: float
    dots: float


@dataclass(frozen=True)
class Character:
    """A character: its strokes' control points ``(3 m + 1, 2)``, in pen order."""

    strokes: tuple[np.ndarray, ...]

    @cached_property
    def points(self) -> np.ndarray:
        """All control points ``(Q, 2)``."""
        return np.concatenate(self.strokes)

    @cached_property
    def stroke(self) -> np.ndarray:
        """The stroke that each control point is of ``(Q,)``."""
        return np.repeat(
            np.arange(len(self.strokes)), [len(points) for points in self.strokes]
        )

    @cached_property
    def curves(self) -> np.ndarray:
        """The four control points of each curve ``(K, 4)``."""
        starts, begin = [], 0
        for points in self.strokes:
            starts.append(np.arange(begin, begin + len(points) - 1, 3))
            begin += len(points)
        return np.concatenate(starts)[:, None] + np.arange(4)


def stream(seed: int, alphabet: int, purpose: str, index: int = 0) -> Random:
    """The generator for one purpose: ``"style"``, ``"hands"`` or so on."""
    return np.random.default_rng([seed, alphabet, index, 1 + _PURPOSES.index(purpose)])


def _straight(*nodes: np.ndarray) -> np.ndarray:
    """The polygon through ``nodes``."""
    corners = np.stack(nodes)
    along = np.arange(3)[:, None] / 3
    pieces = corners[:-1, None] * (1 - along) + corners[1:, None] * along
    return np.concatenate([pieces.reshape(-1, 2), corners[-1:]])


def _ellipse(
    centre: np.ndarray, radius: np.ndarray, start: float, quarters: int
) -> np.ndarray:
    """An arc of ``quarters`` quarter turns from the angle ``start`` (radians)."""
    angle = start + np.arange(quarters + 1) * np.pi / 2
    on = np.stack([np.cos(angle), np.sin(angle)], 1)
    arm = np.stack([-np.sin(angle), np.cos(angle)], 1) * _KAPPA
    pieces = np.stack([on[:-1], on[:-1] + arm[:-1], on[1:] - arm[1:]], 1)
    return centre + radius * np.concatenate([pieces.reshape(-1, 2), on[-1:]])


def _line(rng: Random, start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    return _straight(start, end)


def _corner(rng: Random, start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    x, y = (start, end) if rng.random() < 0.5 else (end, start)
    return _straight(start, np.array([x[0], y[1]]), end)


def _bow(rng: Random, start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    out = (end - start) @ _TURN * rng.choice([-1.3, 1.3]) * bend
    fifth = (end - start) / 5
    return np.stack([start, start + fifth + out, end - fifth + out, end])


def _wave(rng: Random, start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    out = (end - start) @ _TURN * rng.choice([-2.2, 2.2]) * bend
    third = (end - start) / 3
    return np.stack([start, start + third + out, end - third - out, end])


def _arc(rng: Random, start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    radius = np.maximum(np.abs(end - start) / 2, 0.1)
    quarters = int(rng.integers(2, 4))
    return _ellipse(
        (start + end) / 2, radius, int(rng.integers(4)) * np.pi / 2, quarters
    )


def _loop(rng: Random, start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    radius = np.clip(np.abs(end - start) / 2, 0.07, 0.2)
    return _ellipse((start + end) / 2, radius, rng.uniform(0, 2 * np.pi), 4)


_Kind = Callable[[Random, np.ndarray, np.ndarray, float], np.ndarray]
_KINDS: tuple[_Kind, ...] = (_line, _corner, _bow, _wave, _arc, _loop)


def draw_style(rng: Random) -> Style:
    """The style of an alphabet."""
    kinds = rng.dirichlet([0.9, 0.5, 0.6, 0.4, 0.6, 0.25]).cumsum()[:-1]
    width, height = rng.uniform(0.36, 0.62), rng.uniform(0.4, 0.66)
    columns = 0.5 + width * (np.linspace(-0.5, 0.5, rng.integers(2, 4)))
    rows = 0.5 + height * (np.linspace(-0.5, 0.5, rng.integers(3, 5)))
    ring = float(rng.uniform(0.035, 0.055) * (rng.random() < 0.12))
    style = Style(
        characters=int(rng.integers(CHARACTERS[0], CHARACTERS[1] + 1)),
        columns=columns + rng.uniform(-0.03, 0.03, len(columns)),
        rows=rows + rng.uniform(-0.03, 0.03, len(rows)),
        kinds=kinds,
        bend=rng.uniform(0.15, 0.45),
        extra=rng.uniform(0.2, 0.9) if ring else rng.uniform(1.2, 2.6),
        parts=(),
        borrow=0.0,
        attach=rng.uniform(0.6, 0.97),
        headline=bool(rng.random() < 0.15),
        ring=ring,
        dots=float(rng.uniform(0.3, 1.2) * (rng.random() < 0.3)),
    )
    parts = [_stroke(rng, style, []) for _ in range(rng.integers(3, 7))]
    borrow = rng.uniform(0.25, 0.6)
    return dataclasses.replace(style, parts=tuple(parts), borrow=borrow)


def _place(rng: Random, style: Style) -> np.ndarray:
    """A place where a pen starts or stops: one of the style's, nearly."""
    column, row = rng.integers(len(style.columns)), rng.integers(len(style.rows))
    place = np.array([style.columns[column], style.rows[row]])
    return place + rng.normal(0, 0.02, 2)


def _stroke(rng: Random, style: Style, earlier: list[np.ndarray]) -> np.ndarray:
    """A stroke in ``style``, perhaps from a point of an ``earlier`` one."""
    start, end = _place(rng, style), _place(rng, style)
    if earlier and rng.random() < style.attach:
        chain = earlier[rng.integers(len(earlier))]
        start = chain[3 * rng.integers((len(chain) + 2) // 3)]
    while np.abs(end - start).max() < 0.15:
        end = _place(rng, style) + rng.normal(0, 0.05, 2)
    kind = int(np.searchsorted(style.kinds, rng.random()))
    return _KINDS[kind](rng, start, end, style.bend)


def _ring(centre: np.ndarray, radius: float) -> np.ndarray:
    return _ellipse(centre, np.array([radius, radius]), 0.0, 4)


def _character(rng: Random, style: Style) -> Character:
    strokes: list[np.ndarray] = []
    for _ in range(1 + min(int(rng.poisson(style.extra)), 4)):
        if rng.random() < style.borrow:
            strokes.append(style.parts[rng.integers(len(style.parts))])
        else:
            strokes.append(_stroke(rng, style, strokes))
    ends = [stroke[index] for stroke in strokes for index in (0, -1)]
    if style.ring:
        strokes += [_ring(end, style.ring) for end in ends if rng.random() < 0.8]
    dots = min(int(rng.poisson(style.dots)), 3)
    strokes += [_ring(rng.uniform(0.2, 0.8, 2), 0.012) for _ in range(dots)]
    if style.headline:
        top = float(style.rows.min())
        left, right = style.columns.min() - 0.08, style.columns.max() + 0.08
        strokes.append(_straight(np.array([left, top]), np.array([right, top])))
    return Character(tuple(strokes))


def _outline(character: Character) -> np.ndarray:
    """Points along the strokes ``(_OUTLINE, 2)``, evenly spaced by length."""
    points = bezier(character.points[character.curves], 8).reshape(-1, 2)
    step = np.linalg.norm(np.diff(points, axis=0), axis=1)
    step[7::8] = 0  # from the end of one curve to the start of the next
    length = np.concatenate([[0.0], np.cumsum(step)])
    return points[np.searchsorted(length, np.linspace(0, length[-1], _OUTLINE))]


def _distance(outline: np.ndarray, others: np.ndarray) -> float:
    """Smallest mean distance from ``outline`` to one of ``others`` ``(n, o, 2)``."""
    apart = (
        np.square(outline).sum(-1)[:, None]
        + np.square(others).sum(-1)[:, None]
        - 2 * outline @ others.transpose(0, 2, 1)
    )
    nearest = np.stack([apart.min(1), apart.min(2)]).clip(0)
    return float(np.sqrt(nearest).mean(-1).max(0).min())


def draw_alphabet(
    seed: int, alphabet: int, count: int | None = None
) -> list[Character]:
    """The first ``count`` characters (all by default) of an alphabet."""
    style = draw_style(stream(seed, alphabet, "style"))
    count = style.characters if count is None else min(count, style.characters)
    characters: list[Character] = []
    outlines = np.zeros((count, _OUTLINE, 2))
    for index in range(count):
        rng = stream(seed, alphabet, "character", index)
        enough = _DISTINCT
        while True:
            character = _character(rng, style)
            outlines[index] = _outline(character)
            if not index or _distance(outlines[index], outlines[:index]) > enough:
                break
            enough *= 0.95
        characters.append(character)
    return characters
