"""Picture files of any size as one array on disk: decoded once, then mapped.

For data sets larger than the memory. NumPy and PIL. An array is written beside its
final place and moved there when it is whole; writing goes on where it was cut off.

Shape legend: ``n`` pictures, ``s`` pixels a side, ``c`` channels, 3 or of grey ones 1.
"""

import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.images import opened

_BLOCK = 512
_SECONDS = 30


def read_square(path: Path, side: int, grey: bool = False) -> np.ndarray:
    """The middle of a picture, uint8 ``(s, s, c)``.

    The shorter side is resized to ``side``, antialiased, and the longer one cropped, as
    torchvision's ``Resize`` and ``CenterCrop`` do. Grey and CMYK pictures become RGB,
    or all become grey.

    Raises:
      UserError: if PIL cannot read it.
    """
    with opened(path) as image:
        image = image.convert("L" if grey else "RGB")
        width, height = image.size
        shorter = min(width, height)
        size = (side * width // shorter, side * height // shorter)
        image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (round((length - side) / 2) for length in size)
        pixels = np.asarray(image.crop((left, top, left + side, top + side)))
        return pixels.reshape(side, side, -1)


def squares(
    root: Path, files: Sequence[str], side: int, target: Path, grey: bool = False
) -> np.ndarray:
    """The middles of pictures, uint8 ``(n, s, s, c)``, mapped from ``target``.

    Args:
      root: folder that the names are relative to.
      files: names of the pictures; the array keeps their order.
      side: pixels a side.
      target: an ``.npy`` file; written if it is not there.
      grey: whether pictures are kept with one channel in place of three.

    Raises:
      UserError: if a picture cannot be read, or the array not written.
    """
    try:
        if not target.exists():
            _write(root, files, side, target, grey)
        return np.load(target, mmap_mode="r")
    except OSError as error:
        raise UserError(
            f"{target}: {error.strerror or error}; --data-dir or $EVOJAX_MTL_DATA "
            "names the folder that decoded pictures are kept in"
        ) from None


def _write(
    root: Path, files: Sequence[str], side: int, target: Path, grey: bool
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, progress = (target.with_suffix(end) for end in (".partial", ".progress"))
    shape, done = (len(files), side, side, 1 if grey else 3), 0
    if partial.exists() and progress.exists():
        done = int(progress.read_text())
    _check_room(target.parent, (len(files) - done) * math.prod(shape[1:]))
    array = np.lib.format.open_memmap(
        partial, "r+" if done else "w+", np.dtype(np.uint8), shape
    )
    told = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for begin in range(done, len(files), _BLOCK):
            block = files[begin : begin + _BLOCK]
            decoded = pool.map(lambda name: read_square(root / name, side, grey), block)
            for index, square in enumerate(decoded, begin):
                array[index] = square
            # the pictures first: what the progress tells must be there
            array.flush()
            _replace_text(progress, str(begin + len(block)))
            if time.monotonic() - told > _SECONDS:
                told, count = time.monotonic(), begin + len(block)
                print(
                    f"{root}: {count:,} of {len(files):,} pictures decoded",
                    file=sys.stderr,
                    flush=True,
                )
    del array
    # the progress first: without it, a new partial file begins at its beginning
    progress.unlink(missing_ok=True)
    partial.replace(target)


def _check_room(folder: Path, needed: int) -> None:
    """Raises ``UserError`` where a full disk would kill the process in its writing."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {free / 1e9:.1f} GB free, must be {needed / 1e9:.1f} or more "
            "for the decoded pictures; --data-dir names another folder, --image-size "
            "a smaller size"
        )


def _replace_text(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)
