"""The parts of a report as HTML. Imports no JAX."""

from collections.abc import Sequence
from html import escape
from typing import Any

from evojax_mtl.runs import plots
from evojax_mtl.runs.drawings import COLORS, draw, legend, operation_legend
from evojax_mtl.runs.progress import duration
from evojax_mtl.runs.records import Record

_FIGURES = (
    ("mean_test", "mean test"),
    ("mean_validation", "mean validation"),
    ("generations", "generations"),
    ("evaluations", "evaluations"),
    ("parameters", "parameters"),
    ("wall_seconds", "wall time"),
    ("compilations", "compilations"),
    ("compilations_after_first_generation", "after generation 1"),
    ("peak_memory_bytes", "peak memory"),
)


def fraction(value: Any, error: Any = None) -> str:
    """A metric between 0 and 1 with its standard error, or a dash."""
    if value is None:
        return "-"
    return f"{value:.4f}" + (f" &plusmn; {error:.4f}" if error else "")


def quantity(name: str, value: Any) -> str:
    """A number of the summary in its unit."""
    if value is None:
        return "-"
    if name.startswith("mean_"):
        return fraction(value)
    if name == "wall_seconds":
        return duration(value)
    if name == "compile_seconds":
        return f"{value:.1f} s"
    if name == "peak_memory_bytes":
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:,}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], foot: str = "") -> str:
    """An HTML table of cells that are HTML already; the first column is text."""
    cells = "".join(
        f"<th{' class=number' if k else ''}>{cell}</th>" for k, cell in enumerate(head)
    )
    body = "".join(
        "<tr>"
        + "".join(
            cell if cell.startswith("<td") else f"<td{_number(k)}>{cell}</td>"
            for k, cell in enumerate(row)
        )
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="card scroll"><table><thead><tr>{cells}</tr></thead>\n'
        f"<tbody>{body}</tbody>{foot}</table></div>"
    )


def _number(column: int) -> str:
    return ' class="number"' if column else ""


def heading(record: Record) -> str:
    """What ran, and how it stands."""
    config, summary = record.config, record.summary
    status = str(summary.get("status", "running"))
    seeds = config.get("seeds", 1)
    words = [f"scale {config.get('scale')}", f"seed {config.get('seed')}"]
    if seeds > 1:
        words[1] = f"seeds {config.get('seed')} to {config.get('seed') + seeds - 1}"
    words.append(str(record.path))
    return (
        f"<h1>{escape(record.label)} on {escape(str(config.get('tasks')))}</h1>"
        f'<p class="sub">{escape(", ".join(words))} '
        f'<span class="status {escape(status)}">{escape(status)}</span></p>'
    )


def figures(record: Record) -> str:
    """The key figures as tiles."""
    tiles = []
    for k, (name, words) in enumerate(_FIGURES):
        if name not in record.summary:
            continue
        shown = quantity(name, record.summary[name])
        error = record.summary.get(f"{name}_standard_error")
        words += f" &plusmn; {error:.4f}" if error else ""
        tile = "card lead" if k == 0 else "card"
        tiles.append(f'<div class="{tile}"><b>{shown}</b><span>{words}</span></div>')
    return f'<div class="figures">{"".join(tiles)}</div>'


def curves(records: Sequence[Record]) -> str:
    """Fitness by generation, and the other metrics."""
    if not any(record.lines for record in records):
        return '<h2>Fitness</h2><p class="note">No generation has ended yet.</p>'
    small = plots.metric_curves(records)
    more = f"<h2>Other metrics</h2><div class='card'>{small}</div>" if small else ""
    return (
        f"<h2>Fitness</h2><div class='card'>{plots.fitness_curves(records)}</div>{more}"
    )


def fronts(records: Sequence[Record]) -> str:
    """The Pareto fronts of methods with two objectives, and the networks on one."""
    drawn = plots.front_curves(records)
    if not drawn:
        return ""
    parts = [f"<h2>Pareto front</h2><div class='card'>{drawn}</div>"]
    if len(records) == 1:
        searches = records[0].best.get("searches", [records[0].best])
        members = searches[0].get("front", [])
        if members:
            names = list(members[0])
            rows = [
                [
                    fraction(member[name])
                    if name == "validation"
                    else f"{member[name]:,g}"
                    if isinstance(member[name], float)
                    else f"{member[name]:,}"
                    for name in names
                ]
                for member in members
            ]
            head = [escape(name.replace("_", " ")) for name in names]
            parts.append(f"<p></p>{table(head, rows)}")
    return "".join(parts)


def comparison(records: Sequence[Record]) -> str:
    """One row a run; the best mean test stands out."""
    names = [name for name, _ in _FIGURES[:-1]]
    tests = [record.summary.get("mean_test") for record in records]
    top = max((value for value in tests if value is not None), default=None)
    rows = []
    for k, record in enumerate(records):
        dot = f'<i class="dot" style="background:{COLORS[k % len(COLORS)]}"></i>'
        row = [f'<td class="name">{dot}{escape(record.label)}</td>']
        for name in names:
            value = record.summary.get(name)
            error = record.summary.get(f"{name}_standard_error")
            mean = name.startswith("mean_")
            shown = fraction(value, error) if mean else quantity(name, value)
            best = name == "mean_test" and value is not None and value == top
            row.append(f'<td class="number top">{shown}</td>' if best else shown)
        rows.append(row)
    head = ["run", *(words for _, words in _FIGURES[:-1])]
    return "<h2>Results</h2>" + table(head, rows)


def task_table(records: Sequence[Record]) -> str:
    """Validation and test metric of every task."""
    if len(records) == 1:
        return _own_tasks(records[0])
    found = [
        {task["name"]: task for task in record.summary.get("tasks", [])}
        for record in records
    ]
    names = list(dict.fromkeys(name for tasks in found for name in tasks))
    if not names:
        return ""
    rows = []
    for name in names:
        tasks = [own.get(name, {}) for own in found]
        top = max((t["test"] for t in tasks if t.get("test") is not None), default=None)
        row = [escape(name)]
        for task in tasks:
            shown = fraction(task.get("test"), task.get("test_standard_error"))
            best = top is not None and task.get("test") == top
            row.append(f'<td class="number top">{shown}</td>' if best else shown)
        rows.append(row)
    dots = plots.task_dots(records)
    chart = f"<div class='card'>{dots}</div><p></p>" if dots else ""
    head = ["task", *(escape(record.label) for record in records)]
    return f"<h2>Tasks (test)</h2>{chart}{table(head, rows)}"


def _own_tasks(record: Record) -> str:
    tasks = record.summary.get("tasks", [])
    if not tasks:
        return ""
    rows = []
    for task in tasks:
        test = task.get("test")
        bar = f'<td class="bar"><i style="width:{100 * (test or 0):.1f}%"></i></td>'
        rows.append(
            [
                escape(task["name"]),
                fraction(task.get("validation"), task.get("validation_standard_error")),
                fraction(test, task.get("test_standard_error")),
                bar,
            ]
        )
    foot = (
        f"<tfoot><tr><td>mean</td>"
        f'<td class="number">{fraction(record.summary.get("mean_validation"))}</td>'
        f'<td class="number">{fraction(record.summary.get("mean_test"))}</td>'
        f"<td></td></tr></tfoot>"
    )
    metric = escape(str(tasks[0].get("metric", "metric")))
    head = ["task", f"validation {metric}", f"test {metric}", ""]
    return "<h2>Tasks</h2>" + table(head, rows, foot)


def sweep_table(record: Record) -> str:
    """Results of each seed, and of each combination of swept values."""
    parts = []
    for key, title in (("sweep", "Swept values"), ("seeds", "Searches")):
        entries = record.summary.get(key)
        if not entries:
            continue
        skip = {"tasks", "test_metrics"}
        names = [
            name
            for name in entries[0]
            if name not in skip and not name.endswith("_standard_error")
        ]
        rows = []
        for entry in entries:
            row = []
            for name in names:
                if name.startswith("mean_"):
                    error = entry.get(f"{name}_standard_error")
                    row.append(fraction(entry[name], error))
                else:
                    row.append(escape(str(entry[name])))
            rows.append(row)
        head = [escape(name.replace("_", " ")) for name in names]
        parts.append(f"<h2>{title}</h2>{table(head, rows)}")
    return "".join(parts)


def routings(record: Record, title: str) -> str:
    """A drawing of every network found, or of each of its cells."""
    networks = record.networks
    if not networks:
        return ""
    tests = {t["name"]: t.get("test") for t in record.summary.get("tasks", [])}
    cards, graphs = [], []
    for network in networks:
        name, test = str(network["name"]), tests.get(network["name"])
        for graph in network.get("cells", [network]):
            own = "" if graph is network else f", {graph['name']} cell"
            words = _size(graph if graph is network else network)
            words += "" if test is None else f", test {test:.3f}"
            cards.append(
                f'<div class="card"><header><h3>{escape(name + own)}</h3>'
                f"<span>{words}</span></header>{draw(graph)}</div>"
            )
            graphs.append(graph)
    note = ""
    if "searches" in record.best:
        seed = record.best["searches"][0].get("seed")
        note = f'<p class="note">Of the first search, seed {seed}.</p>'
    if "cells" in networks[0]:
        key = operation_legend(graphs)
    else:
        modules = [n["module"] for g in graphs for n in g["nodes"] if "module" in n]
        key = legend(max(modules, default=-1) + 1)
    return (
        f"<h2>{escape(title)}</h2>{note}{key}"
        f'<div class="routings">{"".join(cards)}</div>'
    )


def modules(record: Record) -> str:
    """A drawing of every module that the networks found are assembled from."""
    searches = record.best.get("searches", [record.best])
    found = searches[0].get("modules", [])
    if not found:
        return ""
    cards = []
    for module in found:
        count = sum(node["kind"] == "operation" for node in module["nodes"])
        cards.append(
            f'<div class="card"><header><h3>{escape(str(module["name"]))}</h3>'
            f"<span>{count} layer{'' if count == 1 else 's'}</span></header>"
            f"{draw(module)}</div>"
        )
    note = '<p class="note">The last layer of each is its final one.</p>'
    return (
        f"<h2>Modules</h2>{note}{operation_legend(found)}"
        f'<div class="routings">{"".join(cards)}</div>'
    )


def hyperparameters(record: Record) -> str:
    """Learning rate and whatever else was found beside architectures."""
    found = record.hyperparameters
    if not found:
        return ""
    shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in found.items()}
    return (
        "<h2>Hyperparameters found</h2>"
        f'<div class="columns"><div class="card">{_pairs(shown)}</div></div>'
    )


def _size(network: dict[str, Any]) -> str:
    if "parameters" in network:
        return f"{network['parameters']:,} parameters"
    count = sum(node["kind"] == "module" for node in network["nodes"])
    return f"{count} node{'' if count == 1 else 's'}"


def settings(record: Record) -> str:
    """Settings, versions, and what was compiled."""
    config = dict(record.config)
    chosen = config.pop("config", {})
    summary = record.summary
    compiled = {
        name.replace("_", " "): quantity(name, summary.get(name))
        for name in (
            "compilations",
            "compilations_after_first_generation",
            "cache_hits",
            "capacity_growths",
            "compile_seconds",
            "sessions",
        )
        if name in summary
    }
    machine = {
        "devices": ", ".join(summary.get("devices", [])) or "-",
        "processes": summary.get("processes", "-"),
        "git revision": summary.get("git_revision") or "-",
    } | summary.get("versions", {})
    run = {k.replace("_", " "): v for k, v in config.items() if k != "format"}
    groups = [("Run", run), ("Method", chosen), ("Compilation", compiled)]
    groups.append(("Machine and versions", machine))
    cards = "".join(
        f'<div class="card"><h3>{title}</h3>{_pairs(pairs)}</div>'
        for title, pairs in groups
    )
    return f'<h2>Settings</h2><div class="columns">{cards}</div>'


def _pairs(pairs: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{_value(value)}</td></tr>"
        for name, value in pairs.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return escape(", ".join(f"{k}={v}" for k, v in value.items())) or "-"
    return "-" if value in (None, "") else escape(str(value))
