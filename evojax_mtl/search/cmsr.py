"""CMSR: coevolution of modules and shared routing (Liang 2018, 3.2, Algorithm 2).

Blueprints evolve beside the modules: graphs whose nodes point to species of modules,
each with a sharing flag, and the global hyperparameters of CM but for its grid:
``genomes.assembly.blueprint``. They begin as randomly mutated graphs of
``initial_nodes`` nodes on average.

A species keeps its place while it lives. Pointers to one that has died are moved to the
living species nearest to it, those that mutation points at an empty place to some
living one; ``repaired`` in the metrics counts both. ``sharing`` off and on override the
flags.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from evojax_mtl.architectures.layers import Network
from evojax_mtl.evolution.neat import NEAT, Population
from evojax_mtl.genomes import assembly
from evojax_mtl.genomes.graphs import FIXED
from evojax_mtl.genomes.hyperparameters import Space
from evojax_mtl.search.codeepneat import CoDeepNEAT

_FLAG = {"on": 0.75, "off": 0.25}


class CMSR(CoDeepNEAT):
    """Coevolution of modules and routing; ``config`` is a ``CMSRConfig``."""

    method = "cmsr"

    def neat_of_tables(self) -> NEAT:
        """Blueprints, in one species."""
        config = self.config
        return NEAT(
            assembly.node_space(config.places),
            Space(self.genes()),
            nodes=FIXED + config.nodes,
            edges=3 * config.nodes + 2,
            target=1,
            species=1,
            elites=config.elites,
            keep=self.keep,
        )

    def genes(self) -> tuple:
        """Global hyperparameters of a blueprint."""
        return assembly.network_genes(self.filters, self.config.learning_range)

    def rounds(self, key: Array) -> Any:
        """So that one node and these are ``initial_nodes`` on average."""
        most = 2 * (self.config.initial_nodes - 1)
        return jax.random.randint(key, (self.config.tables,), 0, most + 1)

    def repair(
        self, tables: Population, alive: Array, moved: Array
    ) -> tuple[Population, Array]:
        """See ``assembly.repaired``."""
        graphs, count = assembly.repaired(tables.graphs, alive, moved)
        return tables.replace(graphs=graphs), count.astype(jnp.int32)

    def links(self) -> int:
        """The blueprint's edges."""
        return self.table_neat.edges

    def slots(self) -> list[int]:
        """Half of the nodes at any resolution."""
        levels = self.maps.levels[-1] + 1
        return [1 + self.config.nodes // 2] * levels

    def assemble(
        self,
        modules: Population,
        tables: Population,
        chosen: Int[Array, "S"],
        table: Int[Array, ""],
    ) -> tuple[Network, Bool[Array, "S"]]:
        """See ``assembly.blueprint``."""
        graph = jax.tree.map(lambda x: x[table], tables.graphs)
        if self.config.sharing != "evolved":
            flags = _FLAG[self.config.sharing]
            graph = graph.replace(genes=graph.genes.at[:, 1].set(flags))
        whole = self.table_neat.whole.decode(graph.whole)
        return assembly.blueprint(
            self.maps, self.layers, modules.graphs, chosen, graph, whole
        )
