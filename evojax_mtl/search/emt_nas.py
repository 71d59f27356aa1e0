"""EMT-NAS: architectures that cross between tasks (Liao 2023, Fig. 3, 3.3 to 3.5).

Shape legend: ``T`` tasks, ``G`` populations (``T``, or 1 where tasks share), ``N``
individuals of a population.

A generation of ``cell_search`` in which

1. candidates are children by ``evolution.multifactorial``, in generation 0 the random
   parents themselves;
2. their fitness is re-evaluated (Eq. 2; not in generation 0, where there are no
   parents), then the best ``N`` of parents and children survive in each population.

``tasking``: with ``single`` each task is a population of its own; with ``joint`` there
is one supernet, a classifier a task, and with ``architectures`` ``shared`` also one
population, its fitness the mean over the tasks. With ``balancing`` a tick of training
is one step on a mini-batch and an individual of every task.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evojax_mtl.evolution import multifactorial
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.cell_search import WORST, CellSearch


class EMTNASOwn(Pytree):
    """What EMT-NAS remembers.

    Attributes:
      inherited: fitness of the parent that Eq. 2 takes for each candidate.
    """

    inherited: Float[Array, "G N"]


class EMTNAS(CellSearch):
    """The search protocol for EMT-NAS and its baselines."""

    method = "emt-nas"

    def sharing(self):
        """What ``tasking`` and ``architectures`` say."""
        own, one = np.arange(self.tasks), np.zeros(self.tasks, int)
        joint = self.config.tasking == "joint"
        shared = self.config.architectures == "shared"
        return one if joint else own, one if shared else own

    def balancing(self):
        """For joint tasking, which the config has checked."""
        return self.config.balancing

    def begin(self, key):
        """Nothing is inherited yet."""
        shape = (self.populations, self.config.population)
        return EMTNASOwn(inherited=jnp.full(shape, WORST, jnp.float32))

    def propose(self, key, hyperparameters, state):
        """Children, but for generation 0."""
        h = hyperparameters
        mate_key, breed_key = jax.random.split(key)
        if self.config.tasking == "single":
            mating = multifactorial.mate_within(mate_key, state.fitness)
        else:
            chance = h["random_mating"]
            mating = multifactorial.mate(mate_key, state.fitness, chance)
        children = multifactorial.breed(
            breed_key,
            state.parents,
            mating,
            h["crossover"],
            h["mutation"],
            step=self.config.mutation_kind == "step",
        )
        candidates = jnp.where(state.generation == 0, state.parents, children)
        return candidates, EMTNASOwn(inherited=state.fitness.ravel()[mating.mapped])

    def select(self, hyperparameters, state, accuracy, finite):
        """Re-evaluation and survival."""
        if self.populations < self.tasks:
            accuracy = jnp.mean(accuracy, axis=0, keepdims=True)
            finite = jnp.all(finite, axis=0, keepdims=True)
        fitness = accuracy
        if self.config.reevaluation == "on":
            smooth = multifactorial.reevaluate(
                accuracy,
                jnp.maximum(state.own.inherited, 0),
                state.generation + 1,
                self.config.generations,
            )
            fitness = jnp.where(state.generation == 0, accuracy, smooth)
        # last: Eq. 2 would lift what is not finite towards its parent
        fitness = jnp.where(finite, fitness, WORST)
        parents, fitness = jax.vmap(multifactorial.survive)(
            state.parents, state.fitness, state.candidates, fitness
        )
        return state.replace(parents=parents, fitness=fitness)
