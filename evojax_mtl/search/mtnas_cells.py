"""MTNAS on cells: a population a task, and transfer by synflow when it pays.

Zhou 2023 as ``mtnas`` has it on tables, with supernets. A generation of ``cell_search``
in which each task, in generations after the first,

* evolves by itself with probability ``sigmoid(d + q - p)`` (``adaptive_transfer``):
  children by tournaments in its population, block-based crossover and mutation;
* else takes over from another task: of the architectures that improved another task's
  best, the one of the highest synflow that it did not take before; of it and those that
  differ from it in one integer, the ``N`` of the highest synflow that its population
  does not hold are its children. Where nothing is there to be taken, it evolves.

The best ``N`` of parents and children survive. An improvement is a generation whose
best individual, on the whole validation split, beats all before: it earns 1. q is
forgotten by a factor and grows by the task's own, p likewise by those of the others;
generation 0 earns nothing.

Where this differs from ``mtnas`` on tables, and no code of the authors' says how cells
are searched: all tasks have their turn in every generation, since every supernet trains
in each; selection is by fitness, as KTNAS and EMT-NAS have it on cells, so that they
compare; ``diversity`` is scaled down as genomes are longer and populations larger, to
speak in a random population as on NAS-Bench-201.

Shape legend: ``T`` tasks, ``N`` individuals of a population, ``Q`` improvements that
are kept to be transferred.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.cell_synflow import Body, log_synflow
from evojax_mtl.evolution import multifactorial, tournaments
from evojax_mtl.evolution.adaptive_transfer import alone
from evojax_mtl.genomes.cells import neighbours
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.cell_search import WORST, CellSearch


class MTNASCellOwn(Pytree):
    """What MTNAS remembers.

    Attributes:
      improvements: the last genomes that improved each task's best.
      flow: their synflow; minus infinity where there is none.
      used: which of them each task, the first axis, has taken.
      own: q, what each task earned, with forgetting.
      others: p, what the other tasks earned, with forgetting.
      taken: whether each task transferred in this generation.
      transfers: of each task so far.
    """

    improvements: Int[Array, "T Q 2 5 4"]
    flow: Float[Array, "T Q"]
    used: Bool[Array, "T T Q"]
    own: Float[Array, "T"]
    others: Float[Array, "T"]
    taken: Bool[Array, "T"]
    transfers: Int[Array, "T"]


class MTNASCells(CellSearch):
    """The search protocol for MTNAS on cells."""

    method = "mtnas"
    least_tasks = 2

    def __init__(self, config, data, mesh=None):
        """Reads the shapes; raises ``UserError`` as ``CellSearch``."""
        super().__init__(config, data, mesh)
        self.body = Body(
            config.channels, config.repeats, self.image_shape, max(self.classes)
        )

    def begin(self, key):
        """Nothing improved yet."""
        tasks, kept = self.tasks, self.config.kept
        nothing = jnp.zeros(tasks)
        return MTNASCellOwn(
            improvements=jnp.zeros((tasks, kept, 2, 5, 4), jnp.int32),
            flow=jnp.full((tasks, kept), -jnp.inf, jnp.float32),
            used=jnp.zeros((tasks, tasks, kept), bool),
            own=nothing,
            others=nothing,
            taken=jnp.zeros(tasks, bool),
            transfers=jnp.zeros(tasks, jnp.int32),
        )

    def propose(self, key, hyperparameters, state):
        """Children, but for generation 0."""
        config, h, own = self.config, hyperparameters, state.own
        mate_key, breed_key, choice_key = jax.random.split(key, 3)
        size, chance = config.tournament, h["crossover"]
        mating = tournaments.mate(
            mate_key, state.fitness, config.population, size, chance
        )
        children = multifactorial.breed(
            breed_key,
            state.parents,
            mating,
            1.0,
            h["mutation"],
            step=config.mutation_kind == "step",
        )
        codes = state.parents.reshape(self.tasks, config.population, -1)
        evolves = jax.random.uniform(choice_key, (self.tasks,)) < jax.vmap(
            alone, (0, 0, 0, None)
        )(own.own, own.others, codes, h["diversity"])
        # what others offer: neither one's own nor what was taken
        offered = jnp.where(own.used, -jnp.inf, own.flow)
        mine = jnp.eye(self.tasks, dtype=bool)[..., None]
        offered = jnp.where(mine, -jnp.inf, offered).reshape(self.tasks, -1)
        taken = ~evolves & (state.generation > 0) & (jnp.max(offered, 1) > -jnp.inf)
        source = jnp.argmax(offered, axis=1)

        def take(task, candidates):
            shape = own.improvements.shape[2:]
            genome = own.improvements.reshape(-1, *shape)[source[task]]
            found = jax.lax.cond(
                taken[task],
                lambda: self.nearby(genome, state.parents[task]),
                lambda: candidates[task],
            )
            return candidates.at[task].set(found)

        candidates = jnp.where(state.generation == 0, state.parents, children)
        candidates = jax.lax.fori_loop(0, self.tasks, take, candidates)
        chosen = (jnp.arange(offered.shape[1]) == source[:, None]) & taken[:, None]
        return candidates, own.replace(
            used=own.used | chosen.reshape(own.used.shape),
            taken=taken,
            transfers=own.transfers + taken,
        )

    def nearby(
        self, genome: Int[Array, "2 5 4"], parents: Int[Array, "N 2 5 4"]
    ) -> Int[Array, "N 2 5 4"]:
        """The best by synflow of a genome and its neighbours, none of the parents."""
        near = jnp.concatenate([genome[None], neighbours(genome)])
        held = (near[:, None] == parents).all((2, 3, 4)).any(1)
        flow = jnp.where(held, -jnp.inf, log_synflow(near, self.body))
        return near[jax.lax.top_k(flow, len(parents))[1]]

    def select(self, hyperparameters, state, accuracy, finite):
        """The best of parents and children survive."""
        fitness = jnp.where(finite, accuracy, WORST)
        parents, fitness = jax.vmap(multifactorial.survive)(
            state.parents, state.fitness, state.candidates, fitness
        )
        return state.replace(parents=parents, fitness=fitness)

    def learn(self, hyperparameters, state, improved):
        """What improved is offered to the others, and earns."""
        own, keep = state.own, hyperparameters["forgetting"]
        best = state.parents[:, 0]
        reward = jnp.where(state.generation > 0, improved.astype(jnp.float32), 0)

        # one that went on improving is offered once
        there = (own.flow > -jnp.inf) & (own.improvements == best[:, None]).all(
            (2, 3, 4)
        )
        offers = improved & ~there.any(1)

        def push(old, new):
            moved = jnp.concatenate([new[:, None], old[:, :-1]], axis=1)
            chosen = offers.reshape(-1, *[1] * (old.ndim - 1))
            return jnp.where(chosen, moved, old)

        used = jnp.zeros((self.tasks, self.tasks), bool)
        return own.replace(
            improvements=push(own.improvements, best),
            flow=push(own.flow, log_synflow(best, self.body)),
            used=jax.vmap(push)(own.used, used),
            own=keep * own.own + reward,
            others=keep * own.others + jnp.sum(reward) - reward,
        )

    def measures(self, state):
        """Generations of transfer so far."""
        return {"transfers": state.own.transfers}
