"""``report.html`` of a retraining. Imports no JAX."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from evojax_mtl.errors import UserError
from evojax_mtl.runs import plots, sections
from evojax_mtl.runs.folder import RunFolder, write_atomically
from evojax_mtl.runs.records import Record
from evojax_mtl.runs.report import page


def write_report(folder: RunFolder, out: Path | None) -> Path:
    """Writes the page about a retraining, finished or not.

    Args:
      folder: of the retraining.
      out: file to write; None: ``report.html`` in the folder.

    Returns:
      The file written.

    Raises:
      UserError: if the folder is none of a retraining or ``out`` cannot be written.
    """
    config = folder.read_config()
    config.pop("jobs", None)
    record = Record(
        path=folder.path,
        label=f"Retraining of {config.get('genotype')}",
        config=config,
        summary=folder.read("summary.json"),
        best={},
        lines=folder.read_lines(),
    )
    out = out or folder.report
    try:
        write_atomically(out, render(record))
    except OSError as error:
        raise UserError(f"--out: {out}: {error.strerror}") from None
    return out


def render(record: Record) -> str:
    """The page."""
    tasks = record.summary.get("tasks", [])
    body = [
        sections.heading(record),
        sections.figures(record),
        _curves(record.lines),
        _table(tasks),
        _confusions(tasks),
        sections.settings(record),
    ]
    return page(record.label, body)


def _curves(lines: Sequence[dict[str, Any]]) -> str:
    if not lines:
        return '<h2>Accuracy</h2><p class="note">No epoch has ended yet.</p>'
    return f'<h2>Accuracy</h2><div class="card">{plots.accuracy_curves(lines)}</div>'


def _table(tasks: Sequence[dict[str, Any]]) -> str:
    """Size and accuracy of every network."""
    if not tasks:
        return ""
    rows = [
        [
            escape(task["name"]),
            escape(task["genotype"]),
            f"{task['parameters']:,}",
            f"{task['multiply_adds']:,}",
            f"{task['classes']}",
            f'<td class="number top">{sections.fraction(task["test"])}</td>',
            f"{sections.fraction(task['best_test'])} ({task['best_epoch']})",
            sections.fraction(task.get("test_top5")),
        ]
        for task in tasks
    ]
    head = [
        "task",
        "genotype",
        "parameters",
        "multiply-adds",
        "classes",
        "test accuracy",
        "best (epoch)",
        "top-5",
    ]
    note = (
        '<p class="note">Test accuracy is that of the last epoch, as is top-5: the '
        "share whose class is among the five likeliest, where there are more than "
        "five. The best one is chosen by test data. Multiply-adds are those of one "
        "image. Neither counts an auxiliary head.</p>"
    )
    return f"<h2>Networks</h2>{sections.table(head, rows)}{note}"


def _confusions(tasks: Sequence[dict[str, Any]]) -> str:
    if not tasks:
        return ""
    cards = "".join(
        f'<div class="card"><h3>{escape(task["name"])}</h3>'
        f"{plots.confusion(task['confusion'], f'confusion-{k}')}</div>"
        for k, task in enumerate(tasks)
    )
    return f'<h2>Confusion of the test</h2><div class="columns">{cards}</div>'
