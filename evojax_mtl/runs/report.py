"""``report.html``: one self-contained page about one run, or several side by side."""

import os
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from evojax_mtl.errors import UserError
from evojax_mtl.runs import sections
from evojax_mtl.runs.folder import write_atomically
from evojax_mtl.runs.records import Record, read_records

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def write_report(paths: Sequence[Path], out: Path | None) -> Path:
    """Writes the report of the runs in these folders.

    Args:
      paths: folders of runs; a run that is not finished shows what there is.
      out: file to write; None: ``report.html`` in the run's folder, or for several
        runs in the deepest folder that holds them all.

    Returns:
      The file written.

    Raises:
      UserError: if a folder is no run or ``out`` cannot be written.
    """
    records = read_records(paths)
    if out is None:
        folders = [path.resolve() for path in paths]
        if len(folders) > 1 and len(set(folders)) == len(folders):
            out = Path(os.path.commonpath(folders)) / "report.html"
        else:
            out = paths[0] / "report.html"
    text = render(records)
    try:
        write_atomically(out, text)
    except OSError as error:
        raise UserError(f"--out: {out}: {error.strerror}") from None
    return out


def render(records: Sequence[Record]) -> str:
    """The page."""
    body = _one(records[0]) if len(records) == 1 else _several(records)
    return page(", ".join(dict.fromkeys(record.label for record in records)), body)


def page(title: str, body: Sequence[str]) -> str:
    """A self-contained page of these parts."""
    style = resources.files("evojax_mtl.runs").joinpath("report.css").read_text("utf-8")
    return _PAGE.format(
        title=escape(f"{title} - evojax_mtl"), style=style, body="\n".join(body)
    )


def _one(record: Record) -> list[str]:
    return [
        sections.heading(record),
        sections.figures(record),
        sections.curves([record]),
        sections.fronts([record]),
        sections.sweep_table(record),
        sections.task_table([record]),
        sections.routings(record, "Routings found"),
        sections.modules(record),
        sections.hyperparameters(record),
        sections.settings(record),
    ]


def _several(records: Sequence[Record]) -> list[str]:
    parts = [
        f"<h1>{len(records)} runs side by side</h1>",
        f'<p class="sub">{escape(", ".join(record.label for record in records))}</p>',
        sections.comparison(records),
        sections.curves(records),
        sections.fronts(records),
        sections.task_table(records),
    ]
    parts += [
        sections.routings(record, f"Routings found by {record.label}")
        for record in records
    ]
    for record in records:
        parts.append(
            f"<details><summary>Settings and versions of {escape(record.label)}"
            f"</summary>{sections.settings(record)}</details>"
        )
    return parts
