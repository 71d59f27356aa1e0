"""Embeddings of a space's architectures, from their graphs alone, kept on disk."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.array_cache import digest, kept
from evojax_mtl.evolution import arch2vec, cate, node2vec
from evojax_mtl.evolution.arch2vec import Arch2VecConfig
from evojax_mtl.evolution.cate import CATEConfig
from evojax_mtl.evolution.node2vec import Node2VecConfig
from evojax_mtl.genomes.operation_graphs import (
    OperationGraphs,
    nasbench201_graphs,
    transnasbench101_graphs,
)
from evojax_mtl.tasks import nasbench201, transnasbench101
from evojax_mtl.tasks.tabular import Space, TableTask

_VERSION = 2
"""To be raised by whoever changes what an embedding computes."""

Choices = Node2VecConfig | Arch2VecConfig | CATEConfig


def vectors(embedding: str, tasks: Sequence[TableTask], config: Any) -> np.ndarray:
    """Embeddings of the architectures, ``(A, D)``.

    Args:
      embedding: ``node2vec``, ``arch2vec``, ``cate``, or ``one-hot``, a place for each
        gene and value: the distance of two architectures is then the share of genes in
        which they differ.
      tasks: tables over one space.
      config: has the fields of embeddings that ``KTNASConfig`` has.
    """
    space = tasks[0].space
    if embedding == "one-hot":
        parts = [
            np.eye(count)[space.genes[:, place]]
            for place, count in enumerate(space.choices)
        ]
        return np.concatenate(parts, axis=1)
    chosen = choices(embedding, config)
    facts = [_VERSION, space.name, len(trained_on(space, config)), repr(chosen)]
    if embedding == "cate":
        facts.append(digest(tasks[0].multiply_adds.tolist()))
    return kept(
        f"{embedding}-{digest(*facts)}",
        (len(space), chosen.dimensions),
        lambda: embed(embedding, tasks, config),
    )


def choices(embedding: str, config: Any) -> Choices:
    """The embedding's own config."""
    own = {} if config.dimensions is None else {"dimensions": config.dimensions}
    if embedding == "arch2vec":
        return Arch2VecConfig(**own)
    if embedding == "cate":
        return CATEConfig(**own)
    return Node2VecConfig(
        walk_length=config.walk_length,
        walks=config.walks,
        window=config.window,
        p=config.return_parameter,
        q=config.in_out_parameter,
        **own,
    )


def trained_on(space: Space, config: Any) -> np.ndarray:
    """Rows of the architectures that the embedding is trained on."""
    order = np.random.default_rng(0).permutation(len(space))
    return np.sort(order[: config.embedded])


def embed(embedding: str, tasks: Sequence[TableTask], config: Any) -> np.ndarray:
    """Vectors of the architectures, ``(A, D)``, computed anew.

    Raises:
      UserError: the space's architectures are no graphs of operations.
    """
    space, chosen = tasks[0].space, choices(embedding, config)
    graphs = graphs_of(space, f"--embedding: found {embedding}, must be one-hot")
    everyone = graphs(jnp.asarray(space.genes))
    rows = trained_on(space, config)
    own = jax.tree.map(lambda leaf: leaf[rows], everyone)
    key = jax.random.key(0)
    match chosen:
        case Node2VecConfig():
            table = jax.jit(node2vec.node2vec)(key, own, chosen)
            found = node2vec.architecture_vectors(everyone, table)
        case Arch2VecConfig():
            params = jax.jit(arch2vec.arch2vec)(key, own, chosen)
            found = jax.jit(arch2vec.architecture_vectors)(everyone, params, chosen)
        case CATEConfig():
            cost = jnp.asarray(tasks[0].multiply_adds[rows], jnp.float32)
            params = jax.jit(cate.cate)(key, own, cost, chosen)
            found = jax.jit(cate.architecture_vectors)(everyone, params, chosen)
    return np.asarray(found)


def graphs_of(space: Space, found: str) -> Callable[..., OperationGraphs]:
    """What makes operation graphs of genes.

    Args:
      space: of the architectures.
      found: begins the error's line.

    Raises:
      UserError: the space's architectures are no graphs of operations.
    """
    makers = {
        nasbench201.OPERATIONS: nasbench201_graphs,
        transnasbench101.OPERATIONS: transnasbench101_graphs,
    }
    if space.operations not in makers:
        raise UserError(
            f"{found} on {space.name}, whose networks are no graphs of operations"
        )
    return makers[space.operations]
