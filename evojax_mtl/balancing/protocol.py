"""What a balancing method offers, of one of three kinds, and what it is given.

Shape legend: ``T`` tasks.

A method is a frozen pytree: rates are leaves, so that a sweep over them compiles
nothing, and choices are static. What changes is a state of its own. Two further
functions are optional, by having them:

* ``observe(state, losses) -> state`` gets the losses of the same batch after the
  update (``traits.observes``).
* ``features(state, representation) -> representations`` gives each task its own view of
  the shared representation, ``(T, ...)``.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.registry import Traits
from evojax_mtl.pytrees import Pytree


class Tasks(Pytree):
    """What a method may look at besides gradients.

    Attributes:
      losses: of the batch; 0 for tasks that are not present.
      present: tasks with labels and a finite loss and gradient. The others are left
        out: no weight, no part in any mean.
      key: randomness of this step.
      representation: what the gradients are of, ``(B, ...)``, where they are not of
        weights.
    """

    losses: Float[Array, "T"]
    present: Bool[Array, "T"]
    key: Array
    representation: Any = None

    @property
    def count(self) -> Float[Array, ""]:
        """Tasks present, at least 1."""
        return jnp.maximum(jnp.sum(self.present), 1).astype(jnp.float32)

    @property
    def share(self) -> Float[Array, "T"]:
        """Equal weights of sum 1 for those present."""
        return self.present / self.count


@runtime_checkable
class LossBalancer(Protocol):
    """Losses to a scalar."""

    traits: ClassVar[Traits]

    def init(self, tasks: int) -> Any:
        """The state before the first step."""
        ...

    def combine(self, state: Any, tasks: Tasks) -> tuple[Float[Array, ""], Any]:
        """The scalar, differentiable in ``tasks.losses``, and the new state."""
        ...


@runtime_checkable
class GramianWeighting(Protocol):
    """Inner products of the tasks' gradients to weights of the gradients."""

    traits: ClassVar[Traits]

    def init(self, tasks: int) -> Any:
        """The state before the first step."""
        ...

    def weigh(
        self, state: Any, gramian: Float[Array, "T T"], tasks: Tasks
    ) -> tuple[Float[Array, "T"], Any]:
        """Weights and the new state.

        ``gramian`` is float32; the rows and columns of absent tasks are 0.
        """
        ...


@runtime_checkable
class GradientAggregator(Protocol):
    """Gradients of the tasks to an update."""

    traits: ClassVar[Traits]

    def init(self, gradients: Any) -> Any:
        """The state; ``gradients`` gives shapes, leaves ``(T, ...)``."""
        ...

    def aggregate(self, state: Any, gradients: Any, tasks: Tasks) -> tuple[Any, Any]:
        """The update, leaves ``(...)``, and the new state.

        The gradients of absent tasks are 0.
        """
        ...
