"""KTNAS on cells: transfer chosen by transfer rank, supernets in the table's place.

Zhang 2024, Algorithms 1 to 4. A generation of ``cell_search`` in which, for each target
task,

1. the candidates of transfer, the other tasks' populations together, are ranked against
   HTS by the distance of their embeddings (``transfer_rank``, Algorithm 2;
   ``cell_embedding``), and M of them are the transfer population (Algorithm 3). HTS is
   empty in generation 0, and all ranks equal: then, and without transfer rank
   (``selection`` ``random``), they are random;
2. children are bred of population and transfer population: tournaments
   (``tournaments``), block-based crossover and mutation of the integers, as EMT-NAS;
3. population, transfer population and children are trained. In generation 0 the random
   population and those transferred to it are measured, later the children alone;
4. the best ``N`` of all that were ever measured survive;
5. those transferred are labelled by their children's ranks, a child of two being the
   child of each, and join HTS (Algorithm 1). In generation 0, where they have no
   children, by their own.

Where the paper leaves room: those transferred later are not measured (its Algorithm 4
measures the children alone) and so cannot survive. Fitness is the accuracy as measured,
as in the authors' code; EMT-NAS's re-evaluation is not mentioned. ``top`` is r of the
population, rounded up.

Shape legend: ``T`` tasks, ``N`` individuals of a population, ``M`` transferred to one,
``C = N + M`` candidates, ``G`` remembered generations, ``K`` candidates of transfer.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from evojax_mtl.evaluation.cell_embedding import cell_vectors, token_table
from evojax_mtl.evolution import multifactorial, tournaments
from evojax_mtl.evolution import transfer_rank as ranking
from evojax_mtl.evolution.transfer_rank import History
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.cell_search import WORST, CellSearch


class KTNASCellOwn(Pytree):
    """What KTNAS remembers.

    Attributes:
      parents: which transferred individuals each candidate is a child of, or
        ``tournaments.NEITHER``.
      history: HTS of each task.
      labels: of those transferred last, 1 or -1; 0 before there are any.
    """

    parents: Int[Array, "T C 2"]
    history: History
    labels: Int[Array, "T M"]


class KTNASCells(CellSearch):
    """The search protocol for KTNAS on cells."""

    method = "ktnas"
    least_tasks = 2

    def __init__(self, config, data, mesh=None):
        """Embeds the operations; raises ``UserError`` as ``CellSearch``."""
        super().__init__(config, data, mesh)
        self.first = config.transferred
        self.table = token_table(config)
        members = np.arange(self.tasks * config.population).reshape(self.tasks, -1)
        self.others = np.stack(
            [np.delete(members, t, axis=0).ravel() for t in range(self.tasks)]
        )

    def begin(self, key):
        """Nothing was transferred yet."""
        config = self.config
        shape = (self.tasks, config.population + self.first, 2)
        saved = max(config.saved_generations, config.saved_positives)
        history = ranking.no_history(saved, self.first, (2, 5, 4))
        return KTNASCellOwn(
            parents=jnp.full(shape, tournaments.NEITHER, jnp.int32),
            history=jax.tree.map(lambda x: jnp.stack([x] * self.tasks), history),
            labels=jnp.zeros((self.tasks, self.first), jnp.int32),
        )

    def transfer(
        self,
        key: Array,
        candidates: Int[Array, "K 2 5 4"],
        history: History,
    ) -> Int[Array, "M 2 5 4"]:
        """The transfer population of one task, Algorithms 2 and 3."""
        if self.config.selection == "random":
            rank = jnp.zeros(len(candidates), jnp.int32)
        else:
            remembered = history.rows.reshape(-1, *candidates.shape[1:])
            vectors = cell_vectors(self.table, candidates)
            distances = 1 - cell_vectors(self.table, remembered) @ vectors.T
            # equal ones stay equal, however the program is compiled
            distances = jnp.round(distances, 5)
            rank = ranking.transfer_rank(distances, history.labels.ravel())
        chance = jax.random.uniform(key, rank.shape)
        return candidates[ranking.select(chance, rank, self.first)]

    def propose(self, key, hyperparameters, state):
        """Children and those transferred; in generation 0 parents in their place."""
        config, h = self.config, hyperparameters
        transfer_key, mate_key, breed_key = jax.random.split(key, 3)
        everyone = state.parents.reshape(-1, *state.parents.shape[2:])
        transferred = jax.vmap(self.transfer)(
            jax.random.split(transfer_key, self.tasks),
            everyone[self.others],
            state.own.history,
        )
        known = jnp.full((self.tasks, self.first), jnp.inf)
        fitness = jnp.concatenate([state.fitness, known], axis=1)
        size, chance = config.tournament, h["crossover"]
        mating = tournaments.mate(mate_key, fitness, config.population, size, chance)
        children = multifactorial.breed(
            breed_key,
            jnp.concatenate([state.parents, transferred], axis=1),
            mating,
            1.0,
            h["mutation"],
            step=config.mutation_kind == "step",
        )
        width = config.population + self.first
        parents = tournaments.transferred_parents(mating, width, self.first)
        # in generation 0 those transferred stand for their children
        begun = jnp.full_like(parents, tournaments.NEITHER)
        start = state.generation == 0
        themselves = jnp.where(start, jnp.arange(self.first), tournaments.NEITHER)
        themselves = jnp.broadcast_to(themselves[:, None], (self.tasks, self.first, 2))
        own = state.own.replace(
            parents=jnp.concatenate(
                [jnp.where(start, begun, parents), themselves], axis=1
            )
        )
        first = jnp.where(start, state.parents, children)
        return jnp.concatenate([first, transferred], axis=1), own

    def select(self, hyperparameters, state, accuracy, finite):
        """Survival, and Algorithm 1."""
        config = self.config
        count = config.population
        top = ranking.top_size(hyperparameters["ranking_ratio"], count)
        measured = (state.generation == 0) | (jnp.arange(count + self.first) < count)
        # generation 0 measures the parents among the candidates
        known = jnp.broadcast_to(state.generation > 0, (count,))
        there = jnp.concatenate([known, measured])

        def survive(parents, fitness, candidates, found, origins, history):
            everyone = jnp.concatenate([parents, candidates])
            values = jnp.concatenate([fitness, found])
            order = multifactorial.order(everyone, values, there)
            ranks = jnp.argsort(order)[count:]
            good = ranking.positive(
                origins.ravel(), jnp.repeat(ranks, 2), self.first, top
            )
            labels = jnp.where(good, ranking.POSITIVE, ranking.NEGATIVE)
            history = ranking.update(
                history,
                candidates[count:],
                labels,
                config.saved_generations,
                config.saved_positives,
            )
            best = order[:count]
            return everyone[best], values[best], history, labels

        own = state.own
        parents, fitness, history, labels = jax.vmap(survive)(
            state.parents,
            state.fitness,
            state.candidates,
            jnp.where(finite, accuracy, WORST),
            own.parents,
            own.history,
        )
        own = own.replace(history=history, labels=labels)
        return state.replace(parents=parents, fitness=fitness, own=own)

    def measures(self, state):
        """How many of those transferred helped."""
        positive = state.own.labels == ranking.POSITIVE
        return {"positive_transfers": jnp.sum(positive, axis=1)}
