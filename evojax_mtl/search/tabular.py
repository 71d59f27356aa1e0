"""What searches on tables share: the protocol, whole searches, descriptions.

Shape legend: ``T`` tasks, ``A`` architectures, ``C`` candidates of a task and
generation.

A generation has two ticks: candidates are proposed, without a look at the table; they
are looked up, one evaluation each, and the method selects. A method gives ``begin``,
``propose`` and ``select``; they are pure, and with an evaluator of one's own in the
place of ``look_up`` they are ask and tell.

``run`` is a whole search, one ``lax.scan``: under ``jax.jit`` one program, under
``jax.vmap`` over keys as many searches.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evojax_mtl.configs import fields_with
from evojax_mtl.errors import check_tasks
from evojax_mtl.evaluation.tabular import (
    NOTHING,
    Archive,
    TableData,
    finished,
    look_up,
    no_archive,
)
from evojax_mtl.pytrees import Pytree
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.search.table_description import describe
from evojax_mtl.tabular_configs import TableConfig

TICKS = 2


class TableState(Pytree):
    """Everything that changes.

    Attributes:
      key: of the whole search; each use folds in the generation.
      generation: completed generations.
      archive: what was evaluated, and the best of it.
      candidates: rows of this generation's candidates, -1 for none.
      own: what the method remembers.
    """

    key: Array
    generation: Int[Array, ""]
    archive: Archive
    candidates: Int[Array, "T C"]
    own: Any


class TableSearch(ABC):
    """The search protocol on tables.

    Args:
      config: static choices.
      data: gives sizes and names; the arrays are passed to each call.
      mesh: not used: a search is small, and stays on one device.

    Raises:
      UserError: the tasks are too few for the method.
    """

    config: Any
    method: ClassVar[str]
    least_tasks: ClassVar[int] = 1

    def __init__(self, config: TableConfig, data: TableData, mesh: Any = None) -> None:
        """Reads sizes and names."""
        self.config = config
        self.tasks = data.tasks
        self.names = data.names
        self.architectures = data.architectures
        self.tables = data.tables
        check_tasks(self.method, self.tasks, self.least_tasks)

    # What a method gives.

    @abstractmethod
    def begin(self, key: Array, hyperparameters: Any, data: TableData) -> Any:
        """What the method remembers, before generation 0."""

    @abstractmethod
    def propose(
        self, key: Array, state: TableState, hyperparameters: Any, data: TableData
    ) -> tuple[Int[Array, "T C"], Any]:
        """Candidates of each task, in the order of their evaluation, and ``own``."""

    @abstractmethod
    def select(
        self,
        key: Array,
        state: TableState,
        fitness: Float[Array, "T C"],
        hyperparameters: Any,
        data: TableData,
    ) -> Any:
        """``own`` after the candidates' fitness; minus infinity: not evaluated."""

    def shrink(self, state: TableState) -> TableState:
        """With room for the candidates of later generations alone.

        The state itself where generation 0 has no more of them.
        """
        return state

    def measures(self, state: TableState, data: TableData) -> Metrics:
        """Metrics of the method's own."""
        return {}

    # The search protocol.

    def hyperparameters(self) -> Hyperparameters:
        """Traced rates of the config."""
        names = fields_with(type(self.config), "traced")
        return {name: getattr(self.config, name) for name in names}

    def init(
        self, key: Array, hyperparameters: Hyperparameters, data: TableData
    ) -> TableState:
        """Nothing is evaluated yet; a random architecture stands in for the best."""
        key, first_key, begin_key = jax.random.split(key, 3)
        first = jax.random.randint(first_key, (self.tasks,), 0, self.architectures)
        state = TableState(
            key=key,
            generation=jnp.zeros((), jnp.int32),
            archive=no_archive(data, first),
            candidates=jnp.zeros((self.tasks, 0), jnp.int32),
            own=self.begin(begin_key, hyperparameters, data),
        )
        shape = jax.eval_shape(self._propose, state, hyperparameters, data).candidates
        empty = jnp.full(shape.shape, NOTHING, jnp.int32)
        return state.replace(candidates=empty)

    def ticks(self, data: TableData) -> int:
        """Proposal and evaluation."""
        return TICKS

    def phases(self, data: TableData) -> tuple[tuple[str, int], ...]:
        """See ``Search.phases``."""
        return (("evolution", 1), ("evaluation", TICKS))

    def advance(
        self,
        state: TableState,
        hyperparameters: Hyperparameters,
        data: TableData,
        start: Array | int,
        stop: Array | int,
    ) -> tuple[TableState, Metrics]:
        """See ``Search.advance``."""
        before = jnp.sum(state.archive.spent)
        steps = (self._propose, self._evaluate)
        for tick, step in enumerate(steps):
            state = jax.lax.cond(
                (start <= tick) & (tick < stop),
                lambda state, step=step: step(state, hyperparameters, data),
                lambda state: state,
                state,
            )
        return state, self._metrics(state, before, data)

    def step(
        self, state: TableState, hyperparameters: Hyperparameters, data: TableData
    ) -> tuple[TableState, Metrics]:
        """One whole generation."""
        before = jnp.sum(state.archive.spent)
        state = self._propose(state, hyperparameters, data)
        state = self._evaluate(state, hyperparameters, data)
        return state, self._metrics(state, before, data)

    def run(
        self, key: Array, hyperparameters: Hyperparameters, data: TableData
    ) -> tuple[TableState, Metrics]:
        """A whole search of ``config.generations``; metrics of each, stacked."""

        def step(state, _):
            return self.step(state, hyperparameters, data)

        state = self.init(key, hyperparameters, data)
        if self.shrink(state) is state:
            return jax.lax.scan(step, state, length=self.config.generations)
        state, first = self.step(state, hyperparameters, data)
        state, later = jax.lax.scan(
            step, self.shrink(state), length=self.config.generations - 1
        )
        both = [jax.tree.map(lambda x: x[None], first), later]
        return state, jax.tree.map(lambda *own: jnp.concatenate(own), *both)

    def run_to_target(
        self, key: Array, hyperparameters: Hyperparameters, data: TableData
    ) -> TableState:
        """A search that ends when every task has found its target, if it does.

        It ends after ``config.generations`` in any case.
        """

        def going(state):
            early = state.generation < self.config.generations
            return early & ~jnp.all(finished(state.archive, data))

        def step(state):
            state = self._propose(state, hyperparameters, data)
            return self._evaluate(state, hyperparameters, data)

        state = self.init(key, hyperparameters, data)
        return jax.lax.while_loop(going, step, state)

    def grow(self, state: TableState) -> TableState:
        """The same: nothing grows."""
        return state

    def static(self, state: TableState) -> dict[str, Any]:
        """No size changes."""
        return {}

    def restore_template(
        self,
        static: dict[str, Any],
        hyperparameters: Hyperparameters,
        data: TableData,
    ) -> TableState:
        """The abstract initial state."""
        key = jax.random.key(0)
        return jax.eval_shape(lambda: self.init(key, hyperparameters, data))

    def final_state(self, state: TableState) -> TableState:
        """The same: the archive holds the result."""
        return state

    def test(
        self, state: TableState, hyperparameters: Hyperparameters, data: TableData
    ) -> Float[Array, "T"]:
        """Test metric of the best architecture by validation."""
        return data.test[jnp.arange(self.tasks), state.archive.best]

    def describe(self, state: TableState) -> dict[str, Any]:
        """See ``Search.describe``."""
        return describe(self, state)

    def _propose(self, state, hyperparameters, data):
        key = jax.random.fold_in(state.key, 2 * state.generation)
        candidates, own = self.propose(key, state, hyperparameters, data)
        candidates = jnp.where(
            finished(state.archive, data)[:, None], NOTHING, candidates
        )
        return state.replace(candidates=candidates, own=own)

    def _evaluate(self, state, hyperparameters, data):
        key = jax.random.fold_in(state.key, 2 * state.generation + 1)
        archive, fitness = look_up(state.archive, data, state.candidates)
        state = state.replace(archive=archive)
        own = self.select(key, state, fitness, hyperparameters, data)
        return state.replace(own=own, generation=state.generation + 1)

    def _metrics(self, state, before, data):
        known = data.validation[jnp.arange(self.tasks), state.archive.best]
        return {
            "validation": known,
            "mean_validation": jnp.mean(known),
            "evaluations": jnp.sum(state.archive.spent) - before,
            "spent": state.archive.spent,
            **self.measures(state, data),
        }
