"""What evolves points of the unit cube: NEAT without structure, or one of evosax's.

Shape legend: ``P`` individuals, ``F`` genes.

A strategy makes the first population, and of each population and its fitness the next.

* ``neat``: LEAF's search of hyperparameters alone (Liang 2019, 3.3): CoDeepNEAT whose
  graphs have one node and never another, so that what evolves is the table of the graph
  as a whole, with elites, crossover and mutation inside species.
* Any of evosax's that take a population of their own choice: those that sample a
  distribution begin in the middle of the cube with a deviation of 0.3 of its side,
  the others with a uniform sample. They may leave the cube, which ``Space.decode``
  clips. evosax minimises: it is given the negated fitness.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from evosax.algorithms import (
    algorithms,
    distribution_based_algorithms,
)
from jaxtyping import Array, Float

from evojax_mtl.errors import UserError, unknown
from evojax_mtl.evolution import neat
from evojax_mtl.evolution.neat.rates import Rates
from evojax_mtl.evolution.neat.reproduction import finite
from evojax_mtl.evolution.pareto import scores
from evojax_mtl.genomes.hyperparameters import NO_GENES, Space

Values = Float[Array, "P F"]
Fitness = Float[Array, "P"]

NAME = "neat"
_DEVIATION = 0.3
_NEVER = {
    "SV_CMA_ES": "it has several populations",
    "SV_Open_ES": "it has several populations",
    "PersistentES": "it is for problems that unroll over time",
    "NoiseReuseES": "it is for problems that unroll over time",
}


@runtime_checkable
class Strategy(Protocol):
    """How a population follows from the one before."""

    def init(self, key: Array, individuals: int) -> tuple[Any, Values]:
        """The strategy's state, and the first population."""
        ...

    def evolve(
        self,
        key: Array,
        rates: Rates,
        state: Any,
        values: Values,
        fitness: Fitness,
        secondary: Fitness | None,
        *,
        by_secondary: bool = False,
    ) -> tuple[Any, Values]:
        """The next state and population.

        Args:
          key: randomness.
          rates: NEAT's, traced.
          state: as ``init`` or this made it.
          values: the population that was scored.
          fitness: of each, greater is better; one that is not finite is the worst.
          secondary: a second objective, greater is better; None for one alone.
          by_secondary: whether it ranks the individuals within a Pareto front.
        """
        ...


@dataclass(frozen=True)
class NEATStrategy:
    """See the module.

    Attributes:
      config: of the graphs.
    """

    config: neat.NEAT

    def init(self, key: Array, individuals: int) -> tuple[Any, Values]:
        """See ``Strategy.init``."""
        population = neat.init(key, self.config, Rates(), individuals)
        return population, population.graphs.whole

    def evolve(
        self,
        key: Array,
        rates: Rates,
        state: Any,
        values: Values,
        fitness: Fitness,
        secondary: Fitness | None,
        *,
        by_secondary: bool = False,
    ) -> tuple[Any, Values]:
        """See ``Strategy.evolve``; with two objectives species rank by Algorithm 2."""
        score = None
        if secondary is not None:
            species = state.species
            score = scores(fitness, secondary, species, by_secondary=by_secondary)
        population, _ = neat.evolve(key, self.config, rates, state, fitness, score)
        return population, population.graphs.whole


@dataclass(frozen=True)
class EvosaxStrategy:
    """See the module.

    Attributes:
      algorithm: of evosax.
      params: its own.
      samples: whether it samples a distribution.
      genes: F.
    """

    algorithm: Any
    params: Any
    samples: bool
    genes: int

    def init(self, key: Array, individuals: int) -> tuple[Any, Values]:
        """See ``Strategy.init``."""
        init_key, ask_key = jax.random.split(key)
        if self.samples:
            middle = jnp.full(self.genes, 0.5)
            state = self.algorithm.init(init_key, middle, self.params)
            values, state = self.algorithm.ask(ask_key, state, self.params)
            return state, values
        values = jax.random.uniform(ask_key, (individuals, self.genes))
        # worse than any fitness that ``evolve`` is told, so that this one counts
        worst = jnp.full(individuals, 1e6)
        return self.algorithm.init(init_key, values, worst, self.params), values

    def evolve(
        self,
        key: Array,
        rates: Rates,
        state: Any,
        values: Values,
        fitness: Fitness,
        secondary: Fitness | None,
        *,
        by_secondary: bool = False,
    ) -> tuple[Any, Values]:
        """See ``Strategy.evolve``."""
        tell_key, ask_key = jax.random.split(key)
        cost = -finite(fitness)
        state, _ = self.algorithm.tell(tell_key, values, cost, state, self.params)
        values, state = self.algorithm.ask(ask_key, state, self.params)
        return state, values


def names() -> tuple[str, ...]:
    """The strategies there are."""
    return (NAME, *(name for name in algorithms if name not in _NEVER))


def find_strategy(
    name: str, space: Space, individuals: int, species: int, *, keep: bool = False
) -> Strategy:
    """The strategy of this name.

    Args:
      name: ``neat`` or one of evosax's.
      space: what the genes mean.
      individuals: population.
      species: that ``neat`` aims at.
      keep: whether ``neat`` keeps all that truncation leaves; see ``NEAT``.

    Raises:
      UserError: there is none of this name, it cannot evolve a table, or not with such
        a population.
    """
    if name == NAME:
        config = neat.NEAT(
            NO_GENES,
            space,
            nodes=3,
            edges=2,
            target=species,
            species=species + 1,
            elites=1,
            keep=keep,
        )
        return NEATStrategy(config)
    if name in _NEVER:
        raise UserError(f"--strategy: found {name}, which cannot serve: {_NEVER[name]}")
    if name not in algorithms:
        raise UserError(f"--strategy: {unknown(name, names())}")
    extra: dict[str, Any] = {}
    make: Any = algorithms[name]
    if name == "RandomSearch":
        extra["sampling_fn"] = lambda key: jax.random.uniform(key, (space.size,))
    try:
        algorithm = make(
            population_size=individuals, solution=jnp.zeros(space.size), **extra
        )
    except (ValueError, AssertionError) as error:
        reason = " ".join(str(error).split()) or "refused by evosax"
        raise UserError(
            f"--strategy: found {name} with a population of {individuals}: {reason}"
        ) from None
    params = algorithm.default_params
    if hasattr(params, "std_init"):
        params = params.replace(std_init=_DEVIATION)
    samples = name in distribution_based_algorithms
    return EvosaxStrategy(algorithm, params, samples, space.size)
