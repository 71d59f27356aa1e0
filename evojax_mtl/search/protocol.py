"""What every search offers: to users, to the runner, and to the contract tests."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

Dataset = Any
"""A ``tasks.dataset.Dataset``, or an ``evaluation.tabular.TableData``."""
State = Any
Hyperparameters = Any
Metrics = dict[str, Any]


@runtime_checkable
class Search(Protocol):
    """One method over one data set's shapes; all its programs are pure functions.

    ``State`` and ``Hyperparameters`` are pytrees. A *generation* (meta-iteration) is
    ``ticks(data)`` ticks long; a tick is one training iteration or one validation
    batch. ``advance`` runs ticks ``start`` to ``stop`` of the current generation, so
    that a runner can stop inside a long one; ``step`` is ``advance`` over all of
    them. Both are one compiled program, whatever the topologies.

    A search that spreads over devices may have ``specs(state)``, a tree of partition
    specs of the state's arrays, which are everywhere without it. It may have
    ``compiler``, options of XLA where ``advance`` compiles for CPU;
    ``metrics``, names of what is measured of each task where that is not the task's
    own; and ``finished(state)``, which tells between two generations whether the search
    has ended before its last one (host side, in NumPy; the arrays as for ``grow``).
    """

    method: str
    config: Any

    def hyperparameters(self) -> Hyperparameters:
        """The traced rates, with the values of the config."""
        ...

    def init(self, key: Any, hyperparameters: Hyperparameters, data: Dataset) -> State:
        """The state before generation 0."""
        ...

    def ticks(self, data: Dataset) -> int:
        """Ticks in a generation (host integer)."""
        ...

    def phases(self, data: Dataset) -> Sequence[tuple[str, int]]:
        """What the ticks of a generation are for: names, and ticks that they end at.

        In order; a name may come again. The last ends at ``ticks(data)``.
        """
        ...

    def advance(
        self,
        state: State,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Any,
        stop: Any,
    ) -> tuple[State, Metrics]:
        """Runs ticks ``start`` (inclusive) to ``stop`` (exclusive), both traced.

        Tick 0 proposes first; the last tick selects after it. However a generation is
        cut into calls, it ends with the same bits. The metrics are those of the
        generation so far and are complete after its last tick: a flat dict of numeric
        arrays, at least ``validation``, the champions' metric per task ``(T,)``.
        ``kept`` is that of the system that would be tested, where it is another one;
        ``mean_validation`` is the mean of ``validation`` where absent;
        ``evaluations`` counts the individuals scored in this generation.
        """
        ...

    def step(
        self, state: State, hyperparameters: Hyperparameters, data: Dataset
    ) -> tuple[State, Metrics]:
        """One whole generation."""
        ...

    def grow(self, state: State) -> State:
        """The state with room for the next generation (host side, between two).

        Returns ``state`` itself unless a capacity must grow; growth changes static
        sizes and so compiles ``advance`` anew. Works in NumPy and ``jax.device_put``:
        operations of JAX on the host, ``jnp.asarray`` too, would compile. The
        arrays may carry one leading axis, the population of a sweep: then the room is
        for the fullest.
        """
        ...

    def static(self, state: State) -> dict[str, Any]:
        """The sizes that ``grow`` may change, JSON-able.

        Reads nothing but shapes and static fields: the leaves of ``state`` may be
        ``jax.ShapeDtypeStruct``, and have no population axis.
        """
        ...

    def restore_template(
        self, static: dict[str, Any], hyperparameters: Hyperparameters, data: Dataset
    ) -> State:
        """A state of these sizes with ``jax.ShapeDtypeStruct`` leaves.

        ``jax.eval_shape`` of ``init`` where nothing grows. Its tree equals that of
        the state that ``static`` came from, static fields included.
        """
        ...

    def final_state(self, state: State) -> State:
        """The state to test: what the method returns as its result."""
        ...

    def test(
        self, state: State, hyperparameters: Hyperparameters, data: Dataset
    ) -> Any:
        """Metric per task on the test split, shape ``(T,)``, of ``final_state``.

        Works on the state that ``init`` returns too. A search may also have
        ``measure``, of the same arguments: a dict of this as ``score`` and of further
        metrics, single numbers, which end up in the summary.
        """
        ...

    def describe(self, state: State) -> dict[str, Any]:
        """JSON-able: the genomes of the result and what they decode to.

        The leaves of ``state`` are NumPy arrays (keys stay typed); neither times nor
        anything else that differs between two equal runs may enter. Holds
        ``parameters``, the number of weights of the result, and where there are
        routings to draw ``networks``, a list, one a task, of::

            {"name": "Angelic",
             "nodes": [{"id": 0, "kind": "input"}, {"id": 1, "kind": "output"},
                       {"id": 2, "kind": "module", "module": 0, "resolution": 0}],
             "edges": [{"source": 0, "target": 2, "weight": 1.0, "adapters": 0},
                       {"source": 2, "target": 1, "weight": 1.0, "adapters": 1}]}

        ``module`` counts from 0 (drawn as M1), ``weight`` is the edge's share of the
        soft merge in ``[0, 1]``, ``adapters`` the number of 2x2 max-pools on it.
        Where modules were found too ``modules`` lists them, with nodes of the kind
        ``operation`` and edges without weights.
        """
        ...
