"""KTNAS on tables: what to transfer is chosen by transfer rank (Zhang 2024, Alg. 4).

Shape legend: ``T`` tasks, ``N`` individuals of a population (the paper's K), ``M``
transferred individuals of a task, ``G`` remembered generations, ``C`` candidates.

Generation 0 evaluates each task's random population and ``M`` individuals drawn from
the others' populations; the best ``N`` of them go on. After that, one generation of
target task i:

1. the individuals transferred last are labelled and join HTS (``transfer_rank``,
   Algorithm 1), which is done as soon as their children are measured;
2. the candidates, the other tasks' populations together, are ranked against HTS
   (Algorithm 2); M of them are the transfer population (Algorithm 3). Without transfer
   rank (``selection`` ``random``), M random candidates;
3. children: ``offspring`` mutants of the population, each the best of a tournament with
   one edge changed; of each transferred architecture the ``screened`` best by the proxy
   among itself and its one-edit neighbours. None that was evaluated before; where
   all of these were, a random architecture instead, or a neighbour of a mutant, and one
   time in ``ANEW`` as many random architectures as there are children: then the
   population's fitness is forgotten, and the task begins anew with what it remembers of
   transfers;
4. the children are evaluated; the best ``N`` of population and children survive.

Where the paper leaves room: its Table I names REA as the base and a zero-cost proxy as
the low-fidelity evaluation, and says no more, so the screening is MTNAS's. The
transferred individuals of generation 0 have no children: their own rank labels them.
Later ones breed, but are neither evaluated nor counted, and cannot survive, unless one
of them is its own best child. ``top`` is r of the population, rounded up. ``survival``
``age`` keeps the youngest, as REA does; the labels follow the best either way.

Table I's base on TransNAS-Bench-101 is a GCN predictor: ``predictor`` ``gcn`` trains
one a task and generation on the evaluations kept, and screens all children by it. With
either predictor a mutant is the best by it of its parent's neighbours and of those of
one of them, drawn at random: one or two edges differ.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.evaluation.accuracy_predictors import expected_fitness
from evojax_mtl.evaluation.gcn_predictor import GCNPredictor
from evojax_mtl.evaluation.table_embeddings import graphs_of
from evojax_mtl.evaluation.table_predictor import Log, add, fit, no_log, predict
from evojax_mtl.evaluation.tabular import NOTHING
from evojax_mtl.evolution import transfer_rank as ranking
from evojax_mtl.evolution.draws import uniform
from evojax_mtl.evolution.tabular import (
    best_of,
    fittest,
    mutant,
    pick,
    places,
    tournament,
    winner,
)
from evojax_mtl.evolution.transfer_rank import History
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.tabular import TableSearch

ANEW = 50
"""Generations without a new child after which a task begins anew, on average."""


class KTNASOwn(Pytree):
    """What KTNAS remembers.

    Attributes:
      rows: the populations.
      fitness: of them.
      transferred: the transfer populations, ``NOTHING`` where one is not used.
      parents: which transferred individual each candidate is a child of, or ``M``.
      history: HTS of each task.
      labels: of the last transferred, 1 or -1, 0 where nothing was transferred.
      log: evaluations that the predictor learns from.
    """

    rows: Int[Array, "T N"]
    fitness: Float[Array, "T N"]
    transferred: Int[Array, "T M"]
    parents: Int[Array, "T C"]
    history: History
    labels: Int[Array, "T M"]
    log: Log


class KTNAS(TableSearch):
    """The search protocol for KTNAS on tables."""

    method = "ktnas"
    least_tasks = 2

    def __init__(self, config, data, mesh=None):
        """Reads sizes and names; raises ``UserError`` for a single task."""
        super().__init__(config, data, mesh)
        count = config.population
        self.predicts = config.predictor != "off"
        self.draws = 3 if self.predicts else 2  # uniform ones of a mutant
        if config.predictor == "gcn":
            self.graphs = graphs_of(
                data.space, "--predictor: found gcn, must be on or off"
            )
        self.children = config.offspring + config.transferred * config.screened
        self.width = max(count + config.transferred, self.children)
        members = np.arange(self.tasks * count).reshape(self.tasks, count)
        self.others = np.stack(
            [np.delete(members, t, axis=0).ravel() for t in range(self.tasks)]
        )

    def begin(self, key, hyperparameters, data):
        """Random populations, not evaluated, and who is transferred first."""
        config = self.config
        shape = (self.tasks, config.population)
        row_key, transfer_key = jax.random.split(key)
        rows = jax.random.randint(row_key, shape, 0, self.architectures)
        chance = jax.random.uniform(transfer_key, self.others.shape)
        _, drawn = jax.lax.top_k(chance, config.transferred)
        candidates = rows.ravel()[self.others]
        own = config.transferred
        saved = max(config.saved_generations, config.saved_positives)
        history = ranking.no_history(saved, own)
        first = jnp.where(
            jnp.arange(self.width) < config.population,
            own,
            jnp.minimum(jnp.arange(self.width) - config.population, own),
        )
        return KTNASOwn(
            rows=rows,
            fitness=jnp.full(shape, -jnp.inf, jnp.float32),
            transferred=jnp.take_along_axis(candidates, drawn, 1),
            parents=jnp.tile(first, (self.tasks, 1)),
            history=jax.tree.map(lambda x: jnp.stack([x] * self.tasks), history),
            labels=jnp.zeros((self.tasks, own), jnp.int32),
            log=no_log(self.tasks, config.remembered if self.predicts else 0),
        )

    def propose(self, key, state, hyperparameters, data):
        """The populations and those transferred to them; later, children."""
        own = state.own
        first = jnp.concatenate([own.rows, own.transferred], axis=1)
        pool = self.others.shape[1]
        config = self.config
        screened = config.transferred * config.screened
        count = pool + self.draws * config.offspring + screened + 2
        chance = uniform(key, (self.tasks, count))
        chosen = jax.vmap(self._transfer, (0, None, 0, 0, None))(
            chance[:, :pool],
            own.rows.ravel(),
            jnp.asarray(self.others),
            own.history,
            data.vectors,
        )
        promise = self._promise(key, own.log, hyperparameters, data)
        children, parents, anew = jax.vmap(
            lambda task, *arguments: self._breed(promise(task), data, *arguments)
        )(
            jnp.arange(self.tasks),
            chance[:, pool:],
            own.rows,
            own.fitness,
            chosen,
            state.archive.seen,
        )

        fitness = jnp.where(anew[:, None], -jnp.inf, own.fitness)
        own = own.replace(fitness=fitness)
        if own.parents.shape[1] == self.children < self.width:
            return children, own.replace(transferred=chosen, parents=parents)

        def padded(x, fill):
            room = ((0, 0), (0, self.width - x.shape[1]))
            return jnp.pad(x, room, constant_values=fill)

        start = state.generation == 0
        candidates = jnp.where(start, padded(first, NOTHING), padded(children, NOTHING))
        own = own.replace(
            transferred=jnp.where(start, own.transferred, chosen),
            parents=jnp.where(
                start, own.parents, padded(parents, self.config.transferred)
            ),
        )
        return candidates, own

    def shrink(self, state):
        """Children alone; generation 0 has populations and those transferred."""
        if self.children == self.width:
            return state
        own = state.own.replace(parents=state.own.parents[:, : self.children])
        return state.replace(candidates=state.candidates[:, : self.children], own=own)

    def _transfer(self, chance, rows, others, history, vectors):
        """The transfer population of one task, Algorithms 2 and 3."""
        candidates = rows[others]
        remembered, labels = history.rows.ravel(), history.labels.ravel()
        distances = 1 - vectors[remembered] @ vectors[candidates].T
        rank = ranking.transfer_rank(distances, labels)
        if self.config.selection == "random":
            rank = jnp.zeros_like(rank)
        chosen = candidates[ranking.select(chance, rank, self.config.transferred)]
        if self.config.skip == "on":
            chosen = jnp.where(jnp.max(rank) > 0, chosen, NOTHING)
        return chosen

    def _promise(self, key, log, hyperparameters, data):
        """What screens: a function of a task, that gives one of architectures."""
        if not self.predicts:
            return lambda task: lambda rows: data.proxy[task][rows]
        if self.config.predictor == "gcn":
            scores = jax.vmap(expected_fitness, (0, None, None, 0, 0))(
                jax.random.split(jax.random.fold_in(key, 1), self.tasks),
                GCNPredictor(),
                self.graphs(data.genes),
                log.rows,
                log.fitness,
            )
            return lambda task: lambda rows: scores[task, rows]
        fitted = fit(log, data, hyperparameters)
        return lambda task: (
            lambda rows: predict(fitted, task, rows, data, hyperparameters)
        )

    def _breed(self, promise, data, draws, rows, fitness, transferred, seen):
        """Children of one task, which transferred individual each is of, or neither.

        The third is whether the task begins anew.
        """
        config, neighbours = self.config, data.neighbours
        drawn, chance = jnp.split(draws, [self.draws * config.offspring])

        def mutate(chance):
            if config.survival == "best":  # they are in the order of their fitness
                parent = rows[winner(chance[0], len(rows), config.tournament)]
            else:
                parent = rows[tournament(chance[0], fitness, config.tournament)]
            near = neighbours[parent]
            if self.predicts:
                # those of one of them too, so that it goes on where all are known
                way = near[pick(chance[2], near >= 0)]
                near = jnp.concatenate([near, neighbours[way]])
            there = near >= 0
            new = there & ~seen[near]
            if self.predicts:
                # those seen only where there is nothing else
                free = jnp.where(jnp.any(new), new, there)
                return near[best_of(chance[1], promise(near), free)], jnp.any(new)
            return mutant(chance[1], near, seen[near]), jnp.any(new)

        mutants, fresh = jax.vmap(mutate)(drawn.reshape(config.offspring, self.draws))
        near = jnp.concatenate([transferred[:, None], neighbours[transferred]], axis=1)
        new = (near >= 0) & ~seen[near] & (transferred >= 0)[:, None]
        score = promise(near)
        found: list[Array] = []
        for number in range(config.transferred * config.screened):
            own = number // config.screened
            free = new[own]
            for other in found:
                free = free & (near[own] != other)
            best = best_of(chance[number], score[own], free)
            found.append(jnp.where(jnp.any(free), near[own, best], NOTHING))
        screened = jnp.array(found, jnp.int32)
        parents = jnp.repeat(jnp.arange(config.transferred), config.screened)
        children = jnp.concatenate([screened, mutants])
        parents = jnp.concatenate(
            [parents, jnp.full(config.offspring, config.transferred)]
        )
        # without a new child nothing would ever change: any architecture, or one more
        # edit, each as likely; where it is known too, there will be another
        stuck = ~(jnp.any(screened != NOTHING) | jnp.any(fresh))
        anew = stuck & (draws[-2] < 1 / ANEW)
        drawn = jnp.floor(draws[-1] * 2 * len(seen)).astype(jnp.int32)
        one = jnp.concatenate([mutants, rows])[0]
        near = neighbours[one, drawn % neighbours.shape[1]]
        stranger = jnp.where(drawn < len(seen), drawn, near)
        strangers = jnp.floor(draws[: len(children)] * len(seen)).astype(jnp.int32)
        first = jnp.arange(len(children)) == 0
        children = jnp.where(stuck & first, stranger, children)
        children = jnp.where(anew, strangers, children)
        parents = jnp.where(anew | (stuck & first), config.transferred, parents)
        if config.evaluated is not None:
            twice = children[:, None] == children
            twice = jnp.any(jnp.tril(twice, -1), axis=1)
            worth = jnp.where(
                (children == NOTHING) | seen[children] | twice,
                -jnp.inf,
                promise(children),
            )
            kept = places(worth) < config.evaluated
            children = jnp.where(kept, children, NOTHING)
        return children, parents, anew

    def select(self, key, state, fitness, hyperparameters, data):
        """Survival, and Algorithm 1."""
        config, own = self.config, state.own
        ratio = hyperparameters["ranking_ratio"]
        top = ranking.top_size(ratio, config.population)

        def survive(rows, old, candidates, fitness, parents, transferred, history):
            everyone = jnp.concatenate([rows, candidates])
            values = jnp.concatenate([old, fitness])
            best, kept, ranks = fittest(everyone, values, config.population)
            good = ranking.positive(
                parents, ranks[len(rows) :], config.transferred, top
            )
            labels = jnp.where(good, ranking.POSITIVE, ranking.NEGATIVE)
            labels = jnp.where(transferred == NOTHING, 0, labels)
            history = ranking.update(
                history,
                transferred,
                labels,
                config.saved_generations,
                config.saved_positives,
            )
            if config.survival == "age":
                order = jnp.where(values > -jnp.inf, jnp.arange(len(values)), -1)
                _, young = jax.lax.top_k(order, config.population)
                best, kept = everyone[young], values[young]
            return best, kept, history, labels

        rows, kept, history, labels = jax.vmap(survive)(
            own.rows,
            own.fitness,
            state.candidates,
            fitness,
            own.parents,
            own.transferred,
            own.history,
        )
        log = add(own.log, state.candidates, fitness) if self.predicts else own.log
        return own.replace(
            rows=rows, fitness=kept, history=history, labels=labels, log=log
        )

    def measures(self, state, data):
        """True ranks of those transferred, and how many of them helped."""
        transferred = state.own.transferred
        there = transferred != NOTHING
        order = jnp.take_along_axis(data.order, transferred, axis=1) + 1.0
        count = jnp.sum(there, axis=1)
        return {
            "transferred_rank": jnp.sum(order * there, axis=1) / jnp.maximum(count, 1),
            "positive_transfers": jnp.sum(state.own.labels == ranking.POSITIVE, axis=1),
        }
