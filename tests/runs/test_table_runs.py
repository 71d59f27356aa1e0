"""Runs of searches on tables through the command: results, resuming, the report."""

import json

import pytest

from evojax_mtl.cli import main
from tests.runs.helpers import assert_same_result, metrics, summary


def run(out, *extra, method="ktnas"):
    words = ["run", method, "--scale", "tiny", "--seed", "3", "--out", str(out)]
    assert main([*words, *extra]) == 0
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run(tmp_path_factory.mktemp("tables") / "run")


def test_a_run_tells_what_it_found_and_spent(folder):
    told = summary(folder)
    assert [task["name"] for task in told["tasks"]] == ["toy-0", "toy-1", "toy-2"]
    assert all(0.6 < task["validation"] < 1 for task in told["tasks"])
    assert told["compilations_after_first_generation"] == 0
    lines = metrics(folder)
    assert told["evaluations"] == sum(line["evaluations"] for line in lines)
    assert told["evaluations"] == sum(lines[-1]["spent"])
    best = json.loads((folder / "best.json").read_text())
    for network in best["networks"]:
        assert network["architecture"].startswith("|")
        assert len(network["genes"]) == 6
    assert told["parameters"] == sum(n["parameters"] for n in best["networks"])


def test_the_report_draws_cells_and_counts_evaluations(folder):
    page = (folder / "report.html").read_text()
    assert ">evaluations</text>" in page
    assert page.count('class="routing"') == 3
    assert main(["report", str(folder)]) == 0


def test_a_longer_run_goes_on_to_the_same_bits(folder, tmp_path, without_reports):
    short = run(tmp_path / "short", "--generations", "4")
    longer = tmp_path / "longer"
    words = ["resume", str(short), "--set", "generations=10", "--out", str(longer)]
    assert main(words) == 0
    assert_same_result(longer, folder)


def test_seeds_run_as_one_program(tmp_path, without_reports):
    out = run(tmp_path / "sweep", "--seeds", "3", method="rea")
    told = summary(out)
    assert [entry["seed"] for entry in told["seeds"]] == [3, 4, 5]
    alone = run(tmp_path / "alone", method="rea")
    assert told["seeds"][0]["tasks"][0]["validation"] == pytest.approx(
        summary(alone)["tasks"][0]["validation"]
    )
