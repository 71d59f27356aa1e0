"""Frozen dataclasses that are JAX pytrees."""

from typing import Any, TypeVar, dataclass_transform

from flax import struct

T = TypeVar("T")


def static(**kwargs: Any) -> Any:
    """A field that is part of the structure, not of the data."""
    return struct.field(pytree_node=False, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def pytree(cls: type[T]) -> type[T]:
    """``flax.struct.dataclass`` whose constructor takes whatever JAX puts in leaves.

    JAX rebuilds pytrees with placeholders, so the run-time type checks of the tests
    must leave the constructor alone.
    """
    cls = struct.dataclass(cls)
    cls.__no_type_check__ = True  # type: ignore[attr-defined]
    return cls
