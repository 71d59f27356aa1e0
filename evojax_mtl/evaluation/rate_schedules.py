"""Learning rates that fall as a training goes on, as shares of the original rate.

``stepwise`` is Liang 2018's, 4.2: a tenth after so many epochs, and again after as
many. ``Plateau`` is Liang 2019's, 4.2: lowered by what validation tells, sometimes
reset to the original rate.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float
from optax import GradientTransformationExtraArgs
from optax.contrib import ReduceLROnPlateauState, reduce_on_plateau

TENTH = 0.1


def stepwise(examples: Array, size: float, epochs: int) -> Float[Array, ""]:
    """The share after so many training examples.

    Args:
      examples: of a task, so far.
      size: of an epoch (examples).
      epochs: between the two falls, and before the first.
    """
    past = jnp.floor(examples / size / epochs)
    return TENTH ** jnp.clip(past, 0, 2)


@dataclass(frozen=True)
class Plateau:
    """A share that falls where validation makes no progress.

    After ``patience`` measurements in a row that bring none it is a tenth of what it
    was (``optax.contrib.reduce_on_plateau``), ``lowerings`` times; where there is still
    no progress it is 1 again, and may fall anew.

    The paper says that the rate was "dynamically adjusted downward based on the
    validation AUROC every epoch and sometimes reset back to its original value if the
    validation performance plateaued", and no numbers: what lowers it and what resets it
    is read as the same, a plateau, of which some in a row reset it.

    Attributes:
      patience: measurements without progress before the share changes.
      lowerings: falls before it is reset.
    """

    patience: int
    lowerings: int

    def init(self) -> ReduceLROnPlateauState:
        """Before any measurement; ``scale`` is the share."""
        state: Any = self._reduce().init(jnp.zeros(()))
        return state

    def measured(
        self, state: ReduceLROnPlateauState, fitness: Float[Array, ""]
    ) -> ReduceLROnPlateauState:
        """After a measurement, of which more is better, 1 the best."""
        found: Any = self._reduce().update((), state, value=1 - fitness)[1]
        # half a fall below the last one, so that rounding does not matter
        lowest = TENTH ** (self.lowerings + 0.5)
        return found._replace(scale=jnp.where(found.scale < lowest, 1, found.scale))

    def _reduce(self) -> GradientTransformationExtraArgs:
        return reduce_on_plateau(factor=TENTH, patience=self.patience)
