"""Wrong uses of a balancing method, each told in one line."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from evojax_mtl.balancing.registry import Traits
from evojax_mtl.errors import UserError


def check_names(names: Sequence[str]) -> None:
    """At least one task, each name once."""
    if not names:
        raise UserError("tasks: found none, must be at least one")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"tasks: found {name!r} twice, names must differ")


def check_use(
    traits: Traits, passes: str, groups: int, *, representation: bool
) -> None:
    """Whether a method can be used on weights, or on a representation, in this way."""
    name = traits.name
    if representation and traits.representation == "refused":
        why = "losses alone" if traits.kind == "losses" else "gradients of the weights"
        raise UserError(f"{name}: found a representation, works on {why}")
    if not representation and traits.representation == "required":
        raise UserError(
            f"{name}: found gradients of the weights, needs those of a representation"
        )
    if passes != "recomputed":
        return
    if traits.kind != "gramian":
        raise UserError(
            f"{name}: found passes 'recomputed', needs the gradients themselves; "
            "must be 'vmap' or 'loop'"
        )
    if groups > 1:
        raise UserError(
            f"{name}: found passes 'recomputed' with {groups} groups of weights; must "
            "be 'vmap' or 'loop'"
        )


def check_losses(
    traits: Traits, names: Sequence[str], losses: Any, present: Any = None
) -> None:
    """One number a task; of the right sign, unless they are being traced.

    Under ``jax.jit`` values are not known: there a loss of the wrong sign, or not
    finite, leaves its task out of the step.
    """
    tasks = len(names)
    if losses.shape != (tasks,):
        raise UserError(
            f"losses: found shape {losses.shape}, must be one number a task, ({tasks},)"
        )
    if isinstance(losses, jax.core.Tracer) or isinstance(present, jax.core.Tracer):
        return
    wanted = np.ones(tasks, bool) if present is None else np.asarray(present)
    if not wanted.any():
        raise UserError(f"tasks: none of {', '.join(names)} has a label in the batch")
    for name, loss, given in zip(names, np.asarray(losses), wanted, strict=True):
        if given and not np.isfinite(loss):
            raise UserError(f"loss of {name!r}: found {loss}, must be finite")
        if given and traits.positive and loss <= 0:
            raise UserError(
                f"loss of {name!r}: found {loss}, must be above 0 for {traits.name}"
            )
