"""How the networks of a generation are trained and measured, lane by lane.

Shape legend: as in ``codeepneat``; ``D`` lanes, networks side by side.

A *bout* is training of ``iterations`` and a pass over the validation split; a turn is
one or, in CMTR, several of them. All lanes go through a bout at the same time, each on
a device of its own, and tell each other the outcome at its end.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.evaluation.assembled_training import Training, train_or_score
from evojax_mtl.evaluation.rate_schedules import stepwise
from evojax_mtl.networks.assembled import AssembledNetworks
from evojax_mtl.search.codeepneat_populations import SUMS, Populations
from evojax_mtl.search.codeepneat_state import (
    NONE,
    CoDeepNEATState,
    Found,
    Measured,
)
from evojax_mtl.search.codeepneat_turns import Turn, Turns
from evojax_mtl.search.protocol import Dataset, Hyperparameters
from evojax_mtl.tasks.dataset import VALIDATION


class Rounds(Populations):
    """What happens between two reproductions."""

    @property
    def turns(self) -> Turns:
        """The order of the networks."""
        config = self.config
        return Turns(config.networks, config.finals, config.finalists, self.lanes.count)

    def span(self, data: Dataset) -> int:
        """Ticks of one bout."""
        return self.iterations + self.evaluated(data)

    def first_final(self, state: CoDeepNEATState) -> Array:
        """The generation in which the final training begins."""
        return jnp.minimum(self.config.generations - self.config.finals, state.final)

    def trained(
        self,
        state: CoDeepNEATState,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Array,
        stop: Array,
    ) -> CoDeepNEATState:
        """The state after ticks ``start`` to ``stop``, on one of the devices."""
        span = self.span(data)
        model = self.model(state.rows, state.weights)
        every = jnp.arange(self.lanes.count)

        def one_bout(carry):
            tick, state = carry
            bout, i = tick // span, tick % span
            part, place = bout % self.bouts, bout // self.bouts
            when = state.generation, self.first_final(state), place
            turn = self.turns.at(*when, self.lanes.index)
            own = jax.random.fold_in(state.key, turn.generation)
            own = jax.random.fold_in(own, turn.number * self.bouts + part + 1)
            begins = (i == 0) & (part == 0)
            places = self.turns.at(*when, every).place
            first = self._reset(state, begins, places)

            def begin(state):
                state = self._begin(own, model, state, turn, part)
                # the keys of the ticks are smaller
                new = jax.random.fold_in(own, span + 1)
                return self.proposed(new, state, hyperparameters)

            begun = jax.lax.cond(
                (i == 0) & turn.active, begin, lambda state: state, first
            )
            state = self._agreed(first, begun)
            end = jnp.minimum(stop - bout * span, span)
            done = jnp.where(turn.active, end, i)
            state = self._run(state, hyperparameters, data, model, turn, own, i, done)
            state = jax.lax.cond(
                end == span,
                lambda state: self._measured(state, turn, part, data),
                lambda state: state,
                state,
            )
            return bout * span + end, state

        _, state = jax.lax.while_loop(
            lambda carry: carry[0] < stop, one_bout, (start, state)
        )
        return state

    def _run(
        self,
        state: CoDeepNEATState,
        hyperparameters: Hyperparameters,
        data: Dataset,
        model: AssembledNetworks,
        turn: Turn,
        key: Array,
        begin: Array,
        end: Array,
    ) -> CoDeepNEATState:
        """The state after some ticks of a bout of this device's network."""
        size, iterations = self.config.batch, self.iterations
        lists = model.lists(self.laid_out(state.network, state.routing))
        transformation = self.optimizer(state.network)

        def run(i, sofar):
            batch_key, step_key = jax.random.split(jax.random.fold_in(key, i + 1))
            batch = jax.lax.cond(
                i < iterations,
                lambda: data.sample(batch_key, size),
                lambda: data.batch_at(VALIDATION, i - iterations, size),
            )
            return train_or_score(
                model,
                transformation,
                lists,
                self._learning_rate(state, hyperparameters, turn, i),
                sofar,
                self.examples(batch, data),
                batch,
                data.targets,
                step_key,
                i - iterations,
            )

        sofar = Training(state.params, state.optimizer, state.tally)
        sofar = jax.lax.fori_loop(begin, end, run, sofar)
        return state.replace(**sofar._asdict())

    def _learning_rate(
        self,
        state: CoDeepNEATState,
        hyperparameters: Hyperparameters,
        turn: Turn,
        iteration: Array,
    ) -> Array:
        """Of an iteration."""
        rate = hyperparameters["learning_rate"] * state.network.learning_rate
        return rate * self.rate_share(state, turn, iteration)

    def rate_share(self, state: CoDeepNEATState, turn: Turn, iteration: Array) -> Array:
        """Of the learning rate: final training lowers it after so many epochs."""
        config = self.config
        examples = (turn.before * self.iterations + iteration) * config.batch
        share = stepwise(examples, self.mean_train, config.decay_epochs)
        return jnp.where(turn.final, share, 1.0)

    def _reset(
        self, state: CoDeepNEATState, begins: Array, places: Array
    ) -> CoDeepNEATState:
        """The state where networks of these places begin; the first ones' clears sums.

        Equal on all devices.
        """
        first, assembled = begins & (places[0] == 0), state.assembled
        cleared = assembled.fitness.at[places].set(0, mode="drop")
        fitness = jnp.where(begins, cleared, assembled.fitness)
        return state.replace(
            assembled=assembled.replace(fitness=fitness),
            tallied={k: jnp.where(first, 0, x) for k, x in state.tallied.items()},
            champion=jnp.where(first, NONE, state.champion),
        )

    def _agreed(
        self, before: CoDeepNEATState, after: CoDeepNEATState
    ) -> CoDeepNEATState:
        """``after`` with what each device has added to the sums and needs."""
        lanes = self.lanes
        if lanes.count == 1:
            return after
        assembled = after.assembled
        return after.replace(
            assembled=assembled.replace(needs=lanes.most(assembled.needs)),
            tallied={
                name: x + lanes.total(after.tallied[name] - x)
                for name, x in before.tallied.items()
            },
        )

    def _begin(
        self,
        key: Array,
        model: AssembledNetworks,
        state: CoDeepNEATState,
        turn: Turn,
        part: Array,
    ) -> CoDeepNEATState:
        """The state at the beginning of a bout, the first one a network's own."""
        state = jax.lax.cond(
            part == 0,
            lambda state: self._fresh(key, model, state, turn),
            lambda state: state,
            state,
        )
        return state.replace(tally=self.no_tally())

    def _fresh(
        self, key: Array, model: AssembledNetworks, state: CoDeepNEATState, turn: Turn
    ) -> CoDeepNEATState:
        """The state with this device's network ready to be trained."""
        network = jax.tree.map(
            lambda new, old: jnp.where(turn.final, old[turn.who], new[turn.place]),
            state.assembled.network,
            state.finalists.network,
        )
        routing = self.first_routings()
        params = model.init(jax.random.fold_in(key, 0), self.laid_out(network, routing))
        goes_on = turn.final & (turn.before > 0)

        def pick(old, new):
            return jnp.where(goes_on, old, new)

        return state.replace(
            network=network,
            params=jax.tree.map(pick, state.params, params),
            optimizer=jax.tree.map(
                pick, state.optimizer, self.transformation.init(params)
            ),
            routing=jax.tree.map(pick, state.routing, routing),
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
        self, state: CoDeepNEATState, turn: Turn, part: Array, data: Any
    ) -> CoDeepNEATState:
        """The state with what a bout came to; a network's fitness is its best's."""
        lanes, tally = self.lanes, state.tally
        selected, scores, sound = self.selected(state, data)
        fitness = jnp.where(sound, scores, 0).astype(jnp.float32)
        counts = (tally.loss, tally.skipped, ~sound & (part + 1 == self.bouts))
        sums = dict(zip(SUMS, counts, strict=True))
        tallied = {
            name: jnp.where(turn.active, x + sums.get(name, 0), state.tallied[name])
            for name, x in selected.tallied.items()
        }
        cost = self.priced(selected, turn, data)
        state = self._agreed(state, selected.replace(tallied=tallied))
        told = Measured(state.network, fitness, fitness.mean(), sound, cost, turn)
        told = lanes.gathered(told)
        ranked = jnp.where(told.turn.active & told.sound, told.mean, NONE)
        top, kept = jnp.argmax(ranked), state.best
        better = ranked[top] > kept.fitness.mean()
        found = Found(state.params, state.network, fitness, state.routing)
        best = jax.tree.map(
            lambda new, old: jnp.where(better, new, old), lanes.of(found, top), kept
        )
        state = state.replace(
            best=best,
            progress=jnp.where(better, state.generation + 1, state.progress),
        )

        def entered(lane, state):
            return self._entered(state, jax.tree.map(lambda x: x[lane], told))

        if lanes.count == 1:
            return entered(0, state)
        return jax.lax.fori_loop(0, lanes.count, entered, state)

    def _entered(self, state: CoDeepNEATState, told: Measured) -> CoDeepNEATState:
        """The state with the outcome of one lane's bout, equal on all devices."""
        assembled, place = state.assembled, told.turn.place
        mean = jnp.where(told.turn.active, told.mean, NONE)
        entering = jnp.where(told.turn.final | ~told.sound, NONE, mean)
        state = state.replace(
            assembled=assembled.replace(
                fitness=assembled.fitness.at[place].max(mean, mode="drop")
            ),
            champion=jnp.where(
                mean > state.champion.mean(), told.fitness, state.champion
            ),
            finalists=state.finalists.entered(told.network, entering),
        )
        return self.noted(state, told)
