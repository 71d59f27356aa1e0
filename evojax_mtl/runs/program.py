"""The compiled programs of a run: one search, or a population of them as one.

Shape legend: ``P`` searches, ``T`` tasks. Where ``P`` is 1 no array has the axis.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from evojax_mtl.compiling import BRIEF, HASTY, Options, on_cpu
from evojax_mtl.runs import processes
from evojax_mtl.search.protocol import Search
from evojax_mtl.tasks.dataset import TEST
from evojax_mtl.tasks.streaming import TaskData

POPULATION = PartitionSpec("population")
EVERYWHERE = PartitionSpec()


class _Prepared:
    """A jitted function that can be compiled before it is needed."""

    def __init__(
        self,
        function: Callable[..., Any],
        compiler: Options | None = None,
        **options: Any,
    ) -> None:
        """Compiles nothing yet.

        Args:
          function: pure.
          compiler: options of XLA where it compiles for CPU.
          options: those of ``jax.jit``.
        """
        self._function = jax.jit(function, **options)
        self._options = on_cpu(compiler)
        self._compiled: dict[Any, Future[Any]] = {}

    def prepare(self, pool: Executor, *arguments: Any) -> Any:
        """Compiles in ``pool`` for arguments of these shapes, once; returns at once.

        Tracing holds the interpreter and is done here. Returns the shapes of the
        results where they were not known, else None.
        """
        key = self._key(arguments)
        if key in self._compiled:
            return None
        traced = self._function.trace(*arguments)
        lowered = traced.lower()
        self._compiled[key] = pool.submit(lambda: lowered.compile(self._options))
        return traced.out_info

    def __call__(self, *arguments: Any) -> Any:
        """Calls the program of these shapes; compiles it if that was not done."""
        key = self._key(arguments)
        if key not in self._compiled:
            with ThreadPoolExecutor(1) as pool:
                self.prepare(pool, *arguments)
        return self._compiled[key].result()(*arguments)

    @staticmethod
    def _key(arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        kinds = tuple((np.shape(x), str(jax.dtypes.result_type(x))) for x in leaves)
        return structure, kinds


class Program:
    """What the runner calls; after ``prepare`` nothing but growth compiles."""

    def __init__(
        self,
        search: Search,
        task_data: TaskData,
        seeds: Sequence[int],
        hyperparameters: Sequence[Any],
        mesh: Mesh | None = None,
    ) -> None:
        """Builds the programs; nothing is compiled yet.

        Args:
          search: the method, built with the config that the searches share.
          task_data: the tasks, whole or a window of them a generation.
          seeds: seed of each search.
          hyperparameters: traced rates of each search; one entry where all share them.
          mesh: devices that the population is spread over (an axis ``population``),
            or that ``search`` spreads its work over; None for one device.
        """
        self.search = search
        self._task_data = task_data
        self.population = len(seeds)
        self.batched = self.population > 1
        self._seeds = np.asarray(seeds, np.uint32)
        swept = len(hyperparameters) > 1
        self._rates = _host(hyperparameters[0])
        self._hyperparameters = (
            jax.tree.map(lambda *x: np.stack(x), *map(_host, hyperparameters))
            if swept
            else self._rates
        )
        self._mesh = mesh
        self._everywhere = self._searches = self._own = None
        if mesh is not None:
            self._everywhere = NamedSharding(mesh, EVERYWHERE)
            spread = POPULATION if self.batched else EVERYWHERE
            self._searches = NamedSharding(mesh, spread)
            rates = self._searches if swept else self._everywhere
            self._hyperparameters = processes.placed(self._hyperparameters, rates)
            if not self.batched:
                self._own = getattr(search, "specs", None)
        self.data = self._place(task_data.dataset(0))
        self.ticks = search.ticks(self.data)
        self.phases = search.phases(self.data)
        # states return placed as they came, or the next call would compile anew
        self._init = _Prepared(
            self._map(_seeded(search, self._pinned), swept),
            HASTY,
            out_shardings=None if self._own else self._searches,
        )
        self._advance = _Prepared(
            self._map(_advanced(search, self._pinned), swept, extra=3),
            getattr(search, "compiler", None),
            donate_argnums=0,
            out_shardings=None if self._own else self._searches,
        )
        self._test = _Prepared(self._map(_measured(search), swept, extra=1), BRIEF)
        self._whole = _Prepared(processes.same, HASTY, out_shardings=self._everywhere)
        self._take = _Prepared(
            lambda s, i: jax.tree.map(lambda x: x[i], s),
            HASTY,
            out_shardings=self._everywhere if processes.several() else None,
        )

    def _map(
        self, function: Callable[..., Any], swept: bool, extra: int = 1
    ) -> Callable[..., Any]:
        """``function(state, hyperparameters, *extra)`` over the searches."""
        if not self.batched:
            return function
        mapped = jax.vmap(function, (0, 0 if swept else None, *[None] * extra))
        if self._mesh is None:
            return mapped
        rates = POPULATION if swept else EVERYWHERE
        # The searches share nothing: no collective and no gradient crosses the
        # devices, so there is nothing for the check of varying axes to find, and it
        # would refuse loops that start from constants.
        return jax.shard_map(
            mapped,
            mesh=self._mesh,
            in_specs=(POPULATION, rates, *[EVERYWHERE] * extra),
            out_specs=POPULATION,
            check_vma=False,
        )

    def _place(self, data: Any) -> Any:
        if self._mesh is None:
            return data
        return processes.placed(data, self._everywhere)

    def load(self, generation: int) -> None:
        """Brings the data of a generation (counted from 0) to the devices."""
        self.data = self._place(self._task_data.dataset(generation))

    def init(self) -> Any:
        """The state before generation 0."""
        return self._init(*self._beginning())

    def _beginning(self) -> tuple[Any, ...]:
        seeds = self._seeds if self.batched else self._seeds[0]
        return seeds, self._hyperparameters, self.data

    def prepare(self, state: Any = None) -> None:
        """Compiles what a run from ``state`` on needs; from ``init`` on by default.

        Programs compile side by side: one alone leaves most cores idle.
        """
        rates, data, number = self._hyperparameters, self.data, np.int32(0)
        with ThreadPoolExecutor() as pool:
            if state is None:
                state = self._placed(self._init.prepare(pool, *self._beginning()))
            self._advance.prepare(pool, state, rates, data, number, number)
            self._test.prepare(pool, state, rates, data.only(TEST))
            if self.batched:
                self._take.prepare(pool, state, number)
            elif processes.several():
                self._whole.prepare(pool, state)
            # windowed data compiles its exchange of windows
            self._task_data.dataset(1)

    def advance(self, state: Any, start: int, stop: int) -> tuple[Any, dict[str, Any]]:
        """Runs ticks ``start`` to ``stop`` of the generation; ``state`` is used up.

        The metrics stay on the devices, for ``processes.fetched``.
        """
        state, metrics = self._advance(
            state, self._hyperparameters, self.data, np.int32(start), np.int32(stop)
        )
        return jax.block_until_ready((state, metrics))

    def score(self, state: Any, split: int) -> np.ndarray:
        """Metric per task on ``split`` (validation or test), ``(T,)`` or ``(P, T)``."""
        return self.measure(state, split)["score"]

    def measure(self, state: Any, split: int) -> dict[str, np.ndarray]:
        """``score``, and where the search tells more, its other metrics.

        Those are ``()`` or ``(P,)``.
        """
        view = self.data.only(split)
        return processes.fetched(self._test(state, self._hyperparameters, view))

    def grow(self, state: Any) -> Any:
        """The state with room for the next generation, placed as before."""
        seen = self._seen(state)
        grown = self.search.grow(seen)
        if grown is seen:
            return state
        if self._mesh is None:
            return grown
        return processes.placed(grown, self._shardings(grown))

    def _seen(self, state: Any) -> Any:
        """The state as its search can read it on the host."""
        return processes.remote(state) if processes.several() else state

    def finished(self, state: Any) -> bool:
        """Whether the search has ended before its last generation."""
        finished = getattr(self.search, "finished", None)
        return finished is not None and finished(self._seen(state))

    def members(self, state: Any) -> list[Any]:
        """The state of each search, on the host."""
        if not self.batched:
            whole = self._whole(state) if processes.several() else state
            return [processes.fetched(whole)]
        taken = (self._take(state, np.int32(i)) for i in range(self.population))
        return [processes.fetched(member) for member in taken]

    def static(self, state: Any) -> dict[str, Any]:
        """Capacities of the state, for ``template``."""
        member = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape[self.batched :], x.dtype), state
        )
        return self.search.static(member)

    def template(self, static: dict[str, Any]) -> Any:
        """The abstract state of these capacities, to restore a saved one into."""
        one = self.search.restore_template(static, self._rates, self.data)
        leading = (self.population,) if self.batched else ()
        return self._placed(
            jax.tree.map(
                lambda x: jax.ShapeDtypeStruct((*leading, *x.shape), x.dtype), one
            )
        )

    def _placed(self, state: Any) -> Any:
        """Shapes of a state, with the devices that it is spread over."""
        return jax.tree.map(
            lambda x, own: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=own),
            state,
            self._shardings(state),
        )

    def _shardings(self, state: Any) -> Any:
        """Where each array of a state lies; None where there is no mesh."""
        if self._mesh is None or self._own is None:
            return jax.tree.map(lambda _: self._searches, state)
        return jax.tree.map(lambda s: NamedSharding(self._mesh, s), self._own(state))

    def _pinned(self, state: Any) -> Any:
        """A state inside of a program, where the search says that it shall lie."""
        if self._own is None:
            return state
        return jax.lax.with_sharding_constraint(state, self._shardings(state))


def _host(hyperparameters: Any) -> Any:
    """Hyperparameters as NumPy arrays: no weak types, which would compile twice."""
    return jax.tree.map(
        lambda x: np.asarray(x, jax.dtypes.result_type(x)), hyperparameters
    )


def _seeded(search: Search, pinned: Callable[[Any], Any]) -> Callable[..., Any]:
    def init(seed: Any, hyperparameters: Any, data: Any) -> Any:
        state = search.init(jax.random.key(seed), hyperparameters, data)
        return pinned(_strong(state))

    return init


def _measured(search: Search) -> Callable[..., Any]:
    if hasattr(search, "measure"):
        return search.measure

    def measure(*arguments: Any) -> dict[str, Any]:
        return {"score": search.test(*arguments)}

    return measure


def _advanced(search: Search, pinned: Callable[[Any], Any]) -> Callable[..., Any]:
    def advance(*arguments: Any) -> Any:
        state, metrics = search.advance(*arguments)
        return pinned(_strong(state)), metrics

    return advance


def _strong(state: Any) -> Any:
    """``state`` without weak types.

    They do not survive a checkpoint: a resumed run would compile a program that
    differs from the cached one in nothing else.
    """

    def strip(x: Any) -> Any:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return x
        return jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(strip, state)
