"""Synflow of all cells of NAS-Bench-201 against a PyTorch network built for each."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from evojax_mtl.evaluation import synflow
from evojax_mtl.networks.nasbench201_network import Skeleton
from experiments.benchmarks.harness import Benchmark, Case, need, seconds

SETTINGS = {"CIFAR-10": (10, 32), "ImageNet16-120": (120, 16)}
"""Classes, and pixels a side. CIFAR-100 has CIFAR-10's, but for the classifier."""

SAMPLE = 50


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest relative difference; a score of 0 allows none."""
    scale = np.where(expected == 0, np.finfo(float).tiny, expected)
    return float(np.max(np.abs(found - expected) / scale))


def compare(
    name: str,
    cells: np.ndarray,
    sample: int,
    tell: Callable[[str], None],
    skeleton: Skeleton = synflow.SKELETON,
) -> list[Case]:
    """One draw against PyTorch, and the expected score against one draw.

    Args:
      name: of the setting.
      cells: to score, drawn in random order.
      sample: how many of them, the first, PyTorch scores.
      tell: what goes on.
      skeleton: widths and depth of the networks.
    """
    need("torch")
    from experiments.benchmarks import torch_nasbench201

    classes, size = SETTINGS[name]
    body, head = jax.random.split(jax.random.key(0))
    weights = jax.block_until_ready(synflow.random_weights(body, skeleton))
    classifier = synflow.random_classifier(head, classes, skeleton)
    copied = jax.tree.map(np.asarray, weights)
    expected: list[float] = []
    found: dict[str, Any] = {}

    def theirs(part: np.ndarray) -> float:
        one = torch_nasbench201.synflow
        return seconds(
            lambda: expected.extend(
                one(cell, copied, classifier, size) for cell in part
            )
        )

    def one_draw() -> None:
        flow = synflow.flows(weights, cells, size)
        found["scores"] = synflow.score(flow, classifier)

    torch_nasbench201.synflow(cells[0], copied, classifier, size)
    # half of the peer's cells before and half after: both meet the same machine
    middle = sample // 2
    tell(f"{name}: {middle} cells by PyTorch")
    peer = theirs(cells[:middle])
    tell(f"{name}: {len(cells):,} cells by ours")
    ours = seconds(one_draw)
    peer += theirs(cells[middle:sample])
    tell(f"{name}: {len(cells):,} cells in expectation")
    expect = partial(synflow.expected_synflow_scores, cells, classes, size, skeleton)
    mean = seconds(expect)
    return [
        Case(
            case=f"{name}: {len(cells):,} cells",
            ours_seconds=ours,
            peer=f"PyTorch, {sample} cells extrapolated",
            peer_seconds=peer / sample * len(cells),
            max_abs_difference=relative(found["scores"][:sample], np.array(expected)),
        ),
        Case(
            case=f"{name}: expected score",
            ours_seconds=mean,
            peer="ours, one draw",
            peer_seconds=ours,
        ),
    ]


def run(tell: Callable[[str], None]) -> tuple[list[Case], list[Case]]:
    """All cells at each setting."""
    cells = np.random.default_rng(0).permutation(synflow.all_cells())
    pairs = [compare(name, cells, SAMPLE, tell) for name in SETTINGS]
    return [first for first, _ in pairs], [second for _, second in pairs]


BENCHMARK = Benchmark(
    name="synflow",
    work="synflow of all 15,625 cells of NAS-Bench-201 in float64, with one draw of "
    "PyTorch's default weights, compilation included. The peer builds a network for "
    f"each cell and takes gradients; it scores {SAMPLE} random cells, and its time "
    "for all is extrapolated from theirs. Cells that compute the same (edges that "
    "lead nowhere) are computed once by ours. Differences are relative, over the "
    "peer's cells. The expected score is the mean over all draws of weights, exactly",
    run=run,
)
