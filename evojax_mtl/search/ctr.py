"""CTR: coevolution of task routing (Liang 2018, 3.3, Algorithm 3).

A (1+1)-ES for each task. Each meta-iteration (generation):

1. the challenger becomes a copy of the champion: graph, merge scales, decoder, and
   their optimiser moments;
2. - 5. a pair (u, v), a module, a new node w, edges (u, w) and (w, v), as
   ``genomes.routings.add_node`` documents;
6. the scale of (w, v) makes its merge weight ``alpha`` (``initial_scale``), the lone
   edge (u, w) gets scale 0 (its merge weight is 1 whatever it is);
7. all champions and challengers train jointly for M iterations; the modules are one
   set, shared by all, and never copied;
8. fitness is the accuracy on the validation split; a challenger replaces its champion
   if its fitness is strictly higher; a tie keeps the champion.

The encoder is the identity (the image, zero-padded to the module width), so there is
none to copy. A challenger that loses leaves its traces in the shared modules. Differs
from the paper: ``mutations`` nodes can be added a generation instead of one. Rows are
reserved for the config's ``mutations``, which must be the largest of a sweep's.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evojax_mtl.architectures.schedule import rows_bound
from evojax_mtl.architectures.table import Architecture
from evojax_mtl.configs import CTRConfig
from evojax_mtl.genomes import routings
from evojax_mtl.genomes.routings import Routing
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.search.routed import RoutedSearch
from evojax_mtl.search.routed_state import RoutedState
from evojax_mtl.search.routing_evolution import (
    challengers,
    inherited,
    promoted,
    promoted_genomes,
    with_challengers,
)

_SLACK = 2
"""How much larger the first buffers are than the first networks need."""


class CTR(RoutedSearch):
    """Coevolution of task routing; ``config`` is a ``CTRConfig``."""

    method = "ctr"
    config: CTRConfig
    individuals = 2

    def hyperparameters(self) -> Hyperparameters:
        """Those of every routed method, ``alpha`` and ``mutations``."""
        own = {"alpha": self.config.alpha, "mutations": self.config.mutations}
        return super().hyperparameters() | own

    def initial_genome(self) -> Routing:
        """A chain for every individual, with room for every mutation to come."""
        return self._chains(self.config.generations * self.config.mutations)

    def _chains(self, additions: int) -> Routing:
        config = self.config
        one = routings.chain(self.size, config.modules, config.depth, additions)
        shape = (self.tasks, self.individuals)
        return jax.tree.map(lambda x: np.broadcast_to(x, shape + x.shape), one)

    def sized_genome(self, static: dict[str, Any]) -> Routing:
        """Chains with the room for additions that ``static`` tells."""
        return self._chains(static["additions"])

    def static(self, state: RoutedState) -> dict[str, Any]:
        """Rows per resolution, and nodes that a routing may gain."""
        initial = self.config.depth + 2
        additions = state.genome.module.shape[-1] - initial
        return super().static(state) | {"additions": additions}

    def architecture(self, genome: Routing) -> Architecture:
        """All individuals' routings."""
        stacked = jax.tree.map(lambda x: x.reshape(self.networks, *x.shape[2:]), genome)
        return routings.decode(stacked)

    def merge_shape(self, genome: Routing) -> tuple[int, ...]:
        """A scale for every edge."""
        return (self.networks, genome.source.shape[-1])

    def initial_capacities(self, genome: Routing) -> tuple[int, ...]:
        """Twice what the chains need, and the first generation's additions."""
        rows = np.array(super().initial_capacities(genome)) * _SLACK
        return tuple(int(r) for r in rows + self.additions())

    def additions(self) -> int:
        """Rows that a generation can add to a resolution, at most.

        Each mutation adds one node there, or an import of its output.
        """
        return self.tasks // self.parts * self.config.mutations

    def propose(
        self, key: Array, state: RoutedState, hyperparameters: Hyperparameters
    ) -> RoutedState:
        """Steps 1 to 6."""
        params = inherited(state.params, self.tasks)
        scales = params["merge"].reshape(self.tasks, self.individuals, -1)
        challenger, scale = challengers(
            key,
            state.genome,
            scales,
            self.config.modules,
            hyperparameters["alpha"],
            hyperparameters["mutations"],
        )
        genome = with_challengers(state.genome, challenger)
        scales = with_challengers(scales, scale).reshape(params["merge"].shape)
        return state.replace(
            genome=genome,
            params=params | {"merge": scales},
            optimizer=inherited(state.optimizer, self.tasks),
        )

    def replace(
        self, state: RoutedState, fitness: Float[Array, "T I"]
    ) -> tuple[RoutedState, Metrics]:
        """Challengers that are strictly better become champions."""
        wins = fitness[:, 1] > fitness[:, 0]
        state = state.replace(
            params=promoted(state.params, wins),
            optimizer=promoted(state.optimizer, wins),
            genome=promoted_genomes(state.genome, wins),
        )
        return state.replace(room=self._room(state)), {
            "champion": jnp.max(fitness, axis=1),
            "challenger": jnp.maximum(fitness[:, 1], 0),
            "replaced": jnp.sum(wins),
            "nodes": state.genome.nodes[:, 0] - 2,
        }

    def _room(self, state: RoutedState) -> Array:
        """Rows that champions and their copies need on the fullest device."""
        champions = routings.decode(jax.tree.map(lambda x: x[:, 0], state.genome))
        count = partial(rows_bound, resolutions=len(state.capacities))
        rows = self.fullest(jax.vmap(count)(champions)) * self.individuals
        return rows.astype(jnp.int32)

    def grow(self, state: RoutedState) -> RoutedState:
        """Rows where they may run out, and room for nodes after an extension."""
        state = super().grow(state)
        additions = self.static(state)["additions"]
        nodes = int(np.max(np.asarray(state.genome.nodes)))
        free = state.genome.module.shape[-1] - nodes
        if free >= self.config.mutations:
            return state
        extra = max(-(-additions // 2), self.config.mutations)

        def widen(path, leaf):
            names = {getattr(part, "key", None) for part in path}
            if "merge" not in names:
                return leaf
            margins = [(0, 0)] * (leaf.ndim - 1) + [(0, 2 * extra)]
            return jax.device_put(np.pad(np.asarray(leaf), margins))

        def enlarge(genome):
            host = jax.tree.map(np.asarray, genome)
            return jax.device_put(routings.enlarge(host, extra))

        widen_tree = jax.tree_util.tree_map_with_path
        best = state.best.replace(
            params=widen_tree(widen, state.best.params),
            genome=enlarge(state.best.genome),
        )
        return state.replace(
            params=widen_tree(widen, state.params),
            optimizer=widen_tree(widen, state.optimizer),
            genome=enlarge(state.genome),
            best=best,
        )
