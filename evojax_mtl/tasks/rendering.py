"""Ray casting of rooms: image, segmentation, depth and normals of one nearest hit each.

1. A ray a pixel, through its centre, of unit length along the optical axis: the ray's
   parameter at a hit is the depth.
2. The room, a box around the camera, is hit by every ray.
3. Each part (box, ellipsoid or upright cylinder) is intersected in closed form, in the
   frame where it is a unit one, with the rays of its bounding rectangle on the screen.
4. Normals and surface colours come from the point of the nearest hit; light is ambient
   light and two lamps, with highlights; then exposure, gamma and noise.

Labels have no noise and no interpolation: they are exact at the pixel's centre.

Frames: the world has y up; the camera's has x right, y up and z towards the viewer. A
normal that is seen opposes its ray.

Shape legend: ``P`` parts, ``H`` x ``W`` pixels, ``n`` = ``H W``.
"""

from dataclasses import dataclass

import numpy as np

from evojax_mtl.tasks.surfaces import Surface, colours_at

BOX, ELLIPSOID, CYLINDER = range(3)
FLOOR, CEILING, WALLS = range(3)
"""Rows of the room's own surfaces, before those of the parts."""
ROOM = 3
_NEAR = 0.05
_TINY = np.float32(1e-20)
_CORNERS = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, 8).T.astype(np.float32)
_SHARPNESS = 30
"""Exponent of highlights."""

Vectors = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Camera:
    """Where it is and what it sees.

    Attributes:
      position: ``(3,)``, m.
      axes: right, up and forward, ``(3, 3)``.
      spread: half of the image's width at depth 1.
    """

    position: np.ndarray
    axes: np.ndarray
    spread: float


@dataclass(frozen=True)
class Light:
    """Ambient light, lamps, and what the camera makes of them.

    Attributes:
      ambient: ``(3,)``.
      positions: of the lamps ``(2, 3)``, m.
      colours: of the lamps ``(2, 3)``.
      exposure: factor before gamma.
      noise: deviation of the sensor's noise, of full scale.
    """

    ambient: np.ndarray
    positions: np.ndarray
    colours: np.ndarray
    exposure: float
    noise: float


@dataclass(frozen=True)
class Scene:
    """A room and its parts; arrays are float32.

    Attributes:
      size: of the room, from the origin ``(3,)``, m.
      labels: int8 ``(3 + P,)``, classes of floor, ceiling, walls and parts.
      surfaces: likewise.
      shapes: ``(P,)``, ``BOX``, ``ELLIPSOID`` or ``CYLINDER``.
      centres: ``(P, 3)``, m.
      halves: half of the extents ``(P, 3)``, m.
      turns: cosine and sine of the angle about y ``(P, 2)``.
      camera: inside the room.
      light: of the room.
    """

    size: np.ndarray
    labels: np.ndarray
    surfaces: Surface
    shapes: np.ndarray
    centres: np.ndarray
    halves: np.ndarray
    turns: np.ndarray
    camera: Camera
    light: Light


@dataclass(frozen=True)
class Rendered:
    """Arrays of a picture, as ``dense.Scenes`` has them, without the leading axis."""

    image: np.ndarray
    segmentation: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


def render(scene: Scene, height: int, width: int, rng: np.random.Generator) -> Rendered:
    """The picture and its labels.

    Args:
      scene: what there is.
      height: pixels.
      width: pixels.
      rng: of the sensor's noise alone.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rays = _rays(scene.camera, height, width)
        depth, rows, normal = _room(scene, rays)
        windows = _windows(scene, height, width).tolist()
        for part, (top, bottom, left, right) in enumerate(windows):
            if top < bottom and left < right:
                window = slice(top, bottom), slice(left, right)
                _cast(scene, part, rays, window, depth, rows)
        depth, rows = depth.ravel(), rows.ravel()
        rays = tuple(ray.ravel() for ray in rays)
        position = scene.camera.position
        points = tuple(position[i] + depth * rays[i] for i in range(3))
        local = _part_normals(scene, rows, points, normal)
    colours = _shade(scene, rows, points, local, normal)
    image = np.stack(colours, -1) * scene.light.exposure
    image = np.clip(image, 0, 1) ** (1 / 2.2)
    image += scene.light.noise * rng.standard_normal(image.shape, np.float32)
    seen = (scene.camera.axes * np.array([[1], [1], [-1]], np.float32)) @ normal
    return Rendered(
        image=np.clip(image * 255 + 0.5, 0, 255)
        .astype(np.uint8)
        .reshape(height, width, 3),
        segmentation=scene.labels[rows].reshape(height, width),
        depth=depth.reshape(height, width, 1),
        normals=seen.T.reshape(height, width, 3),
    )


def _rays(camera: Camera, height: int, width: int) -> Vectors:
    """x, y and z of each pixel's ray in the world, ``(H, W)``."""
    across = (((np.arange(width) + 0.5) / width * 2 - 1) * camera.spread).astype("f4")
    tall = camera.spread * height / width
    along = ((1 - (np.arange(height) + 0.5) / height * 2) * tall).astype("f4")
    right, up, forward = camera.axes
    x, y, z = (
        forward[i] + across[None] * right[i] + along[:, None] * up[i] for i in range(3)
    )
    return x, y, z


def _room(scene: Scene, rays: Vectors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth ``(H, W)``, surface ``(H, W)`` and inward normal ``(3, n)`` of the room."""
    position, size = scene.camera.position, scene.size
    hits = np.stack(
        [
            (np.where(ray > 0, size[i], np.float32(0)) - position[i])
            / np.where(ray == 0, -_TINY, ray)
            for i, ray in enumerate(rays)
        ]
    )
    axis = np.argmin(hits, 0)
    normal = np.zeros((3, axis.size), np.float32)
    for i, ray in enumerate(rays):
        normal[i] = np.where(axis == i, -np.sign(ray), 0).ravel()
    level = np.where(rays[1] < 0, FLOOR, CEILING)
    return hits.min(0), np.where(axis == 1, level, WALLS), normal


def _turned(scene: Scene, part: int | np.ndarray, x, z):
    """x and z of world vectors in the frame of their part."""
    cos, sin = scene.turns[part, 0], scene.turns[part, 1]
    return cos * x - sin * z, sin * x + cos * z


def _windows(scene: Scene, height: int, width: int) -> np.ndarray:
    """First and last row and column that may see each part, ``(P, 4)``; see ``_cast``.

    The last ones are excluded; a part that no pixel sees has an empty rectangle.
    """
    x, y, z = np.moveaxis(_CORNERS * scene.halves[:, None], 2, 0)
    cos, sin = scene.turns.T[..., None]
    corners = np.stack([cos * x + sin * z, y, cos * z - sin * x], -1)
    camera = scene.camera
    corners += scene.centres[:, None] - camera.position
    right, up, ahead = np.moveaxis(corners @ camera.axes.T, 2, 0)
    tall = camera.spread * height / width
    column = (right / ahead / camera.spread + 1) / 2 * width
    row = (1 - up / ahead / tall) / 2 * height
    windows = np.stack(
        [row.min(1) - 1, row.max(1) + 2, column.min(1) - 1, column.max(1) + 2], 1
    )
    whole = np.array([0, height, 0, width], np.float32)
    behind = ahead < _NEAR
    windows = np.where(behind.any(1)[:, None], whole, windows)
    windows[behind.all(1)] = 0
    limits = np.array([height, height, width, width])
    return np.clip(windows, 0, limits).astype(int)


def _cast(
    scene: Scene,
    part: int,
    rays: Vectors,
    window: tuple[slice, slice],
    depth: np.ndarray,
    rows: np.ndarray,
) -> None:
    """Puts what a part hides into ``depth`` and ``rows``."""
    half = scene.halves[part]
    offset = scene.camera.position - scene.centres[part]
    ox, oz = _turned(scene, part, offset[0], offset[2])
    origin = np.array([ox, offset[1], oz]) / half
    x, y, z = (ray[window] for ray in rays)
    x, z = _turned(scene, part, x, z)
    near, far = _UNIT[scene.shapes[part]](
        origin, (x / half[0], y / half[1], z / half[2])
    )
    behind = depth[window]
    hit = (near < far) & (near > _NEAR) & (near < behind)
    behind[hit] = near[hit]
    rows[window][hit] = ROOM + part


def _slab(origin: np.float32, ray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inverse = 1 / np.where(ray == 0, _TINY, ray)
    middle, reach = -origin * inverse, np.abs(inverse)
    return middle - reach, middle + reach


def _box(origin: np.ndarray, rays: Vectors) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave the cube from -1 to 1."""
    slabs = [_slab(origin[i], ray) for i, ray in enumerate(rays)]
    (a, b), (c, d), (e, f) = slabs
    return np.maximum(np.maximum(a, c), e), np.minimum(np.minimum(b, d), f)


def _round(a, b, c) -> tuple[np.ndarray, np.ndarray]:
    """Roots of ``a t^2 + 2 b t + c``; NaN where there is none."""
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (root - b) / a


def _ellipsoid(origin: np.ndarray, rays: Vectors) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave the unit sphere."""
    (p, q, r), (x, y, z) = origin, rays
    a, b = x * x + y * y + z * z, p * x + q * y + r * z
    return _round(a, b, p * p + q * q + r * r - 1)


def _cylinder(origin: np.ndarray, rays: Vectors) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave the upright cylinder of radius 1, y from -1 to 1."""
    (p, _, r), (x, y, z) = origin, rays
    enter, leave = _round(x * x + z * z, p * x + r * z, p * p + r * r - 1)
    low, high = _slab(origin[1], y)
    return np.maximum(enter, low), np.minimum(leave, high)


_UNIT = {BOX: _box, ELLIPSOID: _ellipsoid, CYLINDER: _cylinder}


def _part_normals(
    scene: Scene, rows: np.ndarray, points: Vectors, normal: np.ndarray
) -> np.ndarray:
    """Points in the frames of what they lie on, ``(3, n)``; fills in ``normal``."""
    local = np.stack(points)
    here = np.flatnonzero(rows >= ROOM)
    part = rows[here] - ROOM
    x, y, z = (local[i, here] - scene.centres[part, i] for i in range(3))
    x, z = _turned(scene, part, x, z)
    local[:, here] = x, y, z
    half = scene.halves[part].T
    unit = local[:, here] / half
    shape = scene.shapes[part]
    axis = np.argmax(np.abs(unit), 0)
    face = np.where(np.arange(3)[:, None] == axis, np.sign(unit), 0)
    curved = unit / half
    upright = np.abs(unit[1]) < np.hypot(unit[0], unit[2])
    side = curved * np.array([1, 0, 1], np.float32)[:, None]
    cap = np.sign(unit) * np.array([0, 1, 0], np.float32)[:, None]
    found = np.where(
        shape == BOX,
        face,
        np.where(shape == ELLIPSOID, curved, np.where(upright, side, cap)),
    )
    found /= np.sqrt(np.sum(found * found, 0))
    cos, sin = scene.turns[part].T
    normal[0, here] = cos * found[0] + sin * found[2]
    normal[1, here] = found[1]
    normal[2, here] = cos * found[2] - sin * found[0]
    return local


def _shade(
    scene: Scene,
    rows: np.ndarray,
    points: Vectors,
    local: np.ndarray,
    normal: np.ndarray,
) -> list[np.ndarray]:
    """Red, green and blue that reach the camera, ``(n,)`` each."""
    reflected = colours_at(scene.surfaces, rows, tuple(local))
    view = [scene.camera.position[i] - points[i] for i in range(3)]
    view = [v / np.sqrt(sum(u * u for u in view)) for v in view]
    sky = 0.75 + 0.25 * normal[1]
    gloss = np.asarray(scene.surfaces.gloss)[rows]
    diffuse = [sky * part for part in scene.light.ambient]
    shine = [np.float32(0)] * 3
    for place, colour in zip(scene.light.positions, scene.light.colours, strict=True):
        way = [place[i] - points[i] for i in range(3)]
        squared = sum(w * w for w in way)
        way = [w / np.sqrt(squared) for w in way]
        fall = 1 / (1 + 0.3 * squared)
        facing = np.maximum(sum(normal[i] * way[i] for i in range(3)), 0) * fall
        between = [w + v for w, v in zip(way, view, strict=True)]
        length = np.sqrt(sum(b * b for b in between)) + np.float32(1e-6)
        mirror = sum(normal[i] * between[i] for i in range(3)) / length
        bright = gloss * fall * np.maximum(mirror, 0) ** _SHARPNESS
        for i in range(3):
            diffuse[i] = diffuse[i] + colour[i] * facing
            shine[i] = shine[i] + colour[i] * bright
    glow = np.asarray(scene.surfaces.glow)[rows]
    return [reflected[i] * (diffuse[i] + glow) + shine[i] for i in range(3)]
