"""node2vec on architectures' graphs against the package node2vec with gensim.

Both walk over the same graphs of the same architectures, equally often and far, and
train one skip-gram model on all walks: equal dimensions, window, negatives and epochs.
The peer gets the walks of all architectures in one gensim model with ``sample=0``, as
many workers as there are cores, and ``min_count=0``. Ours counts the pairs of tokens in
the walks and descends along the gradient of the counts (see ``evolution.node2vec``):
both parts of that are timed as skip-gram.

The architectures are drawn from NAS-Bench-201's space, whose 15,625 cells need no file.
Beside the times stands how well distances rank the pairs of all 1,000 architectures by
edit distance: Spearman's correlation.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from evojax_mtl.evolution import node2vec
from evojax_mtl.evolution.node2vec import Node2VecConfig
from evojax_mtl.genomes.operation_graphs import OperationGraphs, nasbench201_graphs
from experiments.benchmarks.harness import (
    Benchmark,
    BenchmarkError,
    Case,
    interleave,
    need,
    seconds,
)
from experiments.benchmarks.peers import need_node2vec

ARCHITECTURES = 1_000
CONFIG = Node2VecConfig(epochs=1)
GOAL = 20.0
SLACK = 0.005
"""By how much our rank correlation may be the smaller one: its noise over seeds."""


def architectures(count: int, seed: int = 0) -> np.ndarray:
    """Distinct cells of NAS-Bench-201, ``(count, 6)``."""
    every = np.indices((5,) * 6).reshape(6, -1).T
    return np.random.default_rng(seed).permutation(every)[:count].astype(np.int32)


def rank_correlation(ops: np.ndarray, vectors: Any) -> float:
    """Of distances with edit distances over all pairs."""
    unit = np.asarray(vectors, np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    upper = np.triu_indices(len(ops), 1)
    edits = (ops[:, None] != ops).sum(-1)[upper]
    return float(stats.spearmanr(1 - (unit @ unit.T)[upper], edits).statistic)


class Ours:
    """Walks, and the table trained on them, each one compiled program."""

    def __init__(self, graphs: OperationGraphs, config: Node2VecConfig) -> None:
        self.graphs, self.config = graphs, config
        self.walked: Any = None
        self.table: Any = None
        self._walks = jax.jit(node2vec.all_walks)
        self._train = jax.jit(self._skip_gram)

    def _skip_gram(self, key, graphs, walked, config):
        counts = node2vec.pair_counts(graphs, walked, config.window)
        return node2vec.skip_gram(key, counts, config)

    def walk(self, seed: int = 0) -> None:
        """Walks over all graphs."""
        key = jax.random.key(seed)
        walked = self._walks(key, self.graphs, self.config)
        self.walked = jax.block_until_ready(walked)

    def train(self, seed: int = 0) -> None:
        """Trains on the latest walks."""
        key = jax.random.key(seed)
        table = self._train(key, self.graphs, self.walked, self.config)
        self.table = jax.block_until_ready(table)


class Peer:
    """The same by the package and gensim."""

    def __init__(self, graphs: OperationGraphs, config: Node2VecConfig) -> None:
        self.package, self.gensim = need_node2vec(), need("gensim")
        self.networkx = need("networkx")
        self.config, self.vocabulary = config, graphs.vocabulary
        self.walked: list[list[str]] = []
        self.table: Any = None
        given = zip(
            np.asarray(graphs.tokens), np.asarray(graphs.adjacency), strict=True
        )
        self.graphs = [self.graph(*one) for one in given]

    def graph(self, tokens: np.ndarray, adjacency: np.ndarray) -> Any:
        """One architecture's graph, nodes named by their tokens."""
        graph = self.networkx.Graph()
        used = adjacency.any(-1)
        graph.add_nodes_from(tokens[used].tolist())
        pairs = np.argwhere(np.triu(adjacency))
        graph.add_edges_from((int(tokens[a]), int(tokens[b])) for a, b in pairs)
        return graph

    def walk(self, seed: int = 0) -> None:
        """Walks over all graphs, one after the other; workers only slow it down."""
        self.walked = []
        for n, graph in enumerate(self.graphs):
            walker = self.package.Node2Vec(
                graph,
                dimensions=self.config.dimensions,
                walk_length=self.config.walk_length,
                num_walks=self.config.walks,
                p=float(self.config.p),
                q=float(self.config.q),
                workers=1,
                quiet=True,
                seed=seed + n,
            )
            self.walked += walker.walks

    def train(self, seed: int = 0) -> None:
        """Trains one model on all walks."""
        model = self.gensim.models.Word2Vec(
            self.walked,
            vector_size=self.config.dimensions,
            window=self.config.window,
            negative=int(self.config.negatives),
            epochs=self.config.epochs,
            sg=1,
            min_count=0,
            sample=0,
            workers=2,
            seed=seed,
        )
        self.table = np.zeros((self.vocabulary, self.config.dimensions), np.float32)
        for token in model.wv.index_to_key:
            self.table[int(token)] = model.wv[token]


def run(
    tell: Callable[[str], None],
    count: int = ARCHITECTURES,
    config: Node2VecConfig = CONFIG,
    rounds: int = 5,
) -> tuple[list[Case], list[Case]]:
    """Walks, skip-gram and their sum; the peer's are timed once."""
    ops = architectures(count)
    graphs = nasbench201_graphs(jnp.asarray(ops))
    ours, peer = Ours(graphs, config), Peer(graphs, config)
    begin = time.perf_counter()
    ours.walk()
    ours.train()
    tell(f"ours compiled and run in {time.perf_counter() - begin:.1f} s")
    times = interleave([ours.walk, ours.train], rounds=rounds, budget=0.0, warm_up=0)
    mine = [float(np.median(found)) for found in times]
    theirs = [seconds(peer.walk)]
    tell(f"the peer walked for {theirs[0]:.1f} s")
    theirs.append(seconds(peer.train))
    tell(f"the peer trained for {theirs[1]:.1f} s")
    tables = [jnp.asarray(ours.table), jnp.asarray(peer.table)]
    vectors = [node2vec.architecture_vectors(graphs, table) for table in tables]
    found, expected = (rank_correlation(ops, each) for each in vectors)
    told = f"rank correlation {found:.3f}, peer {expected:.3f}"
    tell(told)
    if found < expected - SLACK:
        raise BenchmarkError(f"node2vec: found {told}, must not be below the peer's")
    own = [*mine, sum(mine)]
    names = ("walks", "skip-gram", f"both; {told}")
    case = partial(Case, peer="node2vec 0.5.0, gensim", goal=GOAL, rounds=rounds)
    every = zip(names, own, [*theirs, sum(theirs)], strict=True)
    return [case(case=n, ours_seconds=a, peer_seconds=b) for n, a, b in every], []


BENCHMARK = Benchmark(
    name="node2vec",
    work=(
        f"Embed {ARCHITECTURES} cells of NAS-Bench-201: {CONFIG.walks} walks of "
        f"{CONFIG.walk_length} nodes from each of a graph's 13 nodes, p = q = 1, one "
        f"skip-gram model of {CONFIG.dimensions} dimensions over all of them, window "
        f"{CONFIG.window}, {CONFIG.negatives:.0f} negatives, {CONFIG.epochs} epoch. "
        "Ours counts equal pairs and sums their gradients, counting included in its "
        "time; the peer samples. float32, 2 cores."
    ),
    run=run,
    packages=("jax", "numpy", "node2vec", "gensim", "networkx"),
)
