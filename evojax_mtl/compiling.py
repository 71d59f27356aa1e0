"""Compiling a program for CPU in less time, for those that run seldom."""

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


def on_cpu(options: Options) -> Options | None:
    """``options`` where the default backend is CPU; None elsewhere."""
    return options if jax.default_backend() == "cpu" else None
