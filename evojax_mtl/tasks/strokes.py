"""Pen strokes to antialiased images, many images at once. NumPy only.

Shape legend: ``n`` images, ``K`` curves an image, ``P`` pieces (short straight lines)
an image, ``S`` pixels a side.
"""

import numpy as np

# Length of a piece in pixels: short enough for the tightest curves of a 28-pixel
# character to look round.
_PIECE = 1.25


def _weights(t: np.ndarray) -> np.ndarray:
    """Weights of the four control points at each ``t``: ``(len(t), 4)``."""
    return np.stack(
        [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3], axis=1
    )


def bezier(control: np.ndarray, samples: int) -> np.ndarray:
    """Points along cubic Bezier curves, both ends included.

    Args:
      control: control points ``(..., 4, 2)``.
      samples: points a curve.

    Returns:
      ``(..., samples, 2)``.
    """
    return _weights(np.linspace(0, 1, samples)) @ control


def draw(control: np.ndarray, radius: np.ndarray, size: int) -> np.ndarray:
    """Draws curves with a round pen, 255 where ink covers a pixel fully.

    Args:
      control: control points ``(n, K, 4, 2)``, x to the right and y down; the image is
        the unit square, and ink outside of it is cut off.
      radius: pen radius of each image ``(n,)``, a share of the image's side.
      size: pixels a side, ``S``.

    Returns:
      uint8 ``(n, S, S)``.
    """
    polygon = np.linalg.norm(np.diff(control, axis=2), axis=-1).sum(-1)
    pieces = np.ceil(polygon.max(0) * size / _PIECE).astype(int).clip(1)
    begins, ends = [], []
    for k, count in enumerate(pieces):
        points = bezier(control[:, k], int(count) + 1)
        begins.append(points[:, :-1])
        ends.append(points[:, 1:])
    scale = np.float32(size)
    begin = np.concatenate(begins, axis=1).astype(np.float32) * scale
    end = np.concatenate(ends, axis=1).astype(np.float32) * scale
    return _stamp(begin, end, radius.astype(np.float32) * scale, size)


def _stamp(
    begin: np.ndarray, end: np.ndarray, radius: np.ndarray, size: int
) -> np.ndarray:
    """Straight pieces ``(n, P, 2)`` with a pen ``(n,)``, all in pixels."""
    images = len(begin)
    image = np.repeat(np.arange(images), begin.shape[1])
    middle = ((begin + end) / 2).reshape(-1, 2) - np.float32(0.5)
    direction = (end - begin).reshape(-1, 2) / 2
    half = np.linalg.norm(direction, axis=1)
    direction /= np.maximum(half, np.float32(1e-6))[:, None]
    edge = radius[image] + np.float32(0.5)

    # Rounding the middle to a pixel moves it by at most half a diagonal.
    reach = int(np.ceil(float((edge + half).max()) + 0.5))
    margin = 2 * reach
    side = size + 2 * margin
    near = ((middle > -reach) & (middle < size - 1 + reach)).all(axis=1)
    image, middle, direction = image[near], middle[near], direction[near]
    half, edge = half[near], edge[near]
    centre = np.rint(middle).astype(np.int64)
    offset = centre - middle
    base = (image * side + centre[:, 1] + margin) * side + centre[:, 0] + margin
    along = (offset * direction).sum(1).astype(np.float32)
    across = offset[:, 0] * direction[:, 1] - offset[:, 1] * direction[:, 0]
    across = across.astype(np.float32)
    ux, uy = direction.T.astype(np.float32)

    # One pass for each place under the pen: the work follows the ink, not the area.
    canvas = np.zeros(images * side * side, np.float32)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            beyond = np.maximum(np.abs(along + (dx * ux + dy * uy)) - half, 0)
            aside = across + (dx * uy - dy * ux)
            cover = edge - np.sqrt(beyond * beyond + aside * aside)
            touched = np.flatnonzero(cover > 0)
            place = base[touched] + (dy * side + dx)
            np.maximum.at(canvas, place, cover[touched])
    canvas = np.minimum(canvas.reshape(images, side, side), 1)
    inner = canvas[:, margin : margin + size, margin : margin + size]
    return np.rint(inner * 255).astype(np.uint8)
