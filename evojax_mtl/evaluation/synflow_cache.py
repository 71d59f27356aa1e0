"""Synflow of all cells of NAS-Bench-201, computed once and kept on disk.

A file holds what the network of each of the 15,625 cells hands to its classifier, for
one size of image and one draw of weights; the classifier is applied when scores are
asked for, so that CIFAR-10 and CIFAR-100 share a file. Files lie in ``proxies`` of the
user's cache folder, ``synflow-DEFINITION-SIZE-DRAW.npz``; one that is damaged or not
what it says is computed again.
"""

import warnings
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Integer

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation import synflow
from evojax_mtl.networks.nasbench201_network import OPERATIONS
from evojax_mtl.tasks.files import Arrays, save_npz
from evojax_mtl.tasks.request import cache_folder

DEFINITION = 1
"""To be raised by whoever changes what ``synflow`` computes or draws."""


def cached_synflow(
    ops: Integer[np.ndarray, "A 6"],
    classes: int,
    size: int,
    seed: int | None = None,
    folder: Path | None = None,
) -> synflow.Scores:
    """Synflow of cells, from disk; the first call for a size and seed fills the file.

    Args:
      ops: cells.
      classes: of the data set.
      size: pixels a side of its images.
      seed: of ``synflow_scores``; None for ``expected_synflow_scores``, which takes
        seconds to fill where a draw takes minutes.
      folder: of the files; the user's cache folder unless given.

    Raises:
      UserError: as ``synflow_scores``.
    """
    ops = synflow.checked(ops, size)
    weights, classifier = synflow.expected_weights, synflow.expected_classifier
    if seed is not None:
        body, head = jax.random.split(jax.random.key(seed))
        weights = partial(synflow.random_weights, body)
        classifier = partial(synflow.random_classifier, head)
    last = classifier(classes)
    draw = "mean" if seed is None else f"seed{seed}"
    folder = cache_folder() / "proxies" if folder is None else folder
    path = folder / f"synflow-v{DEFINITION}-{size}-{draw}.npz"
    flow = _read(path, len(last))
    if flow is None:
        flow = synflow.flows(weights(), synflow.all_cells(), size)
        try:
            save_npz(path, {"flows": flow})
        except OSError as error:
            warnings.warn(f"{path}: not kept ({error})", RuntimeWarning, stacklevel=2)
    rows = ops @ len(OPERATIONS) ** np.arange(6)[::-1]
    return synflow.score(flow[rows], last)


def _read(path: Path, channels: int) -> synflow.Flows | None:
    """The flows of all cells; None where there is no such file, or a damaged one."""
    if not path.exists():
        return None
    try:
        flow = Arrays(path).read("flows")
    except UserError:
        return None
    whole = flow.shape == (len(OPERATIONS) ** 6, 2, channels)
    if not whole or flow.dtype != np.float64 or not np.isfinite(flow).all():
        return None
    return flow
