"""The populations of CoDeepNEAT: how they evolve, and the networks they make.

Shape legend: as in ``codeepneat``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int
from optax import GradientTransformation as Transformation

from evojax_mtl.architectures.layers import Network, kernels_to
from evojax_mtl.architectures.schedule import rows_bound
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.optimizers import optimizer
from evojax_mtl.evaluation.training import Tally, no_tally
from evojax_mtl.evolution import neat
from evojax_mtl.evolution.coevolution import attribute, deal
from evojax_mtl.evolution.front import Front
from evojax_mtl.evolution.neat import NEAT, Population, Rates
from evojax_mtl.genomes import assembly
from evojax_mtl.genomes.graphs import FIXED
from evojax_mtl.genomes.hyperparameters import NO_GENES, Space
from evojax_mtl.networks.assembled import AssembledNetworks
from evojax_mtl.networks.image_layers import Channels
from evojax_mtl.networks.layer_sets import LayerSet
from evojax_mtl.networks.layer_weights import bucket_sizes, layout
from evojax_mtl.search.codeepneat_state import Assembled, CoDeepNEATState, Measured
from evojax_mtl.search.codeepneat_turns import Turn
from evojax_mtl.search.lanes import Lanes
from evojax_mtl.search.protocol import Metrics
from evojax_mtl.tasks.dataset import VALIDATION

DECAY = (1e-9, 1e-3)
"""Range of L2 regularisation (Liang 2019, Table 3)."""

_TRIES = 10
RATES = (
    "add_node",
    "add_connection",
    "mutate",
    "deviation",
    "crossover",
    "truncation",
)
EVOLVED = {
    "species": jnp.int32,
    "threshold": jnp.float32,
    "module_nodes": jnp.float32,
    "table_nodes": jnp.float32,
    "exhausted": jnp.int32,
    "repaired": jnp.int32,
}
"""Metrics of a reproduction, and their types."""


SUMS = ("loss", "skipped_steps", "nonfinite")
"""Metrics that are sums over the networks of a generation."""


def gene_tables(genes: Space, elites: int) -> NEAT:
    """Tables without nodes, whose genes are those of the whole."""
    return NEAT(
        NO_GENES,
        genes,
        nodes=FIXED,
        edges=1,
        initial=0,
        target=1,
        species=1,
        elites=elites,
    )


class Populations:
    """What evolves; a subclass of ``CoDeepNEAT`` says how networks are assembled."""

    method: str
    config: Any
    individuals = 1
    """Networks of each task that are trained together."""
    bouts = 1
    """How often a network is trained and measured until its fitness is known."""
    sums: tuple[str, ...] = SUMS

    def __init__(self, config: Any, data: Any, mesh: Mesh | None = None) -> None:
        """Reads the shapes; raises ``UserError`` where they do not fit."""
        self.config, self.lanes = config, Lanes(mesh)
        self.tasks, self.names = data.tasks, data.names
        self.classes = tuple(int(c) for c in np.asarray(data.classes))
        self.mean_train = float(np.mean(np.asarray(data.sizes)[0]))
        self.iterations = self.training(data)
        self.read_shapes(data)
        self.module_neat = NEAT(
            self.layers,
            self.module_genes(),
            nodes=FIXED + config.layers,
            edges=3 * config.layers + 2,
            target=config.species,
            species=config.places,
            elites=config.elites,
            keep=self.keep,
            tries=_TRIES,
        )
        self.table_neat = self.neat_of_tables()
        self.transformation = self.optimizer()

    # What a kind of data defines; images by default.

    def training(self, data: Any) -> int:
        """Training iterations of a network."""
        return self.config.iterations

    def read_shapes(self, data: Any) -> None:
        """Sets ``size``, ``kinds``, ``maps``, ``filters`` and ``layers``."""
        config = self.config
        self.size: tuple[int, ...] = tuple(data.images.shape[2:4])
        image = int(data.images.shape[4])
        if min(self.size) < 4:
            raise UserError(f"images: found {self.size} pixels, must be at least 4 x 4")
        if config.filters < image:
            raise UserError(
                f"--filters: found {config.filters}, must be at least the {image} "
                "channels of the images"
            )
        buckets = bucket_sizes(config.filters, config.buckets)
        kernels = kernels_to(config.largest_kernel)
        self.kinds: LayerSet = self.widths(image, kernels, buckets)
        self.maps = assembly.Maps(self.size, image, kernels, buckets, config.depth)
        self.filters = (config.fewest_filters, config.filters)
        self.layers: Space = assembly.layer_space(
            kernels, self.filters, config.most_dropout, DECAY
        )

    def model(self, rows: tuple[int, ...], weights: int) -> AssembledNetworks:
        """What runs any network within these capacities."""
        return AssembledNetworks(**self.common(rows, weights))

    def common(self, rows: tuple[int, ...], weights: int) -> dict[str, Any]:
        """What all models are made of."""
        return {
            "kinds": self.kinds,
            "rows": rows,
            "weights": weights,
            "links": self.links(),
            "tasks": self.tasks,
            "classes": max(self.classes),
            "size": self.size,
        }

    def examples(self, batch: Any, data: Any) -> Any:
        """What the model reads of a batch."""
        return batch.images

    def evaluated(self, data: Any) -> int:
        """Validation batches that give a network's fitness, the first ones."""
        return data.batches(VALIDATION, self.config.batch)

    def no_tally(self) -> Tally:
        """What is known of a network before it is trained."""
        return no_tally(self.tasks * self.individuals)

    def optimizer(self, network: Any = None) -> Transformation:
        """That of a network; the state of all networks' is of one form."""
        return optimizer(self.config.optimizer)

    # What is selected for; the fitness alone by default.

    def cost(self, network: Any) -> Float[Array, ""]:
        """Of a network before it is measured, to be small."""
        return jnp.zeros(())

    def scores(
        self,
        fitness: Float[Array, "P"],
        cost: Float[Array, "P"],
        species: Int[Array, "P"],
    ) -> Float[Array, "P"] | None:
        """What ranks individuals within their species; None for the fitness."""
        return None

    def no_front(self, network: Any) -> Front | None:
        """The front before any network; ``network`` gives the shapes."""
        return None

    def priced(self, state: CoDeepNEATState, turn: Turn, data: Any) -> Float[Array, ""]:
        """What the network that was measured costs."""
        return state.assembled.cost[turn.place]

    def noted(self, state: CoDeepNEATState, told: Measured) -> CoDeepNEATState:
        """The state after a network was measured: what it costs, the front."""
        return state

    def told(self, state: CoDeepNEATState) -> Metrics:
        """A method's own metrics."""
        return {}

    @property
    def keep(self) -> bool:
        """Whether all that truncation leaves of a species survive; see ``NEAT``."""
        return False

    # What a method defines.

    def widths(
        self, image: int, kernels: tuple[int, ...], buckets: tuple[int, ...]
    ) -> Channels:
        """What convolutions read and make."""
        return Channels(image, kernels, buckets)

    def module_genes(self) -> Space:
        """Hyperparameters of a module as a whole."""
        return NO_GENES

    def neat_of_tables(self) -> NEAT:
        """How blueprints or tables evolve."""
        raise TypeError(f"{type(self).__name__} defines no tables")

    def rounds(self, key: Array) -> Any:
        """Nodes that mutation adds to each initial blueprint."""
        return 0

    def table_rates(self, rates: Rates) -> Rates:
        """Rates of the tables, given those of the modules: without nodes none grow."""
        if self.table_neat.nodes > FIXED:
            return rates
        return rates.replace(add_node=0.0, add_connection=0.0)

    def repair(self, tables: Population, alive: Array, moved: Array) -> Any:
        """The tables after species have died, and how many pointers were changed."""
        return tables, jnp.zeros((), jnp.int32)

    def assemble(
        self,
        modules: Population,
        tables: Population,
        chosen: Int[Array, "S"],
        table: Int[Array, ""],
    ) -> tuple[Any, Bool[Array, "S"]]:
        """One network, and the species whose modules are in it."""
        raise TypeError(f"{type(self).__name__} assembles nothing")

    def links(self) -> int:
        """Edges of a network that are soft-merged."""
        raise TypeError(f"{type(self).__name__} defines no links")

    def slots(self) -> list[int]:
        """Places for modules at each resolution, to begin with."""
        raise TypeError(f"{type(self).__name__} defines no slots")

    def capacities(self) -> tuple[tuple[int, ...], int]:
        """Rows of each resolution and weights that there is room for to begin with."""
        slots = np.array(self.slots())
        # a slot has a layer or two, a final one, and what comes from above
        rows = tuple(int(r) for r in 4 * slots + 1)
        return rows, (int(slots.sum()) // 2 + 2) * self.kinds.largest

    def needs(self, network: Any) -> Int[Array, "_"]:
        """Rows of each resolution and weights that a network needs at most."""
        rows = rows_bound(network.architecture, self.maps.levels[-1] + 1)
        return jnp.append(rows, layout(network, self.kinds).total)

    def first_routings(self) -> Any:
        """What the tasks' routings begin as; None where all have the network's."""
        return None

    def laid_out(self, network: Any, routing: Any) -> Network:
        """What the tape runs of a network, or of a set with these routings."""
        return network

    def evolve(
        self, key: Array, state: CoDeepNEATState, rates: Rates
    ) -> CoDeepNEATState:
        """Both populations' next generation, and its networks."""
        config, assembled = self.config, state.assembled
        keys = jax.random.split(jax.random.fold_in(key, 0), 3)

        def selected(key, settings, rates, population, *members):
            fitness, cost = (
                attribute(values, *members)
                for values in (assembled.fitness, assembled.cost)
            )
            scores = self.scores(fitness, cost, population.species)
            return neat.evolve(key, settings, rates, population, fitness, scores)

        modules, report = selected(
            keys[0],
            self.module_neat,
            rates,
            state.modules,
            assembled.chosen,
            assembled.uses,
            state.modules.species,
            config.places,
        )
        tables, of_tables = selected(
            keys[1],
            self.table_neat,
            self.table_rates(rates),
            state.tables,
            assembled.table[:, None],
            jnp.ones((config.networks, 1), bool),
            jnp.zeros(config.tables, jnp.int32),
            1,
        )
        tables, repaired = self.repair(tables, modules.table.alive, report.moved)
        told = (
            report.species,
            report.threshold,
            report.nodes - FIXED,
            of_tables.nodes - FIXED,
            report.exhausted + of_tables.exhausted,
            repaired,
        )
        pairs = zip(EVOLVED.items(), told, strict=True)
        return state.replace(
            modules=modules,
            tables=tables,
            assembled=self.networks_of(keys[2], modules, tables),
            evolved={name: jnp.asarray(x, kind) for (name, kind), x in pairs},
        )

    def networks_of(
        self, key: Array, modules: Population, tables: Population
    ) -> Assembled:
        """A generation's networks."""
        config = self.config
        module_key, table_key = jax.random.split(key)
        count = config.networks
        chosen = deal(module_key, modules.species, config.places, count)
        alone = jnp.zeros(config.tables, jnp.int32)
        table = deal(table_key, alone, 1, count)[:, 0]

        def one(drawn):
            network, uses = self.assemble(modules, tables, *drawn)
            cost = jnp.asarray(self.cost(network), jnp.float32)
            return network, uses, self.needs(network), cost

        network, uses, needs, cost = jax.lax.map(one, (chosen, table))
        return Assembled(
            network=network,
            chosen=chosen,
            uses=uses,
            table=table,
            fitness=jnp.zeros(count),
            cost=cost,
            needs=needs.max(0).astype(jnp.int32),
        )
