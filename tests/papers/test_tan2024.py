"""What the card of Tan 2024 computes from runs."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from evojax_mtl.balancing.registry import BALANCING
from evojax_mtl.evaluation.dense_metrics import HIGHER
from evojax_mtl.methods import find_method
from experiments.papers.tan2024_figures import DRAWN, REFERENCE, curves, draw
from experiments.papers.tan2024_mamo import TABLES, compared, place, told


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


def test_equal_variants_share_a_folder_and_others_do_not():
    variants = [pair for table in TABLES.values() for pair in table.values()]
    common = {"tasks": "rooms", "scale": "smoke", "generations": 3}
    folders = {place(*pair, common) for pair in variants}
    assert len(folders) == len({str(pair) for pair in variants})
    assert place("mamo", {"top": 2}, common) == "mamo-top-2-generations-3"


def measured_run(folder, seed):
    metrics = {name: 0.1 * i + 0.01 * seed + 0.2 for i, name in enumerate(HIGHER)}
    run_folder = folder / "metrics.jsonl"
    folder.mkdir(parents=True)
    lines = [{"generation": g, **metrics} for g in range(4)]
    run_folder.write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = dict.fromkeys(HIGHER, 0.1 * seed)
    run = {"metrics": metrics, "parameters": 1000 * seed}
    return {"run": run, "gains": own, "flat_gain": 0.1 * seed}


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_drawn(name, tmp_path):
    found = {}
    for variant in TABLES[name]:
        folders = [tmp_path / variant / str(seed) for seed in (1, 2)]
        seeds = [measured_run(folder, i + 1) for i, folder in enumerate(folders)]
        found[variant] = {"folders": folders, "seeds": seeds}
    figure = Figure()
    DRAWN[name](figure, found)
    drawn = [p for axis in figure.axes for p in (*axis.lines, *axis.patches)]
    assert len(drawn) >= 2
    assert all(axis.get_xlabel() or axis.get_ylabel() for axis in figure.axes)
    assert draw(tmp_path / "figure.png", name, found).stat().st_size > 5000


def test_the_curves_are_the_validation_of_each_generation(tmp_path):
    found = {"folders": [tmp_path / "a"], "seeds": []}
    measured_run(tmp_path / "a", 1)
    assert curves(found, "mean_iou") == pytest.approx(np.full((1, 3), 0.21))
