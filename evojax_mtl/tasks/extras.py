"""Modules that the package's extras install."""

import importlib
from typing import Any

from evojax_mtl.errors import UserError


def import_extra(module: str, extra: str, wanted_by: str) -> Any:
    """Imports a module that one of the package's extras installs.

    Args:
      module: to import.
      extra: that installs it.
      wanted_by: what needs it, for the error.

    Raises:
      UserError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"{wanted_by}: the module {module!r} is not installed; run pip "
            f"install 'evojax-mtl[{extra}]'"
        ) from None
