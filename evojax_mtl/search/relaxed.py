"""Searches on scenes that learn their architecture by gradients on other scenes."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import Array, Float

from evojax_mtl.evaluation.relaxed_training import Relaxed, relaxed_step
from evojax_mtl.search.dense import DenseSearch
from evojax_mtl.search.dense_state import DenseState
from evojax_mtl.search.protocol import Hyperparameters
from evojax_mtl.tasks.dataset import VALIDATION
from evojax_mtl.tasks.dense_dataset import DenseDataset


class RelaxedSearch(DenseSearch):
    """The search protocol; ``chooser`` transforms gradients of the logits.

    The config has ``architecture_rate``.
    """

    chooser: optax.GradientTransformation

    def learn(
        self,
        key: Array,
        data: DenseDataset,
        hyperparameters: Hyperparameters,
        tick: Array,
        state: DenseState,
        choices: Relaxed,
        *,
        architecture: Callable[[Array], Any],
        penalty: Callable[[Array], Float[Array, ""]],
    ) -> Relaxed:
        """The choices after a step on a mini-batch of the validation split.

        ``key`` and ``tick`` are those of the training step; see ``relaxed_step``.
        """
        order_key, step_key = jax.random.split(jax.random.fold_in(key, 1))
        return relaxed_step(
            self.network,
            self.chooser,
            state.system.weights,
            self._batch(order_key, data, tick, VALIDATION),
            choices,
            hyperparameters["architecture_rate"],
            architecture=architecture,
            penalty=penalty,
            key=jax.random.fold_in(step_key, tick),
        )
