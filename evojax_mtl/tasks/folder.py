"""``folder:PATH``: the user's own pictures, ``PATH/TASK/SPLIT/CLASS/IMAGE``.

Splits are ``train``, ``validation`` (or ``val``) and ``test``; a task's classes are
its class folders in the order of their names, the same for all splits. Pictures are
what PIL reads, 8-bit grey or RGB, of one size unless an image size is asked for.
"""

from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.build import as_split, build_task
from evojax_mtl.tasks.images import read_image, stack_images
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.task import SPLITS, Task

_ALIASES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"}


def subfolders(path: Path) -> list[Path]:
    """Folders in a folder by name, hidden ones left out."""
    return sorted(
        entry
        for entry in path.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )


def load(argument: str | None, request: Request) -> list[Task]:
    """The tasks in a folder, in the order of their names."""
    if not argument:
        raise UserError("tasks 'folder': no path; allowed: folder:PATH")
    paths = [
        folder / Path(argument).expanduser() for folder in (Path(), *request.folders)
    ]
    root = next((path for path in paths if path.is_dir()), None)
    if root is None:
        looked = ", ".join(str(folder) for folder in (Path.cwd(), *request.folders))
        raise UserError(f"tasks 'folder:{argument}': no such folder in {looked}")
    tasks = subfolders(root)
    if not tasks:
        raise UserError(f"{root}: found no folder; allowed: TASK/SPLIT/CLASS/IMAGE")
    return [_task(task, request) for task in tasks[: request.max_tasks]]


def _split_folder(task: Path, split: str) -> Path:
    names = _ALIASES[split]
    found = [task / name for name in names if (task / name).is_dir()]
    if len(found) != 1:
        entries = ", ".join(folder.name for folder in subfolders(task)) or "nothing"
        raise UserError(
            f"{task}: found {entries}; allowed: one folder "
            f"{' or '.join(repr(name) for name in names)} for the {split} split"
        )
    return found[0]


def _task(folder: Path, request: Request) -> Task:
    splits = {split: _split_folder(folder, split) for split in SPLITS}
    names = sorted(
        {entry.name for path in splits.values() for entry in subfolders(path)}
    )
    known = {entry.name for entry in subfolders(splits["train"])}
    for name in names:
        if name not in known:
            raise UserError(f"{splits['train']}: class {name!r} has no folder here")
    names = names[: request.max_classes]
    files = {
        split: [
            (file, label)
            for label, name in enumerate(names)
            for file in sorted((path / name).glob("*"))
            if file.suffix.lower() in SUFFIXES
        ]
        for split, path in splits.items()
    }
    for split, found in files.items():
        if not found:
            allowed = ", ".join(sorted(SUFFIXES))
            raise UserError(
                f"{splits[split]}: no image; allowed: CLASS/IMAGE ({allowed})"
            )
    every = [file for split in SPLITS for file, _ in files[split]]
    pixels = stack_images(
        [read_image(file) for file in every], request.image_size, every
    )
    built, begin = {}, 0
    for split in SPLITS:
        labels = np.array([label for _, label in files[split]], np.int32)
        built[split] = as_split(pixels[begin : begin + len(labels)], labels)
        begin += len(labels)
    return build_task(folder.name, built, None, str(folder))
