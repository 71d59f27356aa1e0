"""CMTR: coevolution of modules and task routing (Liang 2018, 3.4, Algorithm 4).

CoDeepNEAT evolves the modules, CTR is what trains and measures a set of them. A
generation of ``CoDeepNEAT`` with *sets* in the place of networks:

1. a module of each species is drawn for every set (``genomes.module_sets``: K modules
   with weights of their own, in turn of each species). There are no blueprints; the
   global hyperparameters, learning rate, width and initialiser, are a population of
   tables, as in CM;
2. CTR runs on each set, ``meta_iterations`` times: every task's champion is copied, the
   copy gains a node (``search.routing_evolution``), all individuals of all tasks train
   jointly for ``iterations``, and a challenger that is strictly better on the
   validation split replaces its champion. Weights of modules are shared always;
3. a set's fitness is the mean accuracy of the champions at its best meta-iteration, the
   one that CTR keeps, and goes to its modules as CM's;
4. NEAT reproduces.

The final layer of a module has an evolved kernel, activation and dropout, unlike that
of CM. In the end CTR runs on the best sets of the whole search, from scratch and
longer, without a decay of the learning rate (4.2); what is kept is the best system, its
weights and routings, of any meta-iteration.

Where the paper leaves room: the pooling at a module's end makes the next resolution, so
that (u, v) is a pair only where v's input is no larger than what the new node makes
(``genomes.routings``); images count as maps of the network's width, with zeros. Rows
are set aside before a generation: a challenger for which there are none stays a copy of
its champion, is counted (``crowded``), and the next generation has more rows.

Shape legend: ``T`` tasks, ``P = 2 T`` networks, ``K`` modules of a set, ``R``
resolutions; otherwise as in ``codeepneat``.
"""

from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.layers import Network
from evojax_mtl.architectures.schedule import rows_bound
from evojax_mtl.codeepneat_configs import CMTRConfig
from evojax_mtl.evolution.neat import NEAT, Population, Rates
from evojax_mtl.genomes import assembly, module_sets, routings
from evojax_mtl.genomes.graphs import FIXED
from evojax_mtl.genomes.hyperparameters import Space
from evojax_mtl.genomes.module_sets import ModuleSet
from evojax_mtl.genomes.routings import Routing
from evojax_mtl.networks.image_layers import Channels
from evojax_mtl.networks.layer_weights import layout
from evojax_mtl.networks.routed_modules import RoutedModules
from evojax_mtl.search.cmtr_description import describe
from evojax_mtl.search.codeepneat import CoDeepNEAT
from evojax_mtl.search.codeepneat_populations import SUMS, gene_tables
from evojax_mtl.search.codeepneat_state import CoDeepNEATState
from evojax_mtl.search.codeepneat_turns import Turn
from evojax_mtl.search.protocol import Hyperparameters, Metrics
from evojax_mtl.search.routing_evolution import (
    challengers,
    inherited,
    promoted,
    promoted_genomes,
    with_challengers,
)
from evojax_mtl.tasks.dataset import Dataset

_WORST = -1.0
"""Fitness of an individual whose outputs are not finite, below any accuracy."""


class CMTR(CoDeepNEAT):
    """Coevolution of modules and task routing; ``config`` is a ``CMTRConfig``."""

    method = "cmtr"
    config: CMTRConfig
    individuals = 2
    sums = (*SUMS, "replaced", "crowded")

    def __init__(
        self, config: CMTRConfig, data: Dataset, mesh: Mesh | None = None
    ) -> None:
        """Reads the shapes; raises ``UserError`` where they do not fit."""
        super().__init__(config, data, mesh)
        self.bouts = config.meta_iterations
        self.levels = self.maps.levels[-1] + 1
        self.pooled = routings.pooled_resolutions(self.size, config.depth)

    # Modules and tables.

    @cached_property
    def final(self) -> Space:
        """Hyperparameters of the final layers."""
        return module_sets.final_space(self.maps.kernels, self.config.most_dropout)

    def module_genes(self) -> Space:
        """Those of its final layer."""
        return self.final

    def widths(
        self, image: int, kernels: tuple[int, ...], buckets: tuple[int, ...]
    ) -> Channels:
        """Every module may be applied to maps as well as to images."""
        return Channels(image, kernels, buckets, padded=True)

    def neat_of_tables(self) -> NEAT:
        """Tables without nodes, whose genes are those of the whole."""
        config = self.config
        genes = assembly.network_genes(self.filters, config.learning_range)
        return gene_tables(Space(genes), config.elites)

    def hyperparameters(self) -> Hyperparameters:
        """Those of every such search, and ``alpha``."""
        return super().hyperparameters() | {"alpha": self.config.alpha}

    def assemble(
        self,
        modules: Population,
        tables: Population,
        chosen: Int[Array, "S"],
        table: Int[Array, ""],
    ) -> tuple[ModuleSet, Bool[Array, "S"]]:
        """See ``module_sets.assembled``."""
        return module_sets.assembled(
            self.maps,
            self.layers,
            self.final,
            modules.graphs,
            chosen,
            modules.table.alive,
            self.table_neat.whole.decode(tables.graphs.whole[table]),
        )

    def evolve(
        self, key: Array, state: CoDeepNEATState, rates: Rates
    ) -> CoDeepNEATState:
        """The next generation; it needs no less room than this one has wished for."""
        evolved = super().evolve(key, state, rates)
        needs = jnp.maximum(evolved.assembled.needs, state.assembled.needs)
        return evolved.replace(assembled=evolved.assembled.replace(needs=needs))

    # What the tape runs.

    def _chain(self) -> Routing:
        config = self.config
        return routings.chain(self.size, config.depth, config.depth, config.additions)

    def first_routings(self) -> Routing:
        """The chain of the set's modules, for all individuals."""
        shape = (self.tasks, self.individuals)
        return jax.tree.map(
            lambda x: jnp.broadcast_to(jnp.asarray(x), shape + np.shape(x)),
            self._chain(),
        )

    def links(self) -> int:
        """A routing's edges."""
        return self._chain().source.shape[0]

    def laid_out(self, network: ModuleSet, routing: Any) -> Network:
        """The networks of all individuals, ``(P, ...)``."""
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), routing)

        def one(routing):
            spaces = self.maps, self.layers, self.final
            return module_sets.unrolled(
                *spaces, network.modules, network.table, routing
            )

        return jax.vmap(one)(flat)

    def model(self, rows: tuple[int, ...], weights: int) -> RoutedModules:
        """What runs any set and its routings within these capacities."""
        common = self.common(rows, weights)
        return RoutedModules(**common, individuals=self.individuals)

    def capacities(self) -> tuple[tuple[int, ...], int]:
        """Room for modules of one to three layers, some of them with large kernels.

        As if two fifths of the mutations were kept, which is what was seen, and a
        quarter of the new nodes at each resolution.
        """
        kept = 1 + 0.4 * self.config.additions
        slots = np.bincount(self.maps.levels[:-1], minlength=self.levels)
        imports = np.where(np.arange(self.levels) > 0, 1 + kept, 1)
        rows = np.ceil(3 * (slots + 0.25 * kept) + imports)
        rows = tuple(int(r) * self.tasks * self.individuals for r in rows)
        return rows, 3 * self.config.depth * self.kinds.largest

    def needs(self, network: ModuleSet) -> Int[Array, "_"]:
        """What the chains need, and the weights."""
        rows = rows_bound(network.chain.architecture, self.levels)
        weights = layout(network.chain, self.kinds).total
        return jnp.append(rows * self.tasks * self.individuals, weights)

    # The inner loop.

    def proposed(
        self, key: Array, state: CoDeepNEATState, hyperparameters: Hyperparameters
    ) -> CoDeepNEATState:
        """The state with a challenger for every champion."""
        config, genome = self.config, state.routing
        params = inherited(state.params, self.tasks)
        scales = params["merge"].reshape(self.tasks, self.individuals, -1)
        mutated = challengers(
            key, genome, scales, config.depth, hyperparameters["alpha"], 1, self.pooled
        )
        champions = jax.tree.map(lambda x: x[:, 0], genome), scales[:, 0]
        fits, needs = self._room(state, champions[0], mutated[0])

        def pick(new, old):
            return jnp.where(fits.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        routing, scale = jax.tree.map(pick, mutated, champions)
        scales = with_challengers(scales, scale).reshape(params["merge"].shape)
        crowded = state.tallied["crowded"] + jnp.sum(~fits)
        return state.replace(
            params=params | {"merge": scales},
            optimizer=inherited(state.optimizer, self.tasks),
            routing=with_challengers(genome, routing),
            assembled=state.assembled.replace(needs=needs),
            tallied=state.tallied | {"crowded": crowded},
        )

    def _room(
        self, state: CoDeepNEATState, champions: Routing, mutated: Routing
    ) -> tuple[Bool[Array, "T"], Int[Array, "_"]]:
        """The challengers there are rows for, and what all would need.

        Rows are counted as if every challenger won and were copied.
        """

        def rows(routing):
            return module_sets.rows(state.network, routing, self.levels)

        now, then = jax.vmap(rows)(champions), jax.vmap(rows)(mutated)
        ends = self.individuals * (now.sum(0) + jnp.cumsum(then - now, 0))
        fits = (ends <= jnp.asarray(state.rows)).all(1)
        needs = state.assembled.needs
        return fits, needs.at[:-1].max(ends[-1].astype(needs.dtype))

    def selected(
        self, state: CoDeepNEATState, data: Dataset
    ) -> tuple[CoDeepNEATState, Float[Array, "T"], Bool[Array, ""]]:
        """The state whose champions are the better ones, and their accuracies."""
        tally = state.tally
        accuracy = tally.right / jnp.maximum(tally.seen, 1)
        fitness = jnp.where(tally.finite, accuracy, _WORST)
        fitness = fitness.reshape(self.tasks, self.individuals)
        wins = fitness[:, 1] > fitness[:, 0]
        replaced = state.tallied["replaced"] + wins.sum()
        champions = fitness.max(1)
        state = state.replace(
            params=promoted(state.params, wins),
            optimizer=promoted(state.optimizer, wins),
            routing=promoted_genomes(state.routing, wins),
            tallied=state.tallied | {"replaced": replaced},
        )
        return state, champions, (champions > _WORST).all()

    def rate_share(self, state: CoDeepNEATState, turn: Turn, iteration: Array) -> Array:
        """The learning rate does not decay (4.2)."""
        return jnp.ones(())

    def told(self, state: CoDeepNEATState) -> Metrics:
        """Modules in the kept champions' routings."""
        return {"nodes": state.best.routing.nodes[:, 0] - FIXED}

    def describe(self, state: CoDeepNEATState) -> dict[str, Any]:
        """See ``Search.describe``."""
        return describe(self, state)
