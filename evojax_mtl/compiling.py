"""How programs are compiled for CPU: to run fast, or in less time."""

from typing import Any

import jax

Options = dict[str, Any]

BRIEF: Options = {"xla_cpu_use_fusion_emitters": False}
"""XLA's other way to write kernels: done in two thirds of the time, and they take about
a tenth longer."""

HASTY: Options = {
    "xla_backend_optimization_level": 1,
    "xla_llvm_disable_expensive_passes": True,
}
"""Half of the time or less; the kernels may take much longer. With level 0 compiling
takes a little less still, and the kernels six times as long."""

_FEW = 1000


def in_haste(iterations: int) -> Options:
    """``HASTY`` too where a generation has so few training iterations.

    Then compiling is what takes long.
    """
    return BRIEF | HASTY if iterations <= _FEW else BRIEF


ALONE: Options = {"xla_cpu_multi_thread_eigen": False}
"""A device keeps to one core. XLA splits the loops of a program over all cores, also
where each core is a device of its own and the program runs on all of them: then each
loop waits for the others' cores. For programs that are spread over devices."""

OWN_PRODUCTS: Options = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""Products of matrices by XLA's own kernels, not those of a library that it hands whole
expressions to. Small networks on scenes train in 0.9 of the time."""

SMALL: Options = OWN_PRODUCTS | {
    "xla_disable_hlo_passes": "while-loop-invariant-code-motion",
}
"""For loops over arrays of a few dozen numbers a search, of many searches: products so
small are not worth a library's call, and constants that would be computed before the
loop, as masks of comparisons are, take longer to read than to make. A thousand searches
on tables take 0.8 of the time."""

_WIDE: Options = {"xla_cpu_prefer_vector_width": 512}
"""As long as the processor has them; XLA's own choice is 256. Cells are evaluated in
0.8 of the time."""


def on_cpu(options: Options | None = None) -> Options | None:
    """``options`` and wide vectors where the default backend is CPU; None elsewhere."""
    return _WIDE | (options or {}) if jax.default_backend() == "cpu" else None
