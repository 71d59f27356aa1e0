"""``nasbench-toy``: a synthetic table on the cells of NAS-Bench-201, made by a formula.

Nothing was ever trained: it is there so that searches on tables run, and can be tried,
without a file. A cell's accuracy on a task is a smooth function of the strength of its
operations, edge by edge and pair by pair, that the tasks have in common but for a part
of their own, and a little noise. Deterministic: the same numbers always.
"""

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.nasbench201 import space
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.tabular import TableTask

TASKS = 3
MOST = 8
STRENGTH = (0.0, 0.8, 1.2, 1.6, 0.5)
"""Of each operation, in common to all tasks and edges."""
COST = (0.0, 0.0, 1.0, 9.0, 0.1)
"""Of each operation (million multiply-adds)."""


def load(argument: str | None, request: Request) -> list[TableTask]:
    """``argument`` tasks (3), the first ones the same whatever their number.

    Raises:
      UserError: ``argument`` is no number from 1 to 8.
    """
    if argument is not None and not (
        argument.isdecimal() and 1 <= int(argument) <= MOST
    ):
        raise UserError(
            f"tasks 'nasbench-toy:{argument}': found {argument!r}; allowed: 1 to {MOST}"
        )
    count = request.first(TASKS if argument is None else int(argument))
    cells = space("nasbench-toy")
    rng = np.random.default_rng(0)
    edge = rng.normal(0, 0.25, (6, 5)) + np.asarray(STRENGTH)
    pair = rng.normal(0, 0.2, (6, 6, 5, 5))
    cost = np.asarray(COST)[cells.genes].sum(1) * 1e6
    tasks = []
    for number in range(count):
        rng = np.random.default_rng([1, number])
        score = _score(
            cells.genes,
            edge + rng.normal(0, 0.15, edge.shape),
            pair + rng.normal(0, 0.1, pair.shape),
        )
        noise = rng.normal(0, 0.003, (2, len(cells)))
        nothing = (cells.genes == 0).all(1)
        accuracy = np.where(nothing, 0.1, 0.1 + 0.85 * score**0.7)
        validation, test = np.clip(accuracy + np.where(nothing, 0, noise), 0.05, 0.999)
        tasks.append(
            TableTask(
                name=f"toy-{number}",
                space=cells,
                validation=validation,
                test=test,
                metric="accuracy",
                multiply_adds=cost,
                parameters=cost / 100,
                image=(10, 32),
            )
        )
    return tasks


def _score(genes: np.ndarray, edge: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """Sum over edges and pairs of edges, brought to ``[0, 1]``."""
    places = range(genes.shape[1])
    terms = [edge[i, genes[:, i]] for i in places]
    terms += [
        pair[i, j, genes[:, i], genes[:, j]] for i in places for j in places if i < j
    ]
    total = np.sum(terms, axis=0)
    return (total - total.min()) / np.ptp(total)
