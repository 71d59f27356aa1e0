"""Synflow of all cells of NAS-Bench-201, computed once and kept on disk.

A file (``array_cache``), ``synflow-DEFINITION-SIZE-DRAW``, holds what the network of
each of the 15,625 cells hands to its classifier, for one size of image and one draw of
weights; the classifier is applied when scores are asked for, so that CIFAR-10 and
CIFAR-100 share a file.
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Integer

from evojax_mtl.evaluation import synflow
from evojax_mtl.evaluation.array_cache import kept
from evojax_mtl.networks.nasbench201_network import OPERATIONS

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
      folder: of the files; see ``array_cache``.

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
    flow = kept(
        f"synflow-v{DEFINITION}-{size}-{draw}",
        (len(OPERATIONS) ** 6, 2, len(last)),
        lambda: synflow.flows(weights(), synflow.all_cells(), size),
        folder,
    )
    rows = ops @ len(OPERATIONS) ** np.arange(6)[::-1]
    return synflow.score(flow[rows], last)
