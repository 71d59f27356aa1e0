"""Which weights the tasks share, and which of them are weighed together."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jaxtyping import Array

from evojax_mtl.errors import UserError

Path = tuple[str, ...]
"""The keys that lead to a leaf."""

Grouping = Literal["model", "layer", "leaf"] | Callable[[Path], Hashable]
"""The whole model, each layer (the leaves of one parent), each leaf, or those leaves
together of which a function says the same."""


@dataclass(frozen=True)
class Split:
    """The leaves of some weights, sorted.

    Attributes:
      mask: whether the tasks share each leaf, in the tree's order.
      groups: positions, among the shared leaves, of each group's.
    """

    mask: tuple[bool, ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def owned(self) -> bool:
        """Whether any leaf is not shared."""
        return not all(self.mask)

    def shared(self, tree: Any) -> list[Any]:
        """The shared leaves of a tree like the weights."""
        leaves = jax.tree.leaves(tree)
        return [x for x, mine in zip(leaves, self.mask, strict=True) if mine]

    def take(self, leaves: Sequence[Any]) -> list[list[Any]]:
        """Shared leaves, group by group."""
        return [[leaves[i] for i in group] for group in self.groups]

    def put(self, grouped: Sequence[Sequence[Array]]) -> list[Array]:
        """Undoes ``take``."""
        pairs = zip(self.groups, grouped, strict=True)
        flat = {
            i: leaf
            for places, group in pairs
            for i, leaf in zip(places, group, strict=True)
        }
        return [flat[i] for i in range(len(flat))]

    def merge(self, shared: Sequence[Array], tree: Any) -> Any:
        """``tree`` with other shared leaves, of the types of ``tree``'s."""
        leaves, structure = jax.tree.flatten(tree)
        rest = iter(shared)
        merged = [
            next(rest).astype(leaf.dtype) if mine else leaf
            for leaf, mine in zip(leaves, self.mask, strict=True)
        ]
        return jax.tree.unflatten(structure, merged)


def split(
    params: Any, grouping: Grouping, shared: Callable[[Path], bool] | None
) -> Split:
    """Sorts the leaves of ``params``.

    Args:
      params: weights, or their shapes.
      grouping: what makes a group.
      shared: tells of a leaf's keys whether the tasks share it; all do where None.
    """
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    paths = [tuple(_name(key) for key in path) for path, _ in leaves]
    mask = tuple(True if shared is None else bool(shared(path)) for path in paths)
    if not any(mask):
        raise UserError("weights: the tasks share none, must be at least one")
    groups: dict[Hashable, list[int]] = {}
    mine = [path for path, is_mine in zip(paths, mask, strict=True) if is_mine]
    for i, path in enumerate(mine):
        groups.setdefault(_group(grouping, path), []).append(i)
    return Split(mask, tuple(map(tuple, groups.values())))


def _group(grouping: Grouping, path: Path) -> Hashable:
    if callable(grouping):
        return grouping(path)
    return path[: {"model": 0, "layer": -1, "leaf": None}[grouping]]


def _name(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
