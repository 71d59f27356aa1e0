"""Hyperparameter tables: named genes with ranges, as points of the unit cube.

Shape legend: ``F`` genes, ``...`` any leading axes (individuals, nodes).

A value is a number in [0, 1] a gene, so that mutation, distance, crossover and every
continuous strategy (evosax) treat all tables alike; ``Space.decode`` turns it into what
it stands for. Numbers outside [0, 1] count as the nearest inside, so that a strategy
may search all of space. A discrete gene with n options cuts [0, 1] into n equal parts.

Mutation (Liang 2019, 3.1): Gaussian on numbers, with a deviation in parts of the range
and clipped to it; a flag flips; a choice takes one of its other options.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.errors import UserError


@dataclass(frozen=True)
class _Range:
    """What numbers have in common; see ``Real``."""

    name: str
    low: float | int
    high: float | int
    scale: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        """Checks the range."""
        found = f"from {self.low} to {self.high}"
        if self.low > self.high:
            raise UserError(
                f"{self.name}: found a range {found}, low must not be above high"
            )
        if self.scale == "log" and self.low <= 0:
            raise UserError(
                f"{self.name}: found a logarithmic range {found}, must begin above 0"
            )

    @property
    def parts(self) -> int:
        """0: not discrete."""
        return 0


@dataclass(frozen=True)
class Real(_Range):
    """A number from ``low`` to ``high``, both included.

    Attributes:
      name: of the gene.
      low: smallest value.
      high: largest value.
      scale: whether equal steps of the gene add or multiply.

    Raises:
      UserError: if the range is empty, or a logarithmic one does not begin above 0.
    """

    def decode(self, unit: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The number."""
        if self.scale == "log":
            return self.low * (self.high / self.low) ** unit
        return self.low + (self.high - self.low) * unit

    def encode(self, value: float | int) -> float:
        """The point of the unit interval that stands for ``value``."""
        if self.low == self.high:
            return 0.5
        if self.scale == "log":
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Integer(_Range):
    """A whole number of the range of a ``Real``, and mutates as one."""

    def decode(self, unit: Float[Array, "*n"]) -> Int[Array, "*n"]:
        """The number."""
        count = self.high - self.low + 1
        if self.scale == "log":
            found = jnp.floor(self.low * ((self.high + 1) / self.low) ** unit)
        else:
            found = self.low + jnp.floor(unit * count)
        return jnp.clip(found, self.low, self.high).astype(jnp.int32)

    def encode(self, value: Any) -> Any:
        """The middle of what stands for ``value``, a number or an array of NumPy."""
        count = self.high - self.low + 1
        if self.scale == "log":
            middle = np.log((value + 0.5) / self.low)
            return middle / np.log((self.high + 1) / self.low)
        return (value - self.low + 0.5) / count


@dataclass(frozen=True)
class Choice:
    """One of several options.

    Attributes:
      name: of the gene.
      options: what there is to choose from; a decoded value is an index into them.

    Raises:
      UserError: if there are none, or one is there twice.
    """

    name: str
    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Checks the options."""
        if not self.options:
            raise UserError(f"{self.name}: found no options, must have at least one")
        if len(set(self.options)) != len(self.options):
            raise UserError(f"{self.name}: found an option twice in {self.options}")

    @property
    def parts(self) -> int:
        """Options."""
        return len(self.options)

    def decode(self, unit: Float[Array, "*n"]) -> Int[Array, "*n"]:
        """The option's index."""
        return part(unit, len(self.options))

    def encode(self, value: Any) -> float:
        """The middle of what stands for the option ``value``."""
        return (self.options.index(value) + 0.5) / len(self.options)


@dataclass(frozen=True)
class Flag:
    """Yes or no.

    Attributes:
      name: of the gene.
    """

    name: str

    @property
    def parts(self) -> int:
        """Options: no and yes."""
        return 2

    def decode(self, unit: Float[Array, "*n"]) -> Array:
        """Whether yes, a Boolean."""
        return part(unit, 2) == 1

    def encode(self, value: bool) -> float:
        """The middle of what stands for ``value``."""
        return 0.75 if value else 0.25


Gene = Real | Integer | Choice | Flag


def part(unit: Array, count: Any) -> Int[Array, "*n"]:
    """Which of ``count`` equal parts of the unit interval a point lies in."""
    found = jnp.floor(unit * count)
    return jnp.clip(found, 0, count - 1).astype(jnp.int32)


@dataclass(frozen=True)
class Space:
    """A table of genes; without any it is the table of what has none to evolve.

    Attributes:
      genes: the table's columns.

    Raises:
      UserError: if two genes have one name.
    """

    genes: tuple[Gene, ...] = ()

    def __post_init__(self) -> None:
        """Checks the names."""
        names = [gene.name for gene in self.genes]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise UserError(f"search space: found the gene {twice[0]!r} twice")

    @property
    def size(self) -> int:
        """Genes, ``F``."""
        return len(self.genes)

    @property
    def parts(self) -> np.ndarray:
        """Options of each discrete gene, 0 for numbers, ``(F,)``."""
        return np.array([gene.parts for gene in self.genes], np.int32)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "*n F"]:
        """Uniform points of the cube."""
        return jax.random.uniform(key, (*shape, self.size))

    def decode(self, values: Float[Array, "*n F"]) -> dict[str, Array]:
        """What the genes stand for, by name."""
        unit = jnp.clip(values, 0, 1)
        return {g.name: g.decode(unit[..., f]) for f, g in enumerate(self.genes)}

    def encode(self, values: Mapping[str, Any]) -> np.ndarray:
        """A point that decodes to ``values``, which name every gene, ``(F,)``."""
        found = [gene.encode(values[gene.name]) for gene in self.genes]
        return np.array(found, np.float32).reshape(self.size)

    def mutate(
        self,
        key: Array,
        values: Float[Array, "*n F"],
        probability: Array | float | int,
        deviation: Array | float | int,
    ) -> Float[Array, "*n F"]:
        """Changes each gene with ``probability``; see the module.

        Args:
          key: randomness.
          values: points of the cube.
          probability: of every gene; broadcasts with ``values``.
          deviation: of the Gaussian (parts of a range).
        """
        change_key, value_key = jax.random.split(key)
        draws = jax.random.uniform(change_key, values.shape)
        change = draws < probability
        moved = values + deviation * jax.random.normal(value_key, values.shape)
        parts = jnp.asarray(self.parts)
        count = jnp.maximum(parts, 1)
        # over the probability the draws of those that change are uniform again
        again = draws / jnp.maximum(probability, jnp.finfo(draws.dtype).tiny)
        away = 1 + part(again, jnp.maximum(count - 1, 1))
        option = (part(values, count) + away) % count
        other = jnp.where(parts > 0, (option + 0.5) / count, jnp.clip(moved, 0, 1))
        return jnp.where(change, other, values)

    def levels(self, values: Float[Array, "*n F"]) -> Float[Array, "*n F"]:
        """What differences compare: numbers as they are, and options' indices."""
        parts = jnp.asarray(self.parts)
        return jnp.where(parts > 0, part(values, jnp.maximum(parts, 1)), values)

    def difference(
        self, a: Float[Array, "..."], b: Float[Array, "..."], axis: int = -1
    ) -> Float[Array, "..."]:
        """Sum over genes: distance of numbers in the cube, 1 for another option.

        Args:
          a: levels.
          b: levels; broadcasts with ``a``.
          axis: of the genes.
        """
        shape = [1] * max(a.ndim, b.ndim)
        shape[axis] = self.size
        discrete = jnp.asarray(self.parts > 0).reshape(shape)
        return jnp.where(discrete, a != b, jnp.abs(a - b)).sum(axis)


NO_GENES = Space()
"""The table of what has no genes."""
