"""Sets of modules, and the networks that routings of them are (Liang 2018, 3.4).

Shape legend: ``K`` modules of a set, ``S`` species there is room for, ``R`` nodes of a
routing, ``Q = R - 2`` slots.

A set is what CMTR hands to CTR: K modules, each with weights of its own, wherever and
by whichever task it is applied. One module is drawn of each species; where K is larger
than the species are many they come again, with other weights (as in CM's grid).

A module ends in its final layer, whose kernel, activation and dropout evolve, and in
2x2 max-pooling while the map is at least 4x4. Since the pooling is done where the map
is read, the tables are those of ``assembly``: node ``2 + q`` of a routing is slot
``q``. Slots 0 to K - 1 hold the modules 0 to K - 1 in every routing, for routings begin
as the chain of all and never lose a node: they own the weights, and later slots use
theirs.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.layers import ACTIVATIONS, Network
from evojax_mtl.architectures.schedule import rows_bound
from evojax_mtl.genomes import assembly, graphs, routings
from evojax_mtl.genomes.assembly import Maps, Slots
from evojax_mtl.genomes.graphs import FIXED, Graph
from evojax_mtl.genomes.hyperparameters import Choice, Real, Space
from evojax_mtl.genomes.routings import Routing
from evojax_mtl.pytrees import Pytree


class ModuleSet(Pytree):
    """A set of modules, and the hyperparameters of all that is made of it.

    Attributes:
      modules: in the order of the chain.
      table: the decoded ``assembly.network_genes``.
      chain: the network that is their chain.
    """

    modules: Graph
    table: dict[str, Array]
    chain: Network

    @property
    def learning_rate(self) -> Float[Array, ""]:
        """Factor of the search's learning rate."""
        return self.table["learning_rate"]


def final_space(kernels: tuple[int, ...], dropout: float) -> Space:
    """Hyperparameters of a module's final layer.

    Args:
      kernels: sides that kernels may have, the first of ``KERNELS``.
      dropout: largest rate.
    """
    return Space(
        (
            Choice("kernel", kernels),
            Choice("activation", ACTIVATIONS),
            Real("dropout", 0.0, dropout),
        )
    )


def assembled(
    maps: Maps,
    layers: Space,
    final: Space,
    modules: Graph,
    chosen: Int[Array, "S"],
    alive: Bool[Array, "S"],
    table: dict[str, Array],
) -> tuple[ModuleSet, Bool[Array, "S"]]:
    """A set, and the species whose modules are in it.

    Args:
      maps: sizes; ``depth`` is the number of a set's modules, K.
      layers: hyperparameters of a layer.
      final: those of a final layer.
      modules: the population.
      chosen: one module of each species.
      alive: the species there are.
      table: the decoded ``assembly.network_genes``.
    """
    order, count = assembly.ordered(alive)
    held = order[jnp.arange(maps.depth) % count]
    members = jax.tree.map(lambda x: x[chosen[held]], modules)
    uses = jnp.zeros(alive.shape, bool).at[held].set(True)
    first = routings.chain(maps.size, maps.depth, maps.depth, 0)
    first = jax.tree.map(jnp.asarray, first)
    chain = unrolled(maps, layers, final, members, table, first)
    return ModuleSet(members, table, chain), uses


def unrolled(
    maps: Maps,
    layers: Space,
    final: Space,
    members: Graph,
    table: dict[str, Array],
    routing: Routing,
) -> Network:
    """The network of one routing of modules.

    Args:
      maps: sizes.
      layers: hyperparameters of a layer.
      final: those of a final layer.
      members: the modules, ``(K, ...)``.
      table: the decoded ``assembly.network_genes``.
      routing: begun as the chain of the modules; its edges are the links.
    """
    held, resolution = routing.module[FIXED:], routing.resolution[FIXED:]
    modules = jax.tree.map(lambda x: x[held], members)
    slots = held.shape[0]
    last = assembly.first_nodes(slots, slots, modules) + modules.node.shape[-1] - FIXED
    edge = jnp.arange(routing.source.shape[0]) < routing.edges
    reads, links = assembly.joined(
        routing.source, routing.target, edge, jnp.asarray(last), resolution
    )
    places = Slots(
        active=FIXED + jnp.arange(slots) < routing.nodes,
        reads=reads,
        resolution=resolution,
        canonical=held,
    )
    table = table | final.decode(modules.whole)
    return assembly.embed(maps, layers, modules, places, links, table, padded=True)


def rows(members: ModuleSet, routing: Routing, resolutions: int) -> Int[Array, "R"]:
    """Rows of each resolution that one routing's network needs, at most.

    Args:
      members: the set.
      routing: of its modules.
      resolutions: how many there are.
    """
    one = routings.decode(routing)
    layers = graphs.inner(members.modules).sum(-1)[routing.module]
    degree = jnp.zeros(one.active.shape, jnp.int32).at[one.target].add(one.edge)
    # the final layer is the routing's node; before it come layers, perhaps a merge
    more = jnp.where(one.active, layers + (degree > 1), 0).at[:FIXED].set(0)
    return rows_bound(one, resolutions).at[one.resolution].add(more)
