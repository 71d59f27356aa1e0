"""Fronts and hypervolumes of pymoo 0.6.2, for the tests.

    pip install pymoo==0.6.2
    python -m tests.evolution.golden.make_pareto

Writes ``pareto.json``: individuals with two to four objectives, some of them on a
grid so that there are equal ones, the front of each by pymoo's non-dominated sorting,
and the hypervolume above a reference. pymoo minimises: it is given the negatives.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

# individuals, objectives, values a coordinate can have (0: any)
CASES = [(1, 2, 0), (30, 2, 0), (40, 2, 5), (25, 3, 0), (30, 3, 4), (16, 4, 0)]


def main() -> None:
    from pymoo.indicators.hv import HV
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    rng = np.random.default_rng(0)
    cases = []
    for individuals, count, grid in CASES:
        objectives = rng.uniform(-1, 1, (individuals, count)).round(4)
        if grid:
            objectives = rng.integers(0, grid, (individuals, count)) / 4
        front = np.zeros(individuals, int)
        for number, rows in enumerate(NonDominatedSorting().do(-objectives)):
            front[rows] = number
        reference = np.linspace(-0.5, 0.1, count).round(4)
        volume = HV(ref_point=-reference)(-objectives)
        cases.append(
            {
                "objectives": objectives.tolist(),
                "front": front.tolist(),
                "reference": reference.tolist(),
                "hypervolume": float(volume),
            }
        )
    record = {"made by": f"pymoo {version('pymoo')}", "cases": cases}
    path = Path(__file__).with_name("pareto.json")
    path.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
