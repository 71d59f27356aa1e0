"""Run as a program: each method's searches, two on each of 8 virtual devices.

Writes the leaves of states and metrics after one generation, searches stacked.
"""

import sys

import jax
import numpy as np

from evojax_mtl.runs.program import Program
from tests.search.cases import Case, easy_data, plain

DEVICES, SEARCHES = 8, 16


def main(path: str, methods: list[str]) -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_disable_most_optimizations", True)
    arrays = {}
    for method in methods:
        case = Case(method)
        program = Program(
            case.search, easy_data(), range(SEARCHES), [case.rates], devices=DEVICES
        )
        state = program.init()
        kernel = state.params["decoders"]["kernel"]
        assert len(kernel.sharding.device_set) == DEVICES
        outcome = program.advance(state, 0, program.ticks)
        arrays |= {f"{method}/{i}": x for i, x in enumerate(plain(outcome))}
    np.savez(path, **arrays)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
