"""What the card of Tan 2024 computes from runs."""

import pytest

from evojax_mtl.balancing.registry import BALANCING
from evojax_mtl.methods import find_method
from experiments.papers.tan2024_mamo import REFERENCE, TABLES, compared, told


def found(iou, error, seconds):
    metrics = {"mean_iou": iou, "absolute_error": error}
    return {"metrics": metrics, "generation_seconds": seconds, "kernels": []}


def test_gains_are_over_the_reference():
    own = compared(found(0.6, 1.5, 4.0), found(0.5, 1.0, 2.0))
    assert own["gains"] == pytest.approx({"mean_iou": 0.2, "absolute_error": -0.5})
    assert own["flat_gain"] == own["task_gain"] == pytest.approx(-0.15)
    assert (own["win_rate"], own["speed"]) == (0.5, 0.5)
    line = told([{"run": found(0.6, 1.5, 4.0), **own}])
    assert line.startswith("gain -15.00 +- 0.00 %, by task -15.00 %, win 50 %")


@pytest.mark.parametrize("table", TABLES)
def test_every_variant_is_a_method_with_its_options(table):
    variants = TABLES[table]
    assert next(iter(variants)) == REFERENCE
    for method, options in variants.values():
        config = find_method(method).configure("paper")
        type(config)(**options)
        assert options.get("balancing", "mgda") in BALANCING
