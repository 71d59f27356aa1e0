"""What the surfaces of rendered scenes look like: patterns in space. NumPy only.

A surface is one colour, or two that a pattern mixes: at the point ``p`` (m) of its
part, with ``s_i = sin(waves_i . p + phases_i)``, the second colour's share is
``0.5 + gain * (mix . (s_0, s_1, s_2, s_0 s_1))``, cut to ``[0, 1]``. Stripes, checks,
bricks, grain and blobs are all of this kind, so that one expression draws every pixel.

Shape legend: ``P`` surfaces.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Random = np.random.Generator
Colour = np.ndarray
"""``(3,)``, reflected red, green and blue in ``[0, 1]``, linear."""


class Surface(NamedTuple):
    """One surface; each field has a leading ``P`` where several are stacked.

    Attributes:
      first: colour.
      second: colour.
      waves: ``(3, 3)``, rad/m.
      phases: ``(3,)``, rad.
      mix: shares of the waves and of the first two's product, ``(4,)``.
      gain: contrast of the pattern; 0 for none.
      glow: share of the colour that it emits.
      gloss: strength of highlights.
    """

    first: np.ndarray
    second: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    mix: Sequence[float] | np.ndarray
    gain: float | np.ndarray
    glow: float | np.ndarray
    gloss: float | np.ndarray


def stack(surfaces: Sequence[Surface]) -> Surface:
    """Several as one, float32."""
    return Surface(*(np.array(x, np.float32) for x in zip(*surfaces, strict=True)))


def any_colour(rng: Random) -> Colour:
    """Grey or bright, dark or light."""
    grey, bright, *bands = rng.random(5)
    grey = 0.03 + 0.82 * grey
    return grey + bright * (0.02 + 0.88 * np.array(bands) - grey)


def wood_colour(rng: Random) -> Colour:
    """Between oak and walnut."""
    return np.array([0.45, 0.25, 0.12]) * rng.uniform(0.3, 1.6)


_MIX = {
    None: (0.0, 0.0, 0.0, 0.0),
    "stripes": (1.0, 0.0, 0.0, 0.0),
    "checks": (0.0, 0.0, 0.0, 1.0),
    "grid": (0.7, 0.7, 0.0, 0.0),
    "blobs": (0.5, 0.5, 0.5, 0.0),
    "grain": (0.4, 0.2, 0.2, 0.4),
}
"""Shares of the waves in each pattern."""
_KINDS = tuple(_MIX)
_AXES, _NONE = np.eye(3), np.zeros((3, 3))


def surface(
    rng: Random,
    colour: Colour,
    *,
    pattern: str | None = "any",
    scale: tuple[float, float] = (0.03, 0.4),
    gloss: float = 0.0,
    glow: float = 0.0,
) -> Surface:
    """A surface at random.

    Args:
      rng: randomness.
      colour: the first one.
      pattern: a key of ``_MIX``, None for one colour, ``any`` for any of these.
      scale: wavelengths at least and most (m).
      gloss: strength of highlights.
      glow: share of the colour that it emits.
    """
    kind = _KINDS[rng.integers(len(_KINDS))] if pattern == "any" else pattern
    if kind is None:
        return Surface(colour, colour, _NONE, _NONE[0], _MIX[kind], 0.0, glow, gloss)
    normal, (length, *phases, gain) = rng.standard_normal((4, 3)), rng.random(5)
    second = np.minimum(np.maximum(colour + 0.25 * normal[3], 0.02), 0.95)
    waves = normal[:3]
    if kind in ("stripes", "checks", "grid"):
        # along the edges of what they cover
        waves = _AXES[rng.permutation(3)] * (1 + 0.2 * waves[:, :1])
    elif kind == "grain":
        waves = _AXES[rng.integers(3)] + 0.15 * waves
    low, high = scale
    return Surface(
        first=colour,
        second=second,
        waves=2 * np.pi / (low * (high / low) ** length) * waves,
        phases=2 * np.pi * np.array(phases),
        mix=_MIX[kind],
        gain=0.4 + 2.6 * gain,
        glow=glow,
        gloss=gloss,
    )


def colours_at(
    kinds: Surface, rows: np.ndarray, points: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Red, green and blue reflected at some points.

    Args:
      kinds: stacked surfaces.
      rows: surface of each point, ``(n,)``.
      points: x, y and z in the frame of the part (m), ``(n,)`` each.
    """
    x, y, z = points
    waves, phases = kinds.waves[rows], kinds.phases[rows]
    mix = np.asarray(kinds.mix)[rows]
    a, b, c = (
        np.sin(
            waves[:, i, 0] * x + waves[:, i, 1] * y + waves[:, i, 2] * z + phases[:, i]
        )
        for i in range(3)
    )
    pattern = mix[:, 0] * a + mix[:, 1] * b + mix[:, 2] * c + mix[:, 3] * (a * b)
    share = np.clip(0.5 + np.asarray(kinds.gain)[rows] * pattern, 0, 1)
    first, second = kinds.first, kinds.second - kinds.first
    red, green, blue = (first[rows, i] + second[rows, i] * share for i in range(3))
    return red, green, blue
