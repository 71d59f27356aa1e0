"""Frozen dataclasses that are JAX pytrees."""

from typing import Any

from flax import struct


class Pytree(struct.PyTreeNode):
    """Base of frozen dataclasses whose fields are a pytree's children.

    JAX rebuilds pytrees with placeholders in their leaves, so the run-time type checks
    of the tests leave the constructor alone.
    """

    __no_type_check__ = True


def static(**kwargs: Any) -> Any:
    """A field that is part of the structure, not of the data."""
    return struct.field(pytree_node=False, **kwargs)
