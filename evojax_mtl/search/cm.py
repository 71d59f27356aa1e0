"""CM: coevolution of modules (Liang 2018, 3.1, Algorithm 1).

Evolved modules in the grid of soft ordering: ``genomes.assembly.grid``. Besides the
modules a population of tables evolves, each with the global hyperparameters: K and D of
the grid, a sharing flag for each depth, learning rate, width and initialiser (the paper
evolves them "by CoDeepNEAT" without saying how). ``sharing`` off and on are the other
two cases of its Fig. 8.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from evojax_mtl.architectures.layers import Network
from evojax_mtl.codeepneat_configs import CMConfig
from evojax_mtl.evolution.neat import NEAT, Population
from evojax_mtl.genomes import assembly
from evojax_mtl.genomes.hyperparameters import Flag, Space
from evojax_mtl.search.codeepneat import CoDeepNEAT
from evojax_mtl.search.codeepneat_populations import gene_tables


class CM(CoDeepNEAT):
    """Coevolution of modules; ``config`` is a ``CMConfig``."""

    method = "cm"
    config: CMConfig

    def module_genes(self) -> Space:
        """F_k."""
        return Space((Flag("shared"),))

    def neat_of_tables(self) -> NEAT:
        """Tables without nodes, whose genes are those of the whole."""
        config = self.config
        genes = assembly.grid_space(
            self.filters, config.learning_range, config.rows, config.depth
        )
        return gene_tables(genes, config.elites)

    def links(self) -> int:
        """From every slot one, to the merge after its depth."""
        return self.config.rows * self.config.depth

    def slots(self) -> list[int]:
        """A depth's slots are at its resolution."""
        found = [1] * (self.maps.levels[-1] + 1)
        for level in self.maps.levels[:-1]:
            found[level] += self.config.rows
        return found

    def assemble(
        self,
        modules: Population,
        tables: Population,
        chosen: Int[Array, "S"],
        table: Int[Array, ""],
    ) -> tuple[Network, Bool[Array, "S"]]:
        """See ``assembly.grid``."""
        config, alive = self.config, modules.table.alive
        decoded: dict[str, Any] = self.table_neat.whole.decode(
            tables.graphs.whole[table]
        )
        flags = self.module_neat.whole.decode(modules.graphs.whole)["shared"]
        if config.sharing != "evolved":
            flags = jnp.full_like(flags, config.sharing == "on")
            for d in range(config.depth):
                decoded[f"shared_{d}"] = jnp.array(config.sharing == "on")
        network = assembly.grid(
            self.maps,
            self.layers,
            modules.graphs,
            chosen,
            alive,
            flags,
            decoded,
            config.rows,
        )
        order, count = assembly.ordered(alive)
        place = jnp.zeros_like(order).at[order].set(jnp.arange(order.shape[0]))
        return network, place < jnp.minimum(decoded["rows"], count)
