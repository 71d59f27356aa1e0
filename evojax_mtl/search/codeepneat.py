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
of one are.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Bool, Float

from evojax_mtl.compiling import BRIEF, HASTY, Options
from evojax_mtl.evaluation.assembled_training import Training, score, train_or_score
from evojax_mtl.evaluation.training import no_tally
from evojax_mtl.evolution import neat
from evojax_mtl.evolution.neat import Rates
from evojax_mtl.networks.assembled import AssembledNetworks
from evojax_mtl.search.codeepneat_description import describe
from evojax_mtl.search.codeepneat_populations import (
    EVOLVED,
    RATES,
    SUMS,
    Populations,
)
from evojax_mtl.search.codeepneat_state import (
    NONE,
    CoDeepNEATState,
    Finalists,
    Found,
)
from evojax_mtl.search.protocol import Dataset, Hyperparameters, Metrics
from evojax_mtl.tasks.dataset import TEST, VALIDATION

_NEVER = 1 << 30


class CoDeepNEAT(Populations):
    """Base of the methods; a subclass says how networks are assembled.

    Args:
      config: static choices.
      data: gives the shapes; the arrays are passed to each call.
    """

    method: str
    config: Any
    compiler: Options = BRIEF | HASTY
    """Nearly all of the time goes into convolutions, which are not compiled."""

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
        return CoDeepNEATState(
            key=keys[0],
            generation=jnp.int32(0),
            modules=modules,
            tables=tables,
            assembled=assembled,
            network=first,
            params=params,
            optimizer=self.transformation.init(params),
            tally=self.no_tally(),
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
            routing=routing,
        )

    def _span(self, data: Dataset) -> int:
        """Ticks of one bout."""
        return self.iterations + self.evaluated(data)

    def ticks(self, data: Dataset) -> int:
        """Of each bout training iterations, then validation batches."""
        return self.config.networks * self.bouts * self._span(data)

    def phases(self, data: Dataset) -> tuple[tuple[str, int], ...]:
        """See ``Search.phases``."""
        span, found = self._span(data), []
        for n in range(self.config.networks * self.bouts):
            found.append(("training", n * span + self.iterations))
            found.append(("evaluation", (n + 1) * span))
        return tuple(found)

    def _first_final(self, state: CoDeepNEATState) -> Array:
        """The generation in which the final training begins."""
        return jnp.minimum(self.config.generations - self.config.finals, state.final)

    def _turn(self, state: CoDeepNEATState, n: Array) -> tuple[Array, Array, Array]:
        """In final training: whose turn it is, how often before, and whether it is."""
        config, first = self.config, self._first_final(state)
        each = max(1, config.finals * config.networks // config.finalists)
        turn = (state.generation - first) * config.networks + n
        who = jnp.clip(turn // each, 0, config.finalists - 1)
        return who, turn - who * each, state.generation >= first

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
        advance = sequential_vmap(self._advance)
        return advance(state, hyperparameters, data, start, stop)

    def _advance(
        self,
        state: CoDeepNEATState,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Array,
        stop: Array,
    ) -> tuple[CoDeepNEATState, Metrics]:
        config, span, iterations = self.config, self._span(data), self.iterations
        model = self.model(state.rows, state.weights)
        key = jax.random.fold_in(state.key, state.generation)

        def one_bout(carry):
            tick, state = carry
            bout, i = tick // span, tick % span
            n, own = bout // self.bouts, jax.random.fold_in(key, bout + 1)

            def begin(state):
                state = self._begin(own, model, state, bout)
                # the keys of the ticks are smaller
                new = jax.random.fold_in(own, span + 1)
                return self.proposed(new, state, hyperparameters)

            state = jax.lax.cond(i == 0, begin, lambda state: state, state)
            lists = model.lists(self.laid_out(state.network, state.routing))
            transformation = self.optimizer(state.network)

            def run(i, sofar):
                batch_key, step_key = jax.random.split(jax.random.fold_in(own, i + 1))
                batch = jax.lax.cond(
                    i < iterations,
                    lambda: data.sample(batch_key, config.batch),
                    lambda: data.batch_at(VALIDATION, i - iterations, config.batch),
                )
                return train_or_score(
                    model,
                    transformation,
                    lists,
                    self._learning_rate(state, hyperparameters, n, i),
                    sofar,
                    self.examples(batch, data),
                    batch,
                    data.targets,
                    step_key,
                    i - iterations,
                )

            end = jnp.minimum(stop - bout * span, span)
            sofar = Training(state.params, state.optimizer, state.tally)
            sofar = jax.lax.fori_loop(i, end, run, sofar)
            state = state.replace(**sofar._asdict())
            state = jax.lax.cond(
                end == span,
                lambda state: self._measured(state, bout, data),
                lambda state: state,
                state,
            )
            return bout * span + end, state

        _, state = jax.lax.while_loop(
            lambda carry: carry[0] < stop, one_bout, (start, state)
        )
        last = jnp.equal(stop, self.ticks(data))
        rates = self.rates(hyperparameters)
        return self._selected(key, state, rates, last)

    def _learning_rate(
        self,
        state: CoDeepNEATState,
        hyperparameters: Hyperparameters,
        n: Array,
        iteration: Array,
    ) -> Array:
        """Of an iteration: decays in final training, after so many epochs and again."""
        config = self.config
        _, before, final = self._turn(state, n)
        examples = (before * self.iterations + iteration) * config.batch
        past = jnp.floor(examples / self.mean_train / config.decay_epochs)
        decay = jnp.where(final, 0.1 ** jnp.clip(past, 0, 2), 1.0)
        rate = hyperparameters["learning_rate"] * state.network.learning_rate
        return rate * decay

    def step(
        self, state: CoDeepNEATState, hyperparameters: Hyperparameters, data: Dataset
    ) -> tuple[CoDeepNEATState, Metrics]:
        """One whole generation."""
        return self.advance(state, hyperparameters, data, 0, self.ticks(data))

    def _begin(
        self, key: Array, model: AssembledNetworks, state: CoDeepNEATState, bout: Array
    ) -> CoDeepNEATState:
        """The state at the beginning of a bout, the first one a network's own."""
        state = jax.lax.cond(
            bout % self.bouts == 0,
            lambda state: self._fresh(key, model, state, bout // self.bouts),
            lambda state: state,
            state,
        )
        return state.replace(tally=self.no_tally())

    def _fresh(
        self, key: Array, model: AssembledNetworks, state: CoDeepNEATState, n: Array
    ) -> CoDeepNEATState:
        """The state with network ``n`` ready to be trained."""
        who, before, final = self._turn(state, n)
        network = jax.tree.map(
            lambda new, old: jnp.where(final, old[who], new[n]),
            state.assembled.network,
            state.finalists.network,
        )
        routing = self.first_routings()
        params = model.init(jax.random.fold_in(key, 0), self.laid_out(network, routing))
        goes_on = final & (before > 0)

        def pick(old, new):
            return jnp.where(goes_on, old, new)

        # the sums begin anew with the generation's first network
        first, assembled = n == 0, state.assembled
        tallied = {k: jnp.where(first, 0, x) for k, x in state.tallied.items()}
        return state.replace(
            network=network,
            params=jax.tree.map(pick, state.params, params),
            optimizer=jax.tree.map(
                pick, state.optimizer, self.transformation.init(params)
            ),
            routing=jax.tree.map(pick, state.routing, routing),
            assembled=assembled.replace(fitness=assembled.fitness.at[n].set(0)),
            tallied=tallied,
            champion=jnp.where(first, NONE, state.champion),
        )

    def proposed(
        self, key: Array, state: CoDeepNEATState, hyperparameters: Hyperparameters
    ) -> CoDeepNEATState:
        """The state with what a bout tries; nothing by default."""
        return state

    def selected(
        self, state: CoDeepNEATState, data: Any
    ) -> tuple[CoDeepNEATState, Float[Array, "T"], Bool[Array, ""]]:
        """The state after a bout's selection, its scores, whether they count."""
        accuracy = state.tally.right / jnp.maximum(state.tally.seen, 1)
        return state, accuracy, state.tally.finite.all()

    def _measured(
        self, state: CoDeepNEATState, bout: Array, data: Any
    ) -> CoDeepNEATState:
        """The state with what a bout came to; a network's fitness is its best's."""
        n, tally = bout // self.bouts, state.tally
        final = self._turn(state, n)[2]
        state, scores, sound = self.selected(state, data)
        fitness = jnp.where(sound, scores, 0).astype(jnp.float32)
        mean = fitness.mean()
        better = sound & (mean > state.best.fitness.mean())
        best = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            Found(state.params, state.network, fitness, state.routing),
            state.best,
        )
        entering = jnp.where(final | ~sound, NONE, mean)
        ended = (bout + 1) % self.bouts == 0
        sums = dict(zip(SUMS, (tally.loss, tally.skipped, ~sound & ended), strict=True))
        tallied = {k: x + sums.get(k, 0) for k, x in state.tallied.items()}
        state = self.noted(state, n, mean, sound, data)
        measured = state.assembled.fitness.at[n].max(mean)
        return state.replace(
            assembled=state.assembled.replace(fitness=measured),
            champion=jnp.where(mean > state.champion.mean(), fitness, state.champion),
            best=best,
            finalists=state.finalists.entered(state.network, entering),
            tallied=tallied,
            progress=jnp.where(better, state.generation + 1, state.progress),
        )

    def _selected(
        self,
        key: Array,
        state: CoDeepNEATState,
        rates: Rates,
        last: Bool[Array, ""],
    ) -> tuple[CoDeepNEATState, Metrics]:
        """The metrics so far; after the ``last`` tick the state after selection."""
        config, done = self.config, state.generation + 1
        searching = state.generation < self._first_final(state)
        fitness, counts = state.assembled.fitness, dict(state.tallied)
        steps = config.networks * self.bouts * self.iterations
        loss = counts.pop("loss") / (steps * self.tasks * self.individuals)
        champion = jnp.maximum(state.champion, 0)
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
            "mean_fitness": fitness.mean(),
            "least_fitness": fitness.min(),
            "loss": loss,
            **{name: count.astype(jnp.int32) for name, count in counts.items()},
            "evaluations": config.networks,
            "final_training": (~searching).astype(jnp.int32),
            **state.evolved,
            **self.told(state),
        }

    def final_state(self, state: CoDeepNEATState) -> CoDeepNEATState:
        """The best network's snapshot (the present one before any was measured)."""
        found = state.best.fitness.mean() > NONE
        params, network, routing = jax.tree.map(
            lambda best, present: jnp.where(found, best, present),
            (state.best.params, state.best.network, state.best.routing),
            (state.params, state.network, state.routing),
        )
        return state.replace(params=params, network=network, routing=routing)

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
