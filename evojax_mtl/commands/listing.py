"""``evojax-mtl list``: what there is, each with its paper and status."""

import ast
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evojax_mtl.commands.parsing import parse
from evojax_mtl.errors import UserError
from evojax_mtl.methods import METHODS, unknown

Row = dict[str, str]


@dataclass(frozen=True)
class ListOptions:
    """Options of ``evojax-mtl list``."""

    json: bool = False
    """Print JSON: the list of a category's entries, or an object of such lists."""


def methods() -> list[Row]:
    """Search methods."""
    return [
        {
            "name": form.name,
            "summary": form.summary,
            "paper": form.paper,
            "status": form.status,
            "data": form.data,
            "tasks": form.tasks,
        }
        for method in METHODS.values()
        for form in method.forms
    ]


def tasks() -> list[Row]:
    """Sources of tasks."""
    from evojax_mtl.tasks.sources import SOURCES

    return [
        {
            "name": source.usage,
            "summary": source.description,
            "kind": source.kind,
            "where": source.where,
        }
        for source in SOURCES.values()
    ]


def balancing() -> list[Row]:
    """Methods that balance task losses or gradients."""
    from evojax_mtl.balancing.registry import BALANCING

    return [
        {
            "name": method.name,
            "summary": method.summary,
            "paper": method.paper,
            "kind": method.kind,
            "cost": method.cost,
            "representation": method.representation,
            "status": method.status,
        }
        for method in BALANCING.values()
    ]


def strategies() -> list[Row]:
    """Evolution strategies of the evosax package, read without importing it.

    Importing evosax imports JAX, which takes longer than the list may.
    """
    spec = importlib.util.find_spec("evosax")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("strategies: the evosax package is not installed")
    root = Path(spec.submodule_search_locations[0]) / "algorithms"
    rows = []
    for kind in ("distribution_based", "population_based"):
        for name in _registered(root / kind / "__init__.py"):
            rows.append(
                {
                    "name": name,
                    "summary": kind.replace("_", " "),
                    "paper": "see evosax",
                    "status": "as in evosax; continuous, single objective",
                }
            )
    return rows


def _registered(path: Path) -> list[str]:
    """Keys of the dict literal that evosax keeps its algorithms of one kind in."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            keys = (key for key in node.value.keys if isinstance(key, ast.Constant))
            return [str(key.value) for key in keys]
    return []


CATEGORIES = {
    "methods": methods,
    "tasks": tasks,
    "balancing": balancing,
    "strategies": strategies,
}
_DESCRIPTION = "What there is: methods, tasks, balancing, strategies (all by default)."


def main(arguments: Sequence[str]) -> int:
    """``list [CATEGORY] [--json]``."""
    words = list(arguments)
    chosen: list[str] = []
    while words and not words[0].startswith("-"):
        chosen.append(words.pop(0))
    for name in chosen:
        if name not in CATEGORIES:
            raise UserError(f"list: {unknown(name, CATEGORIES)}")
    command = f"list [{'|'.join(CATEGORIES)}]"
    # The only flag is taken here so that the plain lists need not wait for tyro.
    if words in ([], ["--json"]):
        as_json = bool(words)
    else:
        as_json = parse(
            ListOptions,
            words,
            command=command,
            description=_DESCRIPTION,
            flags=["json"],
        ).json
    listed = {name: CATEGORIES[name]() for name in chosen or CATEGORIES}
    if as_json:
        print(json.dumps(listed[chosen[0]] if len(chosen) == 1 else listed, indent=2))
    else:
        print(_table(listed))
    return 0


def _table(listed: dict[str, list[Row]]) -> str:
    blocks = []
    for category, rows in listed.items():
        width = max((len(row["name"]) for row in rows), default=0)
        lines = [f"{category}:"]
        for row in rows:
            lines.append(f"  {row['name']:<{width}}  {row['summary']}")
            extra = [row[key] for key in ("paper", "cost", "status") if key in row]
            if extra and category in ("methods", "balancing"):
                lines.append(f"  {'':<{width}}    {'; '.join(extra)}")
        if not rows:
            lines.append("  none is registered yet")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
