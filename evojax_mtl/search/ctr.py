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
from evojax_mtl.networks.soft_merge import initial_scale
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.search.routed import RoutedSearch
from evojax_mtl.search.routed_state import RoutedState

INDIVIDUAL = ("merge", "decoders")
"""Weights that belong to one individual, with a leading axis ``P``."""

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
        champion = jax.tree.map(lambda x: x[:, 0], state.genome)
        params = self._inherit(state.params)
        scales = params["merge"].reshape(self.tasks, self.individuals, -1)
        keys = jax.random.split(key, self.tasks)
        challenger, scale = jax.vmap(self._mutate, (0, 0, 0, None))(
            keys, champion, scales[:, 1], hyperparameters
        )
        genome = jax.tree.map(
            lambda both, new: both.at[:, 1].set(new), state.genome, challenger
        )
        scales = scales.at[:, 1].set(scale).reshape(params["merge"].shape)
        return state.replace(
            genome=genome,
            params=params | {"merge": scales},
            optimizer=self._inherit(state.optimizer),
        )

    def _mutate(
        self,
        key: Array,
        routing: Routing,
        scales: Float[Array, "E"],
        hyperparameters: Hyperparameters,
    ) -> tuple[Routing, Float[Array, "E"]]:
        def mutate(i, carry):
            routing, scales = carry
            grown, edge = routings.add_node(
                jax.random.fold_in(key, i), routing, self.config.modules
            )
            position = jnp.arange(scales.shape[0])
            into = (routing.target == grown.target[edge]) & (position < routing.edges)
            scale = initial_scale(scales, into, hyperparameters["alpha"])
            added = (edge >= 0) & (position == edge)
            scales = jnp.where(added, scale, scales)
            scales = jnp.where((edge >= 0) & (position == edge - 1), 0, scales)
            return grown, scales

        count = jnp.asarray(hyperparameters["mutations"], jnp.int32)
        return jax.lax.fori_loop(0, count, mutate, (routing, scales))

    def _map_individuals(self, function: Any, tree: Any) -> Any:
        """Applies ``function`` to the individuals' leaves, shaped ``(T, I, ...)``."""

        def visit(path, leaf):
            names = {getattr(part, "key", None) for part in path}
            if not names & set(INDIVIDUAL):
                return leaf
            pairs = leaf.reshape(self.tasks, self.individuals, *leaf.shape[1:])
            return function(pairs).reshape(leaf.shape)

        return jax.tree_util.tree_map_with_path(visit, tree)

    def _inherit(self, tree: Any) -> Any:
        """Challengers become copies of champions."""

        def copy(pairs):
            return jnp.broadcast_to(pairs[:, :1], pairs.shape)

        return self._map_individuals(copy, tree)

    def replace(
        self, state: RoutedState, fitness: Float[Array, "T I"]
    ) -> tuple[RoutedState, Metrics]:
        """Challengers that are strictly better become champions."""
        wins = fitness[:, 1] > fitness[:, 0]

        def promote(pairs):
            better = jnp.stack([wins, jnp.zeros_like(wins)], axis=1)
            better = better.reshape(*better.shape, *[1] * (pairs.ndim - 2))
            return jnp.where(better, pairs[:, 1:], pairs)

        state = state.replace(
            params=self._map_individuals(promote, state.params),
            optimizer=self._map_individuals(promote, state.optimizer),
            genome=jax.tree.map(promote, state.genome),
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
