"""MTNAS on tables (Zhou 2023): it learns when to transfer; a proxy says what and where.

As the authors' code does it on NAS-Bench-201. The tasks take turns. Each first fills
its pool with random architectures. After that, in its turn, a task evolves by itself
with probability ``sigmoid(d + q - p)``, else it takes over from another task:

* self-evolution: ``turn`` evaluations of regularised evolution, as ``rea``;
* transfer: of the architectures that improved another task's best, the one of the
  highest proxy here that was not taken before; of it and its one-edit neighbours that
  were not evaluated here, the ``turn`` of the highest proxy are evaluated. Each joins
  the pool, and the oldest leaves.

q is forgotten by a factor and grows by the task's own improvements, p likewise by those
of the others since its last turn; ``d`` grows with the differences in the pool:
``diversity`` times the sum of pairwise Hamming distances, less that of a pool in which
all pairs differ in one gene.

A generation is one evaluation of the task in turn. Where nothing is there to be
transferred, the turn is one of self-evolution. Tasks that have found their target are
passed over.

Shape legend: ``T`` tasks, ``N`` architectures of a pool, ``Q`` improvements that are
kept to be transferred, ``K`` neighbours.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.tabular import NOTHING, finished
from evojax_mtl.evolution.adaptive_transfer import alone
from evojax_mtl.evolution.tabular import best_of
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.rea import Pool, mutants, no_pool
from evojax_mtl.search.tabular import TableSearch


class MTNASOwn(Pytree):
    """What MTNAS remembers.

    Attributes:
      pool: of each task.
      filled: evaluations that went into each pool.
      improvements: the last architectures that improved each task's best.
      used: which of all architectures were transferred to each task.
      own: q, what self-evolution and transfer earned, with forgetting.
      others: p, what the other tasks earned, with forgetting.
      earned: improvements of each task since it began.
      told: of those, how many each task has accounted for at its last turn.
      turn: the task whose turn it is.
      left: evaluations left in the turn.
      source: architecture that is transferred in this turn, or ``NOTHING``.
      transfers: turns of transfer so far.
    """

    pool: Pool
    filled: Int[Array, "T"]
    improvements: Int[Array, "T Q"]
    used: Bool[Array, "T A"]
    own: Float[Array, "T"]
    others: Float[Array, "T"]
    earned: Int[Array, "T"]
    told: Int[Array, "T T"]
    turn: Int[Array, ""]
    left: Int[Array, ""]
    source: Int[Array, ""]
    transfers: Int[Array, "T"]


class MTNAS(TableSearch):
    """The search protocol for MTNAS on tables."""

    method = "mtnas"
    least_tasks = 2

    def begin(self, key, hyperparameters, data):
        """Empty pools; the first task's turn."""
        tasks = self.tasks
        nothing = jnp.zeros(tasks, jnp.int32)
        return MTNASOwn(
            pool=no_pool(tasks, self.config.population),
            filled=nothing,
            improvements=jnp.full((tasks, self.config.kept), NOTHING, jnp.int32),
            used=jnp.zeros((tasks, self.architectures), bool),
            own=jnp.zeros(tasks, jnp.float32),
            others=jnp.zeros(tasks, jnp.float32),
            earned=nothing,
            told=jnp.zeros((tasks, tasks), jnp.int32),
            turn=jnp.zeros((), jnp.int32),
            left=jnp.asarray(self.config.population, jnp.int32),
            source=jnp.asarray(NOTHING, jnp.int32),
            transfers=nothing,
        )

    def propose(self, key, state, hyperparameters, data):
        """One architecture of the task in turn."""
        begin_key, random_key, child_key, tie_key = jax.random.split(key, 4)
        own = jax.lax.cond(
            state.own.left > 0,
            lambda own: own,
            lambda own: self._next_turn(begin_key, own, state, hyperparameters, data),
            state.own,
        )
        t = own.turn
        seen = state.archive.seen
        child = mutants(child_key, own.pool, seen, data, self.config.tournament)[t]
        random = jax.random.randint(random_key, (), 0, self.architectures)
        near = jnp.concatenate([own.source[None], data.neighbours[own.source]])
        free = (near >= 0) & ~seen.task(t)[near] & (own.source != NOTHING)
        chance = jax.random.uniform(tie_key)
        screened = near[best_of(chance, data.proxy[t, near], free)]
        row = jnp.where(
            own.filled[t] < self.config.population,
            random,
            jnp.where(jnp.any(free), screened, child),
        )
        rows = jnp.where(jnp.arange(self.tasks) == t, row, NOTHING)
        return rows[:, None], own

    def _next_turn(self, key, own, state, hyperparameters, data):
        """Whose turn is next, and what the task does in it."""
        choice_key, tie_key = jax.random.split(key)
        tasks = jnp.arange(self.tasks)
        waiting = ~finished(state.archive, data)
        after = (own.turn + 1 + tasks) % self.tasks
        t = after[jnp.argmax(waiting[after])]
        # what was earned since this task's last turn, by itself and by the others
        news = own.earned - own.told[t]
        keep = hyperparameters["forgetting"]
        gained = jnp.sum(jnp.where(tasks == t, 0, news))
        q = keep * own.own[t] + news[t]
        p = keep * own.others[t] + gained
        genes = data.genes[own.pool.rows[t]]
        chance = alone(q, p, genes, hyperparameters["diversity"])
        evolves = jax.random.uniform(choice_key) < chance
        offered = jnp.where((tasks == t)[:, None], NOTHING, own.improvements).ravel()
        free = (offered != NOTHING) & ~own.used[t, offered]
        chance = jax.random.uniform(tie_key)
        found = offered[best_of(chance, data.proxy[t, offered], free)]
        full = own.filled[t] >= self.config.population
        transfer = full & ~evolves & jnp.any(free)
        source = jnp.where(transfer, found, NOTHING)
        place = jnp.where(transfer, found, self.architectures)
        return own.replace(
            own=own.own.at[t].set(jnp.where(full, q, own.own[t])),
            others=own.others.at[t].set(jnp.where(full, p, own.others[t])),
            told=own.told.at[t].set(own.earned),
            used=own.used.at[t, place].set(True, mode="drop"),
            turn=t.astype(jnp.int32),
            left=jnp.where(full, self.config.turn, self.config.population),
            source=source,
            transfers=own.transfers.at[t].add(transfer),
        )

    def select(self, key, state, fitness, hyperparameters, data):
        """The evaluated one joins the pool, and counts where it improved the best."""
        own, t = state.own, state.own.turn
        row, value = state.candidates[t, 0], fitness[t, 0]
        there = row != NOTHING
        before = jnp.max(
            jnp.where(jnp.arange(self.tasks) == t, own.pool.fitness.max(1), -jnp.inf)
        )
        # the archive holds the best already: this one improved it if it is the best
        better = there & (state.archive.best[t] == row) & (value > before)
        first = own.filled[t] < self.config.population
        place = jnp.where(there, own.filled[t] % self.config.population, -1)
        place = jnp.where(place < 0, self.config.population, place)
        pool = Pool(
            rows=own.pool.rows.at[t, place].set(row, mode="drop"),
            fitness=own.pool.fitness.at[t, place].set(value, mode="drop"),
        )
        newest = jnp.concatenate([row[None], own.improvements[t, :-1]])
        return own.replace(
            pool=pool,
            filled=own.filled.at[t].add(there),
            improvements=own.improvements.at[t].set(
                jnp.where(better, newest, own.improvements[t])
            ),
            earned=own.earned.at[t].add(better & ~first),
            left=own.left - 1,
        )

    def measures(self, state, data):
        """Turns of transfer, and the true rank of what was transferred."""
        own = state.own
        rank = data.order[own.turn, own.source] + 1.0
        here = jnp.arange(self.tasks) == own.turn
        return {
            "transfers": own.transfers,
            "transferred_rank": jnp.where(here & (own.source != NOTHING), rank, 0.0),
        }
