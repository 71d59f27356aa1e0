"""What changes in a search that assembles networks from modules.

Shape legend: ``J`` networks of a generation, ``S`` species there is room for, ``H``
finalists, ``T`` tasks, ``R`` resolutions.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.training import Tally
from evojax_mtl.evolution.front import Front
from evojax_mtl.evolution.neat import Population
from evojax_mtl.pytrees import Pytree, static
from evojax_mtl.search.codeepneat_turns import Turn

NONE = -1.0
"""Fitness where there is no network yet, below any accuracy."""


class Assembled(Pytree):
    """The networks of a generation and what they are made of.

    Attributes:
      network: the networks, or where routings evolve as they train, sets of modules.
      chosen: one module of each species.
      uses: the species whose modules are in the network.
      table: the blueprint, or the table of global hyperparameters.
      fitness: mean over the tasks, as measured; 0 before.
      cost: what is to be small besides; 0 where nothing is.
      needs: rows of each resolution, and weights, that the networks need at most.
    """

    network: Any
    chosen: Int[Array, "J S"]
    uses: Bool[Array, "J S"]
    table: Int[Array, "J"]
    fitness: Float[Array, "J"]
    cost: Float[Array, "J"]
    needs: Int[Array, "R+1"]


class Finalists(Pytree):
    """The best networks of the whole search.

    Attributes:
      network: untrained.
      fitness: when it was measured; below 0 where there is none.
    """

    network: Any
    fitness: Float[Array, "H"]

    def entered(self, network: Any, fitness: Float[Array, ""]) -> "Finalists":
        """With ``network`` among them if it is better than the worst.

        One that is there already keeps its place and the better of its fitnesses.
        """
        same = self.fitness > NONE
        pairs = jax.tree.leaves(self.network), jax.tree.leaves(network)
        for many, one in zip(*pairs, strict=True):
            same &= (many == one).reshape(same.shape[0], -1).all(1)
        at = jnp.where(same.any(), jnp.argmax(same), jnp.argmin(self.fitness))
        place = jnp.where(fitness > self.fitness[at], at, same.shape[0])

        def put(many, one):
            return many.at[place].set(one, mode="drop")

        networks = jax.tree.map(put, self.network, network)
        return Finalists(networks, put(self.fitness, fitness))


class Found(Pytree):
    """The best trained network so far.

    Attributes:
      params: its weights.
      network: what they belong to.
      fitness: of each task.
      routing: of each task; None where all have one, the network's.
    """

    params: Any
    network: Any
    fitness: Float[Array, "T"]
    routing: Any = None


class Measured(Pytree):
    """What one lane's bout came to.

    Attributes:
      network: that was trained.
      fitness: of each task.
      mean: over the tasks.
      sound: whether it counts.
      cost: what is to be small besides.
      turn: whose it was.
    """

    network: Any
    fitness: Float[Array, "T"]
    mean: Float[Array, ""]
    sound: Bool[Array, ""]
    cost: Float[Array, ""]
    turn: Turn


OF_LANES = frozenset(("network", "params", "optimizer", "tally", "routing"))
"""Fields that belong to one network in training; each lane has its own."""


class CoDeepNEATState(Pytree):
    """Everything that changes.

    On several devices the fields of ``OF_LANES`` have a first axis, the lanes.

    Attributes:
      key: of the whole search; each use folds in generation and tick.
      generation: completed generations.
      modules: the population of modules.
      tables: of blueprints, or of global hyperparameters.
      assembled: this generation's networks.
      network: the one that is trained.
      params: its weights.
      optimizer: its optimiser's state.
      tally: sums over its training and validation.
      evolved: what the last reproduction went through: metrics.
      tallied: sums over the generation's networks so far, as the metrics name them.
      champion: fitness of the generation's best network so far, each task.
      finalists: the best of the whole search.
      best: the best trained network.
      front: the networks of the whole search that no other dominates; None where there
        is one objective alone.
      progress: generation of the last progress, from 1.
      final: generation in which the final training began early; a large number
        before.
      rows: rows of each resolution there is room for.
      weights: weights of kernels there is room for.
      routing: of each task and individual, ``(T, I, ...)``; None where all have one.
    """

    key: Array
    generation: Int[Array, ""]
    modules: Population
    tables: Population
    assembled: Assembled
    network: Any
    params: Any
    optimizer: Any
    tally: Tally
    evolved: dict[str, Array]
    tallied: dict[str, Array]
    champion: Float[Array, "T"]
    finalists: Finalists
    best: Found
    front: Front | None
    progress: Int[Array, ""]
    final: Int[Array, ""]
    rows: tuple[int, ...] = static()
    weights: int = static()
    routing: Any = None
