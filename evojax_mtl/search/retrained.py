"""Searches on scenes in two phases: an architecture is found, and trained anew.

The first ``searching`` generations find it. At their end all weights, moments and what
the balancing remembers begin again, on the architecture that was found, and so does the
count of steps after which the learning rate halves. One compiled program does both. The
last generation of the search is thus evaluated on the new, untrained network.
"""

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from evojax_mtl.search.dense import DenseSearch
from evojax_mtl.search.dense_state import DenseState


class RetrainedSearch(DenseSearch):
    """The search protocol for both phases; the config has ``searching``."""

    @abstractmethod
    def found(self, state: DenseState) -> Any:
        """The architecture at the end of the first phase."""

    def observed(self, state: DenseState) -> DenseState:
        """The state with what a generation of the first phase has told."""
        return state

    def searches(self, state: DenseState) -> Bool[Array, ""]:
        """Whether the current generation is of the first phase."""
        return state.generation < self.config.searching

    def completed(self, state: DenseState) -> Array:
        """See ``DenseSearch``: those of the current phase."""
        first = self.config.searching
        return state.generation - jnp.where(self.searches(state), 0, first)

    def restructure(self, key: Array, state: DenseState) -> DenseState:
        """Begins the second phase, where it is time."""

        def begin(state):
            architecture = self.found(state)
            system = self.begin(key, architecture)
            return state.replace(system=system, architecture=architecture)

        def search(state):
            state = self.observed(state)
            ends = state.generation + 1 == self.config.searching
            return jax.lax.cond(ends, begin, lambda state: state, state)

        return jax.lax.cond(self.searches(state), search, lambda state: state, state)
