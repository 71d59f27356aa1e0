"""What the user got wrong, told in one line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A wrong input: the command ends with this one line and exit status 2.

    The message names the field or file, what was found, and what is allowed.
    """


def unknown(found: str, allowed: Iterable[str]) -> str:
    """``unknown 'ctx', did you mean 'ctr'? allowed: ...``."""
    allowed = list(allowed)
    near = difflib.get_close_matches(found, allowed, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"unknown {found!r}{hint} allowed: {', '.join(allowed)}"


def check_tasks(method: str, found: int, least: int) -> None:
    """Raises ``UserError`` for fewer tasks than a method transfers between."""
    if found < least:
        raise UserError(
            f"{method}: found {found} task, must be at least {least}, to transfer "
            "between"
        )
