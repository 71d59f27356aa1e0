"""What every search offers: to users, to the runner, and to the contract tests."""

from typing import Any, Protocol, runtime_checkable

from evojax_mtl.tasks.dataset import Dataset

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

    def advance(
        self,
        state: State,
        hyperparameters: Hyperparameters,
        data: Dataset,
        start: Any,
        stop: Any,
    ) -> tuple[State, Metrics]:
        """Runs ticks ``start`` (inclusive) to ``stop`` (exclusive), both traced.

        Tick 0 proposes first; the last tick selects after it. The metrics are those
        of the generation so far and are complete after its last tick.
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
        sizes and so compiles ``advance`` anew.
        """
        ...

    def final_state(self, state: State) -> State:
        """The state to test: what the method returns as its result."""
        ...

    def test(
        self, state: State, hyperparameters: Hyperparameters, data: Dataset
    ) -> Any:
        """Metric per task on the test split, shape ``(T,)``, of ``final_state``."""
        ...

    def describe(self, state: State) -> dict[str, Any]:
        """JSON-able: the genomes of the result and what they decode to."""
        ...
