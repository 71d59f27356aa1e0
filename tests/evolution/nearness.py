"""How well distances between vectors of architectures tell edits."""

import numpy as np
from scipy import stats

from evojax_mtl.evolution import node2vec


def spearman(ops, vectors) -> float:
    """Rank correlation of distances and edits over all pairs."""
    rows, columns = np.triu_indices(len(ops), 1)
    apart = node2vec.distance(vectors[rows], vectors[columns])
    edits = (ops[rows] != ops[columns]).sum(-1)
    return stats.spearmanr(apart, edits).statistic
