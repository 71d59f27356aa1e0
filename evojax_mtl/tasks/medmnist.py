"""``medmnist:SET+SET``: the 2-D MedMNIST sets.

One set is one task, from the official ``SETmnist.npz`` (or ``SETmnist*.npz``) with its
official splits. MedMNIST labels its sets in four ways:

* multi-class: most sets; trained by cross-entropy, scored by accuracy;
* binary: ``pneumonia`` and ``breast``, which are two classes here;
* ordinal: ``retina``, five grades of a disease, which are five classes without an order
  here, as in MedMNIST's own experiments;
* multi-label: ``chest``, fourteen findings, any of which an image may have; trained by
  the mean of their binary cross-entropies, scored by the share of findings decided
  right, as MedMNIST does.
"""

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.build import require_every_class
from evojax_mtl.tasks.files import find_npz, missing
from evojax_mtl.tasks.multi_label import load_multi_label
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
FINDINGS = {"chest": 14}
"""Number of labels of the sets whose images may have several."""
SETS = (*CLASSES, *FINDINGS)
WHERE = "get it from https://zenodo.org/records/10519652 (https://medmnist.com)"


def load(argument: str | None, request: Request) -> list[Task]:
    """One task a set; ``argument`` names them, joined by ``+``.

    Raises:
      UserError: an unknown set; a file is missing, there twice, or not as published.
    """
    names = (argument or "").split("+")
    for name in names:
        if name not in SETS:
            raise UserError(
                f"tasks 'medmnist:{argument or ''}': found {name!r}; allowed: "
                f"{', '.join(SETS)}, joined by +"
            )
    return [_load(name, request) for name in names[: request.max_tasks]]


def _load(name: str, request: Request) -> Task:
    file = f"{name}mnist"
    path = find_npz(file, request.folders)
    if path is None:
        raise missing(f"{file}.npz", request.folders, WHERE)
    if name in FINDINGS:
        return load_multi_label(path, file, FINDINGS[name])
    task = load_file(path, file, CLASSES[name])
    if task.classes != CLASSES[name]:
        raise UserError(
            f"{path}: found {task.classes} classes; allowed: {CLASSES[name]}"
        )
    require_every_class(task, str(path))
    return task
