"""The ``evojax-mtl`` command. Imports no JAX: each command does, when it runs."""

import importlib
import os
import sys
from collections.abc import Sequence

from evojax_mtl.commands.parsing import print_error
from evojax_mtl.errors import UserError

COMMANDS = {
    "list": ("listing", "methods, tasks, balancing and strategies that there are"),
    "run": ("run", "one search, or a sweep of seeds and hyperparameters"),
    "resume": ("resume", "go on from the last complete checkpoint of a run"),
    "report": ("report", "one HTML file about one run, or several side by side"),
    "retrain": (
        "retrain",
        "train what was found from scratch: a run's, or published cells",
    ),
    "data": ("data", "prepare SOURCE: one-time conversion of a data set"),
}

_USAGE = """\
usage: evojax-mtl COMMAND ...

Evolutionary multitask architecture search in JAX.

commands:
{commands}

  evojax-mtl run ctr --tasks glyphs --scale smoke
  evojax-mtl COMMAND --help     options of a command
  evojax-mtl run METHOD --help  options of a method, with units and defaults
"""


def usage() -> str:
    """The help page of the command itself."""
    lines = (f"  {name:<8} {what}" for name, (_, what) in COMMANDS.items())
    return _USAGE.format(commands="\n".join(lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status.

    Returns:
      0 if all went well, 1 if the machine failed (a disk, a device), 2 if the user's
      input is wrong, 130 or 143 after SIGINT or SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] == "--version":
        from evojax_mtl.runs.provenance import version

        print(version("evojax-mtl"))
        return 0
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    try:
        return _dispatch(words[0], words[1:])
    except UserError as error:
        print_error(str(error))
        return 2
    except KeyboardInterrupt:
        print("evojax-mtl: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; keep the interpreter's exit from writing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print_error(f"{error.filename or 'system'}: {error.strerror or error}")
        return 1


def _dispatch(command: str, rest: list[str]) -> int:
    from evojax_mtl.errors import unknown

    if command not in COMMANDS:
        raise UserError(f"command: {unknown(command, COMMANDS)}")
    module = importlib.import_module(f"evojax_mtl.commands.{COMMANDS[command][0]}")
    return module.main(rest)


if __name__ == "__main__":
    sys.exit(main())
