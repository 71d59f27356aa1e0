import itertools
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evojax_mtl.cli import main
from evojax_mtl.runs.drawings import draw
from evojax_mtl.runs.layout import layout
from evojax_mtl.runs.records import read_records
from tests.runs.fake import network
from tests.runs.helpers import run

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Checks that tags balance and ids are unique; counts classes and elements."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.classes, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.classes += (values.get("class") or "").split()
        self.ids += [values["id"]] if "id" in values else []
        for name in ("src", "href", "xlink:href"):
            assert not values.get(name, "#").startswith(("http", "/"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def made(tmp_path_factory, fake_method):
    tmp_path = tmp_path_factory.mktemp("runs")
    one = run(tmp_path / "one", "--max-tasks", "3")
    return one, run(tmp_path / "two", "--seeds", "2", "--max-tasks", "3")


@pytest.fixture
def two_runs(made, tmp_path):
    """Copies of two runs, for the test to spoil."""
    return [Path(shutil.copytree(path, tmp_path / path.name)) for path in made]


def test_report_of_a_run(two_runs):
    page = Page((two_runs[0] / "report.html").read_text())
    assert page.classes.count("routing") == 3
    assert page.classes.count("plot") >= 1
    assert page.tags.count("h1") == 1
    assert "script" not in page.tags
    text = (two_runs[0] / "report.html").read_text()
    for words in ("task2", "learning rate", "compile seconds", "soft-merge weight"):
        assert words in text


def told_fronts(folder, fronts):
    """Adds fronts to a run's lines of metrics, the last one to all that are left."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for k, line in enumerate(lines[1:]):
        cost, validation = fronts[min(k, len(fronts) - 1)]
        line |= {"front_cost": cost, "front_validation": validation}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_report_draws_the_first_and_the_last_front(two_runs):
    first, last = [[300, None], [0.7, None]], [[90, 4000], [0.6, 0.8125]]
    told_fronts(two_runs[0], [first, last])
    # of a sweep those of each search
    told_fronts(two_runs[1], [[[x, x] for x in first]])
    best = json.loads((two_runs[0] / "best.json").read_text())
    front = [{"validation": 0.8125, "cost": 4000.0, "parameters": 4000}]
    (two_runs[0] / "best.json").write_text(json.dumps(best | {"front": front}))
    records = read_records(two_runs)
    generation, cost, validation = records[0].fronts[1]
    assert (cost.tolist(), validation.tolist()) == (last[0], last[1])
    assert records[1].fronts[0][1].tolist() == [300]
    assert main(["report", str(two_runs[0])]) == 0
    text = (two_runs[0] / "report.html").read_text()
    Page(text)
    for words in (
        "Pareto front",
        "generation 1<",
        f"generation {generation}<",
        "4,000",
    ):
        assert words in text
    assert main(["report", *map(str, two_runs)]) == 0
    assert "Pareto front" in (two_runs[0].parent / "report.html").read_text()


def test_report_of_runs_side_by_side(two_runs, tmp_path, capsys):
    assert main(["report", *map(str, two_runs)]) == 0
    out = tmp_path / "report.html"
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    text = out.read_text()
    page = Page(text)
    assert page.classes.count("routing") == 6
    assert "fake (one)" in text
    assert "fake (two)" in text
    assert "&plusmn;" in text


def test_report_of_a_run_that_has_just_begun(two_runs, tmp_path):
    young = tmp_path / "young"
    young.mkdir()
    (young / "config.json").write_bytes((two_runs[0] / "config.json").read_bytes())
    assert main(["report", str(young)]) == 0
    Page((young / "report.html").read_text())
    (young / "metrics.jsonl").write_text(
        '{"generation": 0, "mean_validation": null}\n{'
    )
    assert main(["report", str(young), str(two_runs[1])]) == 0


def test_report_escapes_what_users_name(two_runs):
    path = two_runs[0] / "best.json"
    best = json.loads(path.read_text())
    best["networks"][0]["name"] = '<script>"x"</script>'
    path.write_text(json.dumps(best))
    assert main(["report", str(two_runs[0])]) == 0
    assert "script" not in Page((two_runs[0] / "report.html").read_text()).tags


def test_report_draws_the_modules_that_networks_are_made_of(two_runs):
    path = two_runs[0] / "best.json"
    best = json.loads(path.read_text())
    layer = {"kind": "operation", "operation": 1, "name": "convolution_3x3"}
    layer |= {"filters": 12, "activation": "elu", "dropout": 0.25}
    ends = [{"id": 0, "kind": "input"}, {"id": 1, "kind": "output"}]
    edges = [{"source": 0, "target": 2}, {"source": 2, "target": 1}]
    module = {"name": "module <1>", "nodes": [*ends, layer | {"id": 2}], "edges": edges}
    path.write_text(json.dumps(best | {"modules": [module, module]}))
    assert main(["report", str(two_runs[0])]) == 0
    text = (two_runs[0] / "report.html").read_text()
    page = Page(text)
    assert page.classes.count("routing") == 3 + 2
    for words in ("module &lt;1&gt;", "1 layer<", ">C3<", "12 channels, elu", "0.25"):
        assert words in text


def test_report_tells_the_hyperparameters_found(two_runs):
    path = two_runs[1] / "best.json"
    best = json.loads(path.read_text())
    best["searches"][0] |= {"learning_rate_factor": 2.41234, "optimizer": "<adam>"}
    path.write_text(json.dumps(best))
    assert main(["report", str(two_runs[1])]) == 0
    text = (two_runs[1] / "report.html").read_text()
    Page(text)
    table = text.split("Hyperparameters found")[1].split("</table>")[0]
    for words in ("learning rate factor", ">2.41<", "&lt;adam&gt;"):
        assert words in table
    assert main(["report", str(two_runs[0])]) == 0
    text = (two_runs[0] / "report.html").read_text()
    assert "Hyperparameters found" not in text


def test_layout_keeps_direction_and_distance():
    nodes = list(range(12))
    edges = [(i, j) for i in nodes for j in nodes if i < j and (i * j) % 3 != 1]
    placed = layout(nodes, edges, last=11, gap=40.0)
    for (source, target), points in zip(edges, placed.edges, strict=True):
        assert points[0] == placed.nodes[source]
        assert points[-1] == placed.nodes[target]
        assert all(a[0] < b[0] for a, b in itertools.pairwise(points))
    places = sorted(placed.nodes.values())
    for (x, y), (u, v) in itertools.pairwise(places):
        assert x != u or v - y >= 40 - 1e-9
    assert all(0 < x < placed.width and 0 < y < placed.height for x, y in places)


def test_layout_refuses_cycles():
    with pytest.raises(ValueError, match="cycle"):
        layout([0, 1], [(0, 1), (1, 0)])


def test_drawing_shows_nodes_edges_and_adapters():
    found = network("a & b", 1)
    page = Page(draw(found))
    assert page.tags.count("rect") == len(found["nodes"])
    assert page.classes.count("edge") == len(found["edges"])
    adapters = sum(edge["adapters"] for edge in found["edges"])
    assert page.classes.count("adapter") == adapters


def test_same_run_makes_the_same_page(two_runs):
    path = two_runs[0] / "report.html"
    assert main(["report", str(two_runs[0])]) == 0
    first = path.read_bytes()
    assert main(["report", str(two_runs[0])]) == 0
    assert path.read_bytes() == first
