"""``evojax-mtl report DIR ...``: one HTML file about one run or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evojax_mtl.commands.parsing import parse
from evojax_mtl.errors import UserError
from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.retrain.networks import is_network
from evojax_mtl.runs.retrain.settings import is_retraining


@dataclass(frozen=True)
class ReportOptions:
    """Options of ``evojax-mtl report``."""

    out: Path | None = None
    """File to write; None: report.html in the run, or in the folder that holds all
    the runs (path)."""


def main(arguments: Sequence[str]) -> int:
    """``report DIR ... [--out FILE]``."""
    words = list(arguments)
    directories = []
    while words and not words[0].startswith("-"):
        directories.append(Path(words.pop(0)))
    options = parse(
        ReportOptions,
        words,
        command="report DIR ...",
        description="One self-contained HTML file about one run or several.",
        flags=["out"],
    )
    if not directories:
        raise UserError("report: no run given; usage: evojax-mtl report DIR ...")
    folders = [RunFolder(path) for path in directories]
    configs = [(folder, folder.read_config()) for folder in folders]
    # a retrained network's folder is like that of a run
    retrainings = [f for f, c in configs if is_retraining(c) and not is_network(c)]
    if retrainings and len(folders) > 1:
        raise UserError(
            f"report: {retrainings[0].path} is a retraining, must be reported alone"
        )
    if retrainings:
        from evojax_mtl.runs.retrain.report import write_report as write_retraining

        print(write_retraining(folders[0], options.out))
        return 0
    from evojax_mtl.runs.report import write_report

    print(write_report(directories, options.out))
    return 0
