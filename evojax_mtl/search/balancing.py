"""The balancing method that a config asks for."""

from collections.abc import Callable

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.registry import find_balancing
from evojax_mtl.errors import UserError


def search_balancer(
    name: str | None, tasks: tuple[str, ...], shared: Callable[[tuple[str, ...]], bool]
) -> Balancer | None:
    """A method with its own rates; None where none is asked for.

    Args:
      name: of the method; the config has checked that it works on weights.
      tasks: names.
      shared: tells which weights the tasks share.

    Raises:
      UserError: there is one task only.
    """
    if name is None:
        return None
    if len(tasks) < 2:
        raise UserError(
            f"--balancing: found {name} with one task, {tasks[0]}; must be None, or "
            "there must be at least two tasks"
        )
    return Balancer(find_balancing(name).build(), names=tasks, shared=shared)
