"""``medmnist:SET+SET``: the MedMNIST sets with one label an image.

One set is one task, from the official ``SETmnist.npz`` (or ``SETmnist*.npz``) with its
official splits. ``chest`` has fourteen labels an image and is not among them.
"""

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.files import find_npz, missing
from evojax_mtl.tasks.npz import load_file
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.task import Task

# Number of classes of each set, as published.
CLASSES = {
    "path": 9,
    "derma": 7,
    "oct": 4,
    "pneumonia": 2,
    "retina": 5,
    "breast": 2,
    "blood": 8,
    "tissue": 8,
    "organa": 11,
    "organc": 11,
    "organs": 11,
}
WHERE = "get it from https://zenodo.org/records/10519652 (https://medmnist.com)"


def load(argument: str | None, request: Request) -> list[Task]:
    """One task a set; ``argument`` names them, joined by ``+``."""
    names = (argument or "").split("+")
    for name in names:
        if name not in CLASSES:
            raise UserError(
                f"tasks 'medmnist:{argument or ''}': found {name!r}; allowed: "
                f"{', '.join(CLASSES)}, joined by +"
            )
    return [_load(name, request) for name in names[: request.max_tasks]]


def _load(name: str, request: Request) -> Task:
    file = f"{name}mnist"
    path = find_npz(file, request.folders)
    if path is None:
        raise missing(f"{file}.npz", request.folders, WHERE)
    return load_file(path, file, CLASSES[name])
