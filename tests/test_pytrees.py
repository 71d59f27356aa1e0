"""Frozen dataclasses as pytrees."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from evojax_mtl.pytrees import Pytree, static


class Double(Pytree):
    """Times two."""

    value: jax.Array
    power: int = static(default=1)

    def apply(self):
        return (2 * self.value) ** self.power


class Triple(Pytree):
    """The same fields and another method."""

    value: jax.Array
    power: int = static(default=1)

    def apply(self):
        return (3 * self.value) ** self.power


class Longer(Double):
    """A field more than its base."""

    offset: float = 0.5


def test_classes_with_equal_fields_have_structures_of_their_own():
    structures = [jax.tree.structure(kind(0)) for kind in (Double, Triple, Longer)]
    assert structures[0] == jax.tree.structure(Double(1))
    assert structures[0] != structures[1]
    # jit finds its programs by the structures of the arguments, nested or not
    nested = [jax.tree.structure({"a": [kind(0)]}) for kind in (Double, Triple)]
    assert nested[0] != nested[1]
    assert len({*structures, *nested}) == 5


def test_a_program_for_one_class_never_serves_another():
    programs = []

    @jax.jit
    def apply(node):
        programs.append(type(node))
        return node.apply()

    one = jnp.float32(1)
    for _ in range(2):
        assert apply(Double(one)) == 2
        assert apply(Triple(one)) == 3
    assert programs == [Double, Triple]
    with pytest.raises(ValueError, match="different types"):
        jax.tree.map(jnp.add, Double(one), Triple(one))


def test_static_fields_are_structure_and_the_rest_data():
    node = Double(jnp.float32(2), power=3)
    assert jax.tree.leaves(node) == [2]
    assert jax.tree.structure(node) != jax.tree.structure(node.replace(power=2))
    assert jax.jit(Double.apply)(node) == 64
    grown = jax.tree.map(lambda x: x + 1, node)
    assert (type(grown), grown.value, grown.power) == (Double, 3, 3)
    # checkpoints name their arrays so
    ((path, _),) = jax.tree.leaves_with_path({"a": node})
    assert jax.tree_util.keystr(path) == "['a'].value"


def test_derived_classes_have_the_fields_of_their_base():
    node = Longer(jnp.float32(1), power=2)
    assert [field.name for field in dataclasses.fields(node)] == [
        "value",
        "power",
        "offset",
    ]
    assert jax.tree.leaves(node) == [1, 0.5]
    assert jax.tree.map(lambda x: x, node) == node


def test_they_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Double(0).value = 1
