"""Static choices of transfer between tasks, on tables and on cells. Imports no JAX."""

from dataclasses import dataclass
from typing import Literal

from evojax_mtl.configs import SearchConfig, option


@dataclass(frozen=True)
class TransferRankConfig(SearchConfig):
    """What is transferred by transfer rank, and how long it is remembered."""

    transferred: int = option(4, low=1)
    """Architectures transferred to each task in a generation, M (architectures)."""

    ranking_ratio: float = option(0.2, low=0.0, high=1.0, traced=True)
    """r: a transfer is positive if a child ranks in this top share of the next
    population (fraction)."""

    saved_generations: int = option(5, low=1)
    """m: how long a negative transfer is remembered (generations)."""

    saved_positives: int = option(1, low=1)
    """How long a positive transfer is remembered (generations)."""

    selection: Literal["transfer-rank", "random"] = option("transfer-rank")
    """random: KTNAS without transfer rank (a name)."""


@dataclass(frozen=True)
class WalksConfig(SearchConfig):
    """node2vec's random walks."""

    walks: int = option(10, low=1)
    """node2vec's walks from each node (walks)."""

    walk_length: int = option(80, low=2)
    """Of node2vec's walks (nodes)."""

    window: int = option(10, low=1)
    """Distance up to which node2vec pairs two nodes of a walk (steps)."""

    return_parameter: float = option(1.0, low=1e-6)
    """node2vec's p: large values keep walks from going back (factor)."""

    in_out_parameter: float = option(1.0, low=1e-6)
    """node2vec's q: large values keep walks near where they came from (factor)."""


@dataclass(frozen=True)
class AdaptiveTransferConfig(SearchConfig):
    """What a search that transfers when it pays keeps."""

    kept: int = option(16, low=1)
    """Improvements of each task that others may take over, the last ones
    (architectures)."""

    forgetting: float = option(0.1, low=0.0, high=1.0, traced=True)
    """What remains of earlier rewards at a task's next turn (factor)."""
