"""The (1+1)-ES of task routing, steps 1 to 6 and selection (Liang 2018, 3.3.2).

Shape legend: ``T`` tasks, ``P = 2 T`` networks (of task ``t`` the champion ``2 t`` and
the challenger ``2 t + 1``), ``E`` edges. CTR evolves routings so, and CMTR in its inner
loop.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.genomes import routings
from evojax_mtl.genomes.routings import Routing
from evojax_mtl.networks.soft_merge import initial_scale

INDIVIDUAL = frozenset(("merge", "decoders", "heads"))
"""Weights that belong to one individual, with a leading axis ``P``."""


def _of_individuals(function: Callable[[Array], Array], tree: Any, tasks: int) -> Any:
    """``tree`` with the individuals' leaves changed, passed as ``(T, 2, ...)``."""

    def visit(path, leaf):
        names = {getattr(part, "key", None) for part in path}
        if not names & INDIVIDUAL:
            return leaf
        pairs = leaf.reshape(tasks, -1, *leaf.shape[1:])
        return function(pairs).reshape(leaf.shape)

    return jax.tree_util.tree_map_with_path(visit, tree)


def inherited(tree: Any, tasks: int) -> Any:
    """Weights or moments whose challengers are copies of the champions (step 1).

    Only what ``INDIVIDUAL`` names changes; modules are one set.
    """

    def copy(pairs):
        return jnp.broadcast_to(pairs[:, :1], pairs.shape)

    return _of_individuals(copy, tree, tasks)


def with_challengers(both: Any, challengers: Any) -> Any:
    """Leaves ``(T, 2, ...)`` with these challengers, ``(T, ...)``."""
    return jax.tree.map(lambda x, new: x.at[:, 1].set(new), both, challengers)


def challengers(
    key: Array,
    genome: Routing,
    scales: Float[Array, "T 2 E"],
    modules: int,
    alpha: Float[Array, ""] | float,
    mutations: Int[Array, ""] | int,
    pooled: np.ndarray | None = None,
) -> tuple[Routing, Float[Array, "T E"]]:
    """The champions' routings and scales with nodes added (steps 2 to 6).

    Args:
      key: randomness.
      genome: of all individuals, leaves ``(T, 2, ...)``.
      scales: of their soft merges; the challengers' are those inherited.
      modules: how many there are.
      alpha: weight of a new node in the merge it joins.
      mutations: nodes to add.
      pooled: see ``routings.add_node``.
    """
    champion = jax.tree.map(lambda x: x[:, 0], genome)
    keys = jax.random.split(key, scales.shape[0])
    mutate = partial(
        mutated, modules=modules, alpha=alpha, mutations=mutations, pooled=pooled
    )
    return jax.vmap(mutate)(keys, champion, scales[:, 1])


def mutated(
    key: Array,
    routing: Routing,
    scales: Float[Array, "E"],
    modules: int,
    alpha: Float[Array, ""] | float,
    mutations: Int[Array, ""] | int,
    pooled: np.ndarray | None = None,
) -> tuple[Routing, Float[Array, "E"]]:
    """One routing, and its scales, with nodes added; see ``challengers``."""

    def mutate(i, carry):
        routing, scales = carry
        grown, edge = routings.add_node(
            jax.random.fold_in(key, i), routing, modules, pooled
        )
        position = jnp.arange(scales.shape[0])
        into = (routing.target == grown.target[edge]) & (position < routing.edges)
        scale = initial_scale(scales, into, alpha)
        added = (edge >= 0) & (position == edge)
        scales = jnp.where(added, scale, scales)
        scales = jnp.where((edge >= 0) & (position == edge - 1), 0, scales)
        return grown, scales

    count = jnp.asarray(mutations, jnp.int32)
    return jax.lax.fori_loop(0, count, mutate, (routing, scales))


def _promote(wins: Bool[Array, "T"], pairs: Array) -> Array:
    better = jnp.stack([wins, jnp.zeros_like(wins)], axis=1)
    better = better.reshape(*better.shape, *[1] * (pairs.ndim - 2))
    return jnp.where(better, pairs[:, 1:], pairs)


def promoted(tree: Any, wins: Bool[Array, "T"]) -> Any:
    """Weights or moments after challengers that win became champions."""
    return _of_individuals(partial(_promote, wins), tree, wins.shape[0])


def promoted_genomes(genome: Any, wins: Bool[Array, "T"]) -> Any:
    """Leaves ``(T, 2, ...)`` after challengers that win became champions."""
    return jax.tree.map(partial(_promote, wins), genome)
