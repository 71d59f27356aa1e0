"""``evojax-mtl data prepare SOURCE``: one-time conversion of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evojax_mtl.commands.parsing import parse
from evojax_mtl.errors import UserError
from evojax_mtl.methods import unknown


@dataclass(frozen=True)
class DataOptions:
    """Options of ``evojax-mtl data prepare``."""

    data_dir: Path | None = None
    """Folder of the data sets; None: $EVOJAX_MTL_DATA, else the user cache (path)."""


def main(arguments: Sequence[str]) -> int:
    """``data prepare SOURCE [--data-dir DIR]``."""
    words = list(arguments)
    positional = []
    while words and not words[0].startswith("-"):
        positional.append(words.pop(0))
    options = parse(
        DataOptions,
        words,
        command="data prepare SOURCE",
        description="Converts a data set once into the form that runs read.",
        flags=["data_dir"],
    )
    if not positional:
        raise UserError("data: no action given; allowed: prepare SOURCE")
    if positional[0] != "prepare":
        raise UserError(f"data: {unknown(positional[0], ['prepare'])}")
    if len(positional) != 2:
        raise UserError(
            f"data prepare: found {len(positional) - 1} sources, takes exactly one"
        )
    from evojax_mtl.tasks.prepare import prepare

    for path in prepare(positional[1], options.data_dir):
        print(path)
    return 0
