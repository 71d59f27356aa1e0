"""Images as uint8 ``(n, H, W, c)``: checks, size and channels. NumPy and PIL."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.task import SPLITS, Split, Task

_MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}


def as_images(images: np.ndarray, field: str) -> np.ndarray:
    """Checks stored images and gives them a channel axis.

    Args:
      images: ``(n, H, W)`` or ``(n, H, W, c)``, uint8, or float in ``[0, 1]``.
      field: the file and field, for errors.

    Returns:
      uint8 ``(n, H, W, c)``; a view of uint8 images, which may be mapped from disk.
    """
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise UserError(
            f"{field}: shape {images.shape}; allowed: (n, height, width) or "
            "(n, height, width, channels)"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[3] > min(images.shape[1:3]):
        raise UserError(
            f"{field}: {images.shape[3]} channels in shape {images.shape}; allowed: "
            "channels last, fewer than pixels a side"
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(
            f"{field}: dtype {images.dtype}; allowed: uint8 (0 to 255) or float "
            "(0 to 1)"
        )
    if not np.isfinite(images).all():
        raise UserError(f"{field}: values that are not finite; allowed: 0 to 1")
    if images.size and (images.min() < 0 or images.max() > 1):
        raise UserError(
            f"{field}: values from {images.min():g} to {images.max():g}; allowed: "
            "0 to 1 for float images"
        )
    return np.rint(images * 255).astype(np.uint8)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture file; what PIL cannot read of it inside becomes a ``UserError``."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable image ({reason})") from None


def read_image(path: Path) -> np.ndarray:
    """A picture file as uint8 ``(H, W, c)``, grey or RGB."""
    with opened(path) as image:
        mode = _MODES.get(image.mode)
        if mode is None:
            raise UserError(
                f"{path}: pixel mode {image.mode}; allowed: 8-bit grey or RGB"
            )
        pixels = np.asarray(image.convert(mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def stack_images(
    pixels: Sequence[np.ndarray], size: int | None, origins: Sequence[object]
) -> np.ndarray:
    """Images ``(H, W, c)`` as one array, resized where ``size`` is given.

    Grey images among RGB ones become RGB. ``origins`` names each for errors.
    """
    channels = max(image.shape[2] for image in pixels)
    stacked = []
    for image, origin in zip(pixels, origins, strict=True):
        if size is not None:
            image = resize(image[None], size, size)[0]
        if image.shape[:2] != pixels[0].shape[:2] and size is None:
            height, width = pixels[0].shape[:2]
            raise UserError(
                f"{origin}: {image.shape[0]}x{image.shape[1]} pixels beside "
                f"{height}x{width}; allowed: one size, or ask for an image size"
            )
        stacked.append(with_channels(image, channels, str(origin)))
    return np.stack(stacked)


def with_channels(images: np.ndarray, channels: int, origin: str) -> np.ndarray:
    """Repeats the one channel of grey images ``(..., 1)`` to ``channels``."""
    if images.shape[-1] == channels:
        return images
    if images.shape[-1] != 1:
        raise UserError(
            f"{origin}: {images.shape[-1]} channels beside {channels}; allowed: one "
            "channel or the same number"
        )
    return np.repeat(images, channels, axis=-1)


def resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes uint8 ``(n, H, W, c)``, antialiased, a channel at a time."""
    if images.shape[1:3] == (height, width):
        return images
    out = np.empty((len(images), height, width, images.shape[3]), np.uint8)
    for index, image in enumerate(images):
        for channel in range(image.shape[2]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            plane = plane.resize((width, height), Image.Resampling.BILINEAR)
            out[index, ..., channel] = plane
    return out


def reshape_task(task: Task, shape: tuple[int, int, int]) -> Task:
    """A task with its images as ``shape`` ``(H, W, c)``."""
    if task.input_shape == shape:
        return task
    splits: dict[str, Any] = {}
    for name in SPLITS:
        split: Split = getattr(task, name)
        images = with_channels(split.images, shape[2], f"task {task.name}")
        images = resize(images, *shape[:2])
        splits[name] = dataclasses.replace(split, images=images)
    return dataclasses.replace(task, **splits)


def harmonise(tasks: Sequence[Task], size: int | None) -> list[Task]:
    """Gives all tasks one input shape, as ``stack_tasks`` wants.

    Height and width are ``size``, or the largest of the tasks'; channels are the
    most of any task, repeated where a task is grey.
    """
    shapes = np.array([task.input_shape for task in tasks])
    height, width, channels = (int(most) for most in shapes.max(0))
    if size is not None:
        height = width = size
    return [reshape_task(task, (height, width, channels)) for task in tasks]
