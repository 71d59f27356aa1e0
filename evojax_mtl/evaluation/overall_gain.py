"""One figure for many metrics: how much better than a reference, on average. No JAX.

For metric ``i`` the gain is ``+-(value_i - reference_i) / reference_i``, positive where
the value is better.

* flat (MAMO, Eq. 15): the mean over all metrics of all tasks;
* per task (LibMTL): the mean over each task's metrics, then over tasks; on NYUv2, with
  2, 2 and 5 metrics, another figure;
* win rate: the share of metrics that are better than the reference's; equal is no win.

Tan, Hu, Zhang 2024 (MAMO); Maninis, Radosavovic, Kokkinos 2019.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evojax_mtl.errors import UserError


def gains(
    values: Mapping[str, float],
    reference: Mapping[str, float],
    higher: Mapping[str, bool],
) -> dict[str, float]:
    """The relative gain of every metric of ``values`` (fraction).

    Args:
      values: of a method.
      reference: of single-task learning.
      higher: whether higher is better.

    Raises:
      UserError: the reference lacks a metric, or is 0 there.
    """
    found = {}
    for name, value in values.items():
        if not reference.get(name):
            given = reference.get(name, "nothing")
            raise UserError(
                f"reference metric {name!r}: found {given}; allowed: a number, not 0"
            )
        gain = (value - reference[name]) / reference[name]
        found[name] = float(gain if higher[name] else -gain)
    return found


def flat_gain(gains: Mapping[str, float]) -> float:
    """The mean over all metrics (fraction)."""
    return float(np.mean(list(gains.values())))


def task_gain(gains: Mapping[str, float], tasks: Mapping[str, Sequence[str]]) -> float:
    """The mean over tasks of the mean over each task's metrics (fraction).

    Args:
      gains: of the metrics.
      tasks: metrics of each task; tasks without any in ``gains`` are left out.
    """
    means = [
        np.mean([gains[name] for name in names if name in gains])
        for names in tasks.values()
        if any(name in gains for name in names)
    ]
    return float(np.mean(means))


def win_rate(gains: Mapping[str, float]) -> float:
    """The share of metrics that are better than the reference's (fraction)."""
    return float(np.mean([gain > 0 for gain in gains.values()]))
