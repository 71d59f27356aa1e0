"""``digits``: scikit-learn's 1,797 real handwritten digits, asked four questions.

Every task sees the same 8x8 images in the same splits (50/20/30 % of each digit), so
that no image of one task's test split trains another task. The questions are related
but not nested in one another: which digit it is, whether it is odd, whether it is
above four, and how many closed loops its printed form has.
"""

from typing import Any

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.build import as_split, build_task, split_rows
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.task import SPLITS, Task

# The class of each digit, 0 to 9.
QUESTIONS = {
    "digit": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    "odd": (0, 1, 0, 1, 0, 1, 0, 1, 0, 1),
    "above-four": (0, 0, 0, 0, 0, 1, 1, 1, 1, 1),
    "loops": (1, 0, 0, 0, 1, 0, 1, 0, 2, 1),
}
_SPLIT_SEED = 0


def load(argument: str | None, request: Request) -> list[Task]:
    """One task a question; ``argument`` names some, joined by ``+`` (default all)."""
    from sklearn.datasets import load_digits

    names = list(QUESTIONS) if argument is None else argument.split("+")
    unknown = [name for name in names if name not in QUESTIONS]
    if unknown:
        raise UserError(
            f"tasks 'digits:{argument}': found {unknown[0]!r}; allowed: "
            f"{', '.join(QUESTIONS)}, joined by +"
        )
    data: Any = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    digits = data.target.astype(np.int32)
    rows = split_rows(digits, _SPLIT_SEED)
    tasks = []
    for name in names[: request.max_tasks]:
        labels = np.array(QUESTIONS[name], np.int32)[digits]
        splits = {
            part: as_split(images[rows[part]], labels[rows[part]]) for part in SPLITS
        }
        tasks.append(build_task(f"digits-{name}", splits, None, "digits"))
    return tasks
