"""CoDeepNEAT: networks assembled from modules that evolve (Liang 2018, 2.2 and 3.1).

Shape legend: ``J`` networks of a generation, ``P`` modules, ``Q`` tables (blueprints or
CM's tables of global hyperparameters), ``S`` species there is room for, ``T`` tasks,
``B`` examples a task and iteration, ``R`` resolutions.

A generation:

1. a module of each species and a table are drawn for every network, and the networks
   assembled (at the end of the generation before, so that buffers can grow);
2. one network after the other starts from random weights, is trained for
   ``iterations`` on ``B`` examples of every task, and measured on the validation split;
   its fitness is the mean over the tasks. (CMTR does so in several *bouts*, its
   meta-iterations, and the best counts.) A network whose outputs are not finite gets
   fitness 0, the worst there is, and is counted;
3. the fitness of a module or a table is the mean over the networks that contain it; of
   one in no network the mean of its species, so that it neither wins nor loses;
4. NEAT reproduces both populations.

The members of a species are dealt in random order, all before one comes again, as are
the tables: with at least as many networks as members each is measured.

The last ``finals`` generations, or as many from when no progress was seen for
``patience`` generations, train the ``finalists`` best networks of the whole search from
scratch and longer, ``iterations`` at a time with a measurement after each (4.2). The
result is the snapshot of highest validation accuracy of any network. The paper then
trains the winner once more: ``final_training``.

All networks of all generations are run by one compiled program: assembly fills tables
and the tape runs any. ``jax.vmap`` runs searches one after the other, as the networks
of one are on one device. On several each trains a network (``codeepneat_turns``); what
is found is the same, but for the order of sums and, in CMTR, of equally good networks.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import sequential_vmap
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from evojax_mtl.compiling import BRIEF, HASTY, Options
from evojax_mtl.evaluation.assembled_training import score
from evojax_mtl.evaluation.training import no_tally
from evojax_mtl.evolution import neat
from evojax_mtl.evolution.neat import Rates
from evojax_mtl.search.codeepneat_description import describe
from evojax_mtl.search.codeepneat_populations import EVOLVED, RATES
from evojax_mtl.search.codeepneat_rounds import Rounds
from evojax_mtl.search.codeepneat_state import (
    NONE,
    OF_LANES,
    CoDeepNEATState,
    Finalists,
    Found,
)
from evojax_mtl.search.lanes import specs
from evojax_mtl.search.protocol import Dataset, Hyperparameters, Metrics
from evojax_mtl.tasks.dataset import TEST

_NEVER = 1 << 30


class CoDeepNEAT(Rounds):
    """Base of the methods; a subclass says how networks are assembled.

    Args:
      config: static choices.
      data: gives the shapes; the arrays are passed to each call.
      mesh: devices of an axis ``population``, which train a network each; None for one.
    """

    method: str
    config: Any

    @property
    def compiler(self) -> Options:
        """Nearly all of the time goes into convolutions, which are not compiled."""
        return self.lanes.compiled(BRIEF | HASTY)

    # The search protocol.

    def hyperparameters(self) -> Hyperparameters:
        """Traced rates: ``learning_rate``, and NEAT's."""
        names = ("learning_rate", *RATES)
        return {name: getattr(self.config, name) for name in names}

    def rates(self, hyperparameters: Hyperparameters) -> Rates:
        """NEAT's."""
        return Rates(**{name: jnp.asarray(hyperparameters[name]) for name in RATES})

    def init(
        self, key: Array, hyperparameters: Hyperparameters, data: Dataset
    ) -> CoDeepNEATState:
        """The initial populations and the first generation's networks."""
        return sequential_vmap(self._init)(key, hyperparameters)

    def _init(self, key: Array, hyperparameters: Hyperparameters) -> CoDeepNEATState:
        return self._initial(key, hyperparameters, *self.capacities())

    def _initial(
        self,
        key: Array,
        hyperparameters: Hyperparameters,
        rows: tuple[int, ...],
        weights: int,
    ) -> CoDeepNEATState:
        config = self.config
        keys = jax.random.split(key, 6)
        rates = self.rates(hyperparameters)
        modules = neat.init(keys[1], self.module_neat, rates, config.modules)
        tables = neat.init(
            keys[2],
            self.table_neat,
            self.table_rates(rates),
            config.tables,
            self.rounds(keys[3]),
        )
        alive = modules.table.alive
        tables, _ = self.repair(tables, alive, jnp.arange(config.places))
        assembled = self.networks_of(keys[4], modules, tables)
        first = jax.tree.map(lambda x: x[0], assembled.network)
        model, routing = self.model(rows, weights), self.first_routings()
        params = model.init(keys[5], self.laid_out(first, routing))
        nobody = jnp.full(self.tasks, NONE, jnp.float32)
        stacked = self.lanes.stacked
        return CoDeepNEATState(
            key=keys[0],
            generation=jnp.int32(0),
            modules=modules,
            tables=tables,
            assembled=assembled,
            network=stacked(first),
            params=stacked(params),
            optimizer=stacked(self.transformation.init(params)),
            tally=stacked(self.no_tally()),
            evolved={name: jnp.zeros((), kind) for name, kind in EVOLVED.items()},
            tallied={name: jnp.zeros(()) for name in self.sums},
            champion=nobody,
            finalists=Finalists(
                jax.tree.map(
                    lambda x: jnp.broadcast_to(x, (config.finalists, *x.shape)), first
                ),
                jnp.full(config.finalists, NONE, jnp.float32),
            ),
            best=Found(params, first, nobody, routing),
            front=self.no_front(first),
            progress=jnp.int32(0),
            final=jnp.int32(_NEVER),
            rows=rows,
            weights=weights,
            routing=stacked(routing),
        )

    def ticks(self, data: Dataset) -> int:
        """Of each bout training iterations, then validation batches."""
        return self.turns.rounds * self.bouts * self.span(data)

    def phases(self, data: Dataset) -> tuple[tuple[str, int], ...]:
        """See ``Search.phases``."""
        span, found = self.span(data), []
        for n in range(self.turns.rounds * self.bouts):
            found.append(("training", n * span + self.iterations))
            found.append(("evaluation", (n + 1) * span))
        return tuple(found)

    def advance(
        self,
        state: CoDeepNEATState,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Array | int,
        stop: Array | int,
    ) -> tuple[CoDeepNEATState, Metrics]:
        """See ``Search.advance``."""
        start, stop = jnp.asarray(start, jnp.int32), jnp.asarray(stop, jnp.int32)
        given = state, hyperparameters, data, start, stop
        if self.lanes.count == 1:
            return sequential_vmap(self._advance)(*given)
        placed, everywhere = self.specs(state), PartitionSpec()
        spread = self.lanes.spread(
            self._advance_own, (placed, *[everywhere] * 4), (placed, everywhere)
        )
        return spread(*given)

    def specs(self, state: CoDeepNEATState) -> Any:
        """See ``Search``: each device has the network that it trains."""
        return specs(state, OF_LANES)

    def _advance_own(
        self, state: CoDeepNEATState, *given: Any
    ) -> tuple[CoDeepNEATState, Metrics]:
        """``_advance`` on one of several devices, whose fields have an axis of one."""
        own = {name: getattr(state, name) for name in OF_LANES}
        alone = state.replace(**jax.tree.map(lambda x: x[0], own))
        state, metrics = self._advance(alone, *given)
        own = {name: getattr(state, name) for name in OF_LANES}
        return state.replace(**jax.tree.map(lambda x: x[None], own)), metrics

    def _advance(
        self,
        state: CoDeepNEATState,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Array,
        stop: Array,
    ) -> tuple[CoDeepNEATState, Metrics]:
        state = self.trained(state, hyperparameters, data, start, stop)
        last = jnp.equal(stop, self.ticks(data))
        key = jax.random.fold_in(state.key, state.generation)
        return self._selected(key, state, self.rates(hyperparameters), last)

    def step(
        self, state: CoDeepNEATState, hyperparameters: Hyperparameters, data: Dataset
    ) -> tuple[CoDeepNEATState, Metrics]:
        """One whole generation."""
        return self.advance(state, hyperparameters, data, 0, self.ticks(data))

    def _selected(
        self,
        key: Array,
        state: CoDeepNEATState,
        rates: Rates,
        last: Bool[Array, ""],
    ) -> tuple[CoDeepNEATState, Metrics]:
        """The metrics so far; after the ``last`` tick the state after selection."""
        config, done = self.config, state.generation + 1
        first = self.first_final(state)
        searching = state.generation < first
        fitness, counts = state.assembled.fitness, dict(state.tallied)
        turns = self.turns.all(state.generation, first)
        measured = turns.active.sum()
        there = jnp.zeros(config.networks, bool)
        there = there.at[turns.place].max(turns.active, mode="drop")
        steps = measured * self.bouts * self.iterations
        loss = counts.pop("loss") / (steps * self.tasks * self.individuals)
        # in a sweep one search may have ended: it tells its result until the others end
        champion = jnp.where(measured > 0, state.champion, state.best.fitness)
        champion = jnp.maximum(champion, 0)
        stalled = last & searching & (done - state.progress >= config.patience)
        state = jax.lax.cond(
            last & searching,
            lambda state: self.evolve(key, state, rates),
            lambda state: state,
            state,
        )
        state = state.replace(
            generation=jnp.where(last, done, state.generation),
            final=jnp.where(stalled, jnp.minimum(state.final, done), state.final),
        )
        return state, {
            "validation": champion,
            "mean_validation": champion.mean(),
            "kept": jnp.maximum(state.best.fitness, 0),
            "mean_fitness": fitness.mean(where=there),
            "least_fitness": fitness.min(where=there, initial=jnp.inf),
            "loss": loss,
            **{name: count.astype(jnp.int32) for name, count in counts.items()},
            "evaluations": measured,
            "final_training": (~searching).astype(jnp.int32),
            **state.evolved,
            **self.told(state),
        }

    def final_state(self, state: CoDeepNEATState) -> CoDeepNEATState:
        """The best network's snapshot; random weights before any was measured."""
        best = state.best
        return state.replace(
            params=best.params, network=best.network, routing=best.routing
        )

    def test(
        self, state: CoDeepNEATState, hyperparameters: Hyperparameters, data: Dataset
    ) -> Float[Array, "T"]:
        """Accuracy of the result on the test split."""
        return sequential_vmap(self._test)(state, data)

    def _test(self, state: CoDeepNEATState, data: Dataset) -> Float[Array, "T"]:
        state, size = self.final_state(state), self.config.batch
        model = self.model(state.rows, state.weights)
        lists = model.lists(self.laid_out(state.network, state.routing))

        def add(i, tally):
            batch = data.batch_at(TEST, i, size)
            examples = self.examples(batch, data)
            params = state.params
            return score(model, lists, params, examples, batch, data.targets, tally)

        begin = no_tally(self.tasks * self.individuals)
        tally = jax.lax.fori_loop(0, data.batches(TEST, size), add, begin)
        accuracy = tally.right / jnp.maximum(tally.seen, 1)
        accuracy = jnp.where(tally.finite, accuracy, 0)
        return accuracy.reshape(self.tasks, self.individuals)[:, 0]

    def static(self, state: CoDeepNEATState) -> dict[str, Any]:
        """Rows per resolution, and weights."""
        return {"rows": list(state.rows), "weights": state.weights}

    def restore_template(
        self, static: dict[str, Any], hyperparameters: Hyperparameters, data: Dataset
    ) -> CoDeepNEATState:
        """An abstract state of these capacities."""
        rows, weights = tuple(static["rows"]), static["weights"]
        return jax.eval_shape(
            lambda: self._initial(jax.random.key(0), hyperparameters, rows, weights)
        )

    def grow(self, state: CoDeepNEATState) -> CoDeepNEATState:
        """All rows, or the weights, by half until the next networks surely fit."""
        most = (*state.rows, state.weights)
        needs = np.asarray(state.assembled.needs).reshape(-1, len(most)).max(0)
        rows, weights = np.array(state.rows), state.weights
        while (needs[:-1] > rows).any():
            rows += -(-rows // 2)
        while needs[-1] > weights:
            weights += -(-weights // 2)
        if (*rows, weights) == most:
            return state
        more = weights - state.weights

        def widen(path, leaf):
            names = {getattr(part, "key", None) for part in path}
            if not more or "kernels" not in names:
                return leaf
            margins = [(0, 0)] * (leaf.ndim - 1) + [(0, more)]
            return jax.device_put(np.pad(np.asarray(leaf), margins))

        widened = jax.tree_util.tree_map_with_path
        return state.replace(
            params=widened(widen, state.params),
            optimizer=widened(widen, state.optimizer),
            best=state.best.replace(params=widened(widen, state.best.params)),
            rows=tuple(int(r) for r in rows),
            weights=int(weights),
        )

    def finished(self, state: CoDeepNEATState) -> bool:
        """Whether every search has ended its final training (host side)."""
        ends = np.asarray(state.final) + self.config.finals
        return bool((np.asarray(state.generation) >= ends).all())

    def describe(self, state: CoDeepNEATState) -> dict[str, Any]:
        """See ``Search.describe``."""
        return describe(self, state)
