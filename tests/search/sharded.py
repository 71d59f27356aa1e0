"""Run as a program: each method's searches, two on each of 8 virtual devices.

Writes the leaves of states and metrics after one generation, searches stacked. Then,
where a method can, the weights and metrics of one search on two devices. A file a
method, complete as soon as it is there.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from evojax_mtl.runs.compilation import CompilationCounter
from evojax_mtl.runs.devices import make_mesh
from evojax_mtl.runs.program import Program
from tests.search.cases import (
    Case,
    axes_of,
    comparable,
    data_of,
    pieces,
    weights_and_metrics,
)

DEVICES, SEARCHES, PARTS = 8, 16, 2


def main(folder: Path, methods: list[str]) -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES)
    for method in methods:
        arrays = {}
        case = Case(method)
        program = Program(
            case.search,
            data_of(method),
            range(SEARCHES),
            [case.rates],
            make_mesh({"population": DEVICES}),
        )
        state = program.init()
        leaf = jax.tree.leaves(state)[-1]
        assert len(leaf.sharding.device_set) == DEVICES
        for start, stop in pieces(case.steep, case.search, case.data):
            state, metrics = program.advance(state, start, stop)
        outcome = comparable(case.steep, state, metrics)
        arrays |= {f"searches/{i}": x for i, x in enumerate(outcome)}
        for axis in axes_of(method):
            outcome = spread_one(case, method, axis)
            arrays |= {f"{axis}/{i}": x for i, x in enumerate(outcome)}
        partial = folder / f".{method}.npz"
        np.savez(partial, **arrays)
        partial.rename(folder / f"{method}.npz")


def spread_one(case: Case, method: str, axis: str) -> list[np.ndarray]:
    mesh = make_mesh({axis: PARTS})
    search = type(case.search)(case.search.config, case.data, mesh)
    program = Program(search, data_of(method), [0], [case.rates], mesh)
    state = program.init()
    for start, stop in pieces(case.steep, search, case.data):
        state, metrics = program.advance(state, start, stop)
    outcome = weights_and_metrics(state, metrics)
    with CompilationCounter() as counter:
        program.advance(program.grow(state), 0, program.ticks)
    assert counter.requests == 0
    return outcome


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
