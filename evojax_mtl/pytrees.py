"""Frozen dataclasses that are JAX pytrees."""

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar, dataclass_transform

import jax

_STATIC = "pytree_static"
_Self = TypeVar("_Self", bound="Pytree")


def static(**kwargs: Any) -> Any:
    """A field that is part of the structure, not of the data."""
    return dataclasses.field(metadata={_STATIC: True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
class Pytree:
    """Base of frozen dataclasses whose fields are a pytree's children.

    Each class is a node type of its own, whose structures equal those of no other.
    (``jax.tree_util.register_dataclass``, and so ``flax.struct``, takes two classes
    with equal fields for one structure: a program compiled for the one may be run for
    the other.)

    JAX rebuilds pytrees with placeholders in their leaves, so the run-time type checks
    of the tests leave the constructor alone.
    """

    __no_type_check__ = True

    def __init_subclass__(cls) -> None:
        """Makes the class a dataclass, and known to JAX."""
        super().__init_subclass__()
        made: Any = dataclasses.dataclass(frozen=True)(cls)
        fields: tuple[list[str], list[str]] = [], []
        for field in dataclasses.fields(made):
            fields[field.metadata.get(_STATIC, False)].append(field.name)
        data, structure = fields

        def values(node: Any, names: Iterable[str]) -> tuple[Any, ...]:
            return tuple(getattr(node, name) for name in names)

        def flatten(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            return values(node, data), values(node, structure)

        keys = [jax.tree_util.GetAttrKey(name) for name in data]

        def flatten_with_keys(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            children, rest = flatten(node)
            return tuple(zip(keys, children, strict=True)), rest

        def unflatten(rest: tuple[Any, ...], children: Iterable[Any]) -> Any:
            named = zip(data, children, strict=True)
            return cls(**dict(named), **dict(zip(structure, rest, strict=True)))

        jax.tree_util.register_pytree_with_keys(
            cls, flatten_with_keys, unflatten, flatten
        )

    def replace(self: _Self, **changes: Any) -> _Self:
        """The same with other values of some fields."""
        node: Any = self
        return dataclasses.replace(node, **changes)
