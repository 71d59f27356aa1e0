"""Vectors of cells, composed inside the compiled step of what was embedded before.

The cell space has some 1e30 architectures, too many to embed beforehand. But an
architecture's vector is the mean of its operations' vectors (``evolution.node2vec``),
and operations are few: 360 tokens of cell type, block, input and kind. So node2vec
walks on random cells once, before any search, and what it leaves is a table of the
tokens' vectors, the same for all seeds and kept on disk; a genome's vector is the mean
of 20 of its rows.

With ``one-hot`` the table is the identity, and the distance of two architectures the
share of operations that they have not in common at the same place.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.evaluation.array_cache import digest, kept
from evojax_mtl.evaluation.table_embeddings import choices
from evojax_mtl.evolution.node2vec import Node2VecConfig, node2vec
from evojax_mtl.genomes.cells import LENGTH, random_cells
from evojax_mtl.genomes.operation_graphs import CELL_TOKENS, cell_graphs, cell_tokens

_VERSION = 1
"""To be raised by whoever changes what an embedding computes."""


def token_table(config: Any) -> Float[np.ndarray, "360 D"]:
    """Vectors of the operations' tokens.

    Args:
      config: has the fields of embeddings that ``KTNASCellConfig`` has.
    """
    if config.embedding == "one-hot":
        return np.eye(CELL_TOKENS, dtype=np.float32)
    chosen: Any = choices(config.embedding, config)
    return _kept_table(config.embedded, chosen)


@lru_cache
def _kept_table(embedded: int, chosen: Any) -> np.ndarray:
    return kept(
        f"cells-node2vec-{digest(_VERSION, embedded, repr(chosen))}",
        (CELL_TOKENS, chosen.dimensions),
        lambda: embed(embedded, chosen),
    )


def embed(embedded: int, chosen: Node2VecConfig) -> Float[np.ndarray, "360 D"]:
    """node2vec's vectors of the tokens, from walks on ``embedded`` random cells."""
    sample = random_cells(jax.random.key(1), (embedded,))
    graphs = jax.jit(cell_graphs)(sample.reshape(-1, LENGTH))
    table = jax.jit(node2vec)(jax.random.key(0), graphs, chosen)
    return np.asarray(table)[:CELL_TOKENS]


def cell_vectors(
    table: Float[np.ndarray, "360 D"], genomes: Int[Array, "*n 2 5 4"]
) -> Float[Array, "*n D"]:
    """Vectors of cells, of length 1."""
    vectors = jnp.asarray(table)[cell_tokens(genomes)].mean(-2)
    length = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / jnp.maximum(length, 1e-12)
