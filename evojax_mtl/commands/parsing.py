"""Command lines through tyro, whose boxed errors become one line each."""

import contextlib
import difflib
import io
import re
import sys
from collections.abc import Sequence
from typing import Any

from evojax_mtl.configs import flag
from evojax_mtl.errors import UserError

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def parse(
    target: Any,
    arguments: Sequence[str],
    *,
    command: str,
    description: str,
    default: Any = None,
    flags: Sequence[str] = (),
) -> Any:
    """An instance of dataclass ``target`` from a command line.

    Args:
      target: the dataclass, or a tyro-marked one.
      arguments: words after the command.
      command: what the user typed before them, for the help.
      description: first paragraph of the help.
      default: instance that holds the defaults.
      flags: field names, from which to suggest when a flag is unknown.

    Raises:
      UserError: if the words do not fit; ``--help`` exits with status 0.
    """
    # 0.2 s: too slow to pay before the first help page is known to be wanted.
    import tyro

    complaint = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            parsed, rest = tyro.cli(
                target,
                args=list(arguments),
                prog=f"evojax-mtl {command}",
                description=description,
                return_unknown_args=True,
                **options,
            )
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise UserError(_one_line(complaint.getvalue())) from None
    if rest:
        raise UserError(_unknown_word(rest[0], [flag(name) for name in flags]))
    return parsed


def scan(arguments: Sequence[str], name: str) -> str | None:
    """The last value given for flag ``name``, before anything is parsed."""
    value = None
    for position, word in enumerate(arguments):
        if word == name and position + 1 < len(arguments):
            value = arguments[position + 1]
        elif word.startswith(name + "="):
            value = word.removeprefix(name + "=")
    return value


def split_assignments(words: Sequence[str], name: str) -> dict[str, str]:
    """``FIELD=VALUE`` words as a dict; hyphens in FIELD read as underscores.

    Raises:
      UserError: if a word has no ``=`` or a field comes twice.
    """
    pairs: dict[str, str] = {}
    for word in words:
        field, equals, value = word.partition("=")
        field = field.strip().replace("-", "_")
        if not equals or not field or not value:
            raise UserError(f"{name}: found {word!r}, must be FIELD=VALUE")
        if field in pairs:
            raise UserError(f"{name}: {field} is given twice")
        pairs[field] = value
    return pairs


def _unknown_word(word: str, flags: Sequence[str]) -> str:
    if not word.startswith("-"):
        return f"unexpected word {word!r}; options begin with --"
    name = word.split("=")[0].replace("_", "-")
    near = difflib.get_close_matches(name, flags, n=1)
    hint = f", did you mean {near[0]}?" if near else "; --help lists the options"
    return f"unknown option {word.split('=')[0]}{hint}"


def _one_line(box: str) -> str:
    """The message inside tyro's box, with what the option takes."""
    sections: list[list[str]] = [[]]
    for raw in _ANSI.sub("", box).splitlines():
        if raw[:1] in "╭╰":
            continue
        line = raw.strip("│ ").strip()
        if line and not line.strip("─"):
            sections.append([])
        elif line:
            sections[-1].append(line)
    message = " ".join(sections[0]) or "the command line cannot be read"
    if len(sections) > 1 and len(sections[1]) > 1 and "helptext" in sections[1][0]:
        message += f"; takes {sections[1][1]}"
    return re.sub(r"^Error parsing ", "", message)


def print_error(message: str) -> None:
    """The one line on stderr that every error of the user ends with."""
    line = " ".join(str(message).split())
    print(f"evojax-mtl: error: {line}", file=sys.stderr, flush=True)
