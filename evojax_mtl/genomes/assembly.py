"""Assembly of networks from modules: it fills tables, nothing is built (Liang 2018).

Shape legend: ``Q`` slots for modules, ``I`` layers a module may have, ``M`` merges,
``L`` links, ``K`` rows, ``D`` depths, ``S`` species of modules there is room for.

A module is a graph whose nodes are convolutions, its input what the slot reads, its
output a *final layer*: a linear 1x1 convolution to the network's width, followed by 2x2
max-pooling while the map is at least 4x4 (3.1). So a slot's resolution is the number
of final layers before it that pool; the pooling is done where the map is read. The
decoder reads maps at the coarsest resolution a network may have: what comes from fewer
final layers is pooled on.

Slots with one canonical slot share the weights of all their layers: their nodes have
equal weight slots.

``grid``: CM's enhanced soft ordering (3.1). Slot ``T_kd`` holds ``M_(k mod |M|)``; what
the K slots of a depth give is soft-merged by each task. Slots of one module share
weights where both the module's flag and the flag of the depth are on.

``blueprint``: CMSR's shared routing (3.2). Each node of a blueprint points to a species
and is replaced by its module; several inputs are soft-merged first. Nodes replaced by
one module share weights where the flags of both nodes are on. Differs from the paper,
which does not say: a merge of the image and of modules pools the image until it fits.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from evojax_mtl.architectures.layers import (
    ACTIVATIONS,
    INITIALIZERS,
    Layers,
    Network,
    bucket_of,
    operation_of,
)
from evojax_mtl.architectures.schedule import depths
from evojax_mtl.architectures.table import INPUT, OUTPUT, Architecture
from evojax_mtl.genomes import graphs
from evojax_mtl.genomes.graphs import FIXED, Graph
from evojax_mtl.genomes.hyperparameters import Choice, Flag, Integer, Real, Space
from evojax_mtl.genomes.routings import chain_resolutions
from evojax_mtl.pytrees import Pytree

LINEAR = ACTIVATIONS.index("linear")


@dataclass(frozen=True)
class Maps:
    """What the maps of all networks have in common.

    Attributes:
      size: height and width of an image (pixels), or the steps of a sequence.
      channels: of an image; None where a learned layer of the network's width makes
        what modules read.
      kernels: sides of the kernels that layers may have, or the types of layers.
      buckets: numbers of channels that layers compute, ascending; the last is that of
        the buffers.
      depth: final layers, one after the other, that may pool.
    """

    size: tuple[int, ...]
    channels: int | None
    kernels: tuple[Any, ...]
    buckets: tuple[int, ...]
    depth: int

    @property
    def levels(self) -> list[int]:
        """Resolution after so many final layers."""
        return chain_resolutions(self.size, self.depth)


class Slots(Pytree):
    """Places for modules in a network.

    Attributes:
      active: the slots in use.
      reads: node of the network that each slot reads.
      resolution: of its input.
      canonical: the slot whose weights it uses.
    """

    active: Bool[Array, "Q"]
    reads: Int[Array, "Q"]
    resolution: Int[Array, "Q"]
    canonical: Int[Array, "Q"]


class Links(Pytree):
    """The edges that are soft-merged, and the resolution of the merges.

    Attributes:
      source: node of the network.
      target: a merge or the output.
      edge: the links in use.
      merge: resolution of each merge.
    """

    source: Int[Array, "L"]
    target: Int[Array, "L"]
    edge: Bool[Array, "L"]
    merge: Int[Array, "M"]


def layer_space(
    kernels: tuple[int, ...],
    filters: tuple[int, int],
    dropout: float,
    decay: tuple[float, float],
) -> Space:
    """Hyperparameters of a layer; see Liang 2018, 3.1.

    Args:
      kernels: sides that kernels may have, the first of ``KERNELS``.
      filters: fewest and most channels.
      dropout: largest rate.
      decay: weakest and strongest L2 regularisation.
    """
    return Space(
        (
            Choice("kernel", kernels),
            Choice("activation", ACTIVATIONS),
            Integer("filters", *filters),
            Real("dropout", 0.0, dropout),
            Real("decay", *decay, "log"),
        )
    )


def network_genes(filters: tuple[int, int], factor: float) -> tuple:
    """Global hyperparameters (Liang 2018, 3.1).

    Args:
      filters: fewest and most channels of the final layers.
      factor: the learning rate is at most this times, and at least this part of, the
        search's.
    """
    return (
        Real("learning_rate", 1 / factor, factor, "log"),
        Integer("width", *filters),
        Choice("initializer", INITIALIZERS),
    )


def grid_space(filters: tuple[int, int], factor: float, rows: int, depth: int) -> Space:
    """CM's table: the global hyperparameters, K, D, and a flag F_d for each depth."""
    return Space(
        (
            *network_genes(filters, factor),
            Integer("rows", 1, rows),
            Integer("depth", 1, depth),
            *(Flag(f"shared_{d}") for d in range(depth)),
        )
    )


def first_nodes(slots: int, merges: int, modules: Graph) -> np.ndarray:
    """The first node of each slot; its final layer is ``I`` nodes further on."""
    layers = modules.node.shape[-1] - FIXED
    return FIXED + merges + np.arange(slots) * (layers + 1)


def _reach(values: Array, target: Array, used: Array, nodes: int) -> Array:
    """The largest of the values that edges bring to each node."""
    return jnp.zeros(nodes, values.dtype).at[target].max(jnp.where(used, values, 0))


def embed(
    maps: Maps,
    space: Space,
    modules: Graph,
    slots: Slots,
    links: Links,
    table: dict[str, Array],
    padded: bool = False,
) -> Network:
    """The network whose slots hold ``modules``.

    Args:
      maps: sizes.
      space: hyperparameters of a layer.
      modules: of each slot, ``(Q, ...)``.
      slots: where they go.
      links: between them.
      table: the network's ``width``, ``learning_rate`` and ``initializer``; where they
        evolve ``optimizer`` and ``preprocessing``, and of the final layers ``kernel``,
        ``activation`` and ``dropout``, ``(Q,)``.
      padded: whether images count as maps of the network's width, since other networks
        use the same weights on those.
    """
    count, merges = slots.active.shape[0], links.merge.shape[0]
    base = first_nodes(count, merges, modules)
    layers = modules.node.shape[-1] - FIXED
    final = base + layers
    nodes = int(final[-1]) + 1 if count else FIXED + merges
    width = table["width"]

    def per_node(head, of_merges, of_layers, of_final):
        """Values of the input and the output, of merges, of layers, of final ones."""
        of_final = jnp.broadcast_to(jnp.asarray(of_final), (count,))
        inner = jnp.concatenate([of_layers, of_final[:, None]], 1).ravel()
        of_merges = jnp.broadcast_to(jnp.asarray(of_merges), (merges,))
        parts = jnp.asarray(head), of_merges, inner
        return jnp.concatenate([p.astype(inner.dtype) for p in parts])

    genes = space.decode(modules.genes[:, FIXED:])
    there = graphs.inner(modules)[:, FIXED:] & slots.active[:, None]
    ahead = jnp.broadcast_to(slots.resolution[:, None], there.shape)
    resolution = per_node(
        [0, maps.levels[-1]], links.merge, ahead, slots.resolution
    ).astype(jnp.int32)
    module = per_node(
        [-1, -1], -1, jnp.broadcast_to(jnp.arange(count)[:, None], there.shape),
        jnp.arange(count),
    )  # fmt: skip

    source, target = jax.vmap(graphs.ends)(modules)
    begin, end = jnp.asarray(base)[:, None], jnp.asarray(final)[:, None]
    source = jnp.where(
        source == INPUT, slots.reads[:, None], begin + source - FIXED
    ).ravel()
    target = jnp.where(target == OUTPUT, end, begin + target - FIXED).ravel()
    used = (modules.enabled & slots.active[:, None]).ravel()
    source = jnp.concatenate([links.source, source]).astype(jnp.int32)
    target = jnp.concatenate([links.target, target]).astype(jnp.int32)
    used = jnp.concatenate([links.edge, used])

    merged = jnp.zeros(nodes, bool).at[links.target].max(links.edge)
    number = jnp.arange(nodes)
    is_merge = (number >= FIXED) & (number < FIXED + merges)
    active = per_node([True, True], False, there, slots.active)
    active |= is_merge & merged
    read = width if maps.channels is None else maps.channels
    if padded:
        read = jnp.maximum(width, read)
    filters = per_node([read, 0], 0, genes["filters"], width)
    passes, rounds = is_merge, 1
    if "passes" in genes:
        passes |= per_node([False, False], False, genes["passes"], False)
        rounds += layers

    def pass_on(_, filters):
        passed = _reach(filters[source], target, used, nodes)
        return jnp.where(passes, passed, filters)

    # a merge reads what computes; others that pass channels on may read one another
    filters = jax.lax.fori_loop(0, rounds, pass_on, filters)
    inputs = _reach(filters[source], target, used, nodes)

    own = per_node([INPUT, OUTPUT], 0, jnp.zeros(there.shape, jnp.int32), 0)
    owner = jnp.asarray(base)[slots.canonical]
    place = jnp.arange(layers)
    slot = per_node([0, 0], 0, owner[:, None] + place, owner + layers)
    slot = jnp.where(number < FIXED + merges, number, slot).astype(own.dtype)

    convolves = active & (number >= FIXED + merges)
    learned = jnp.zeros(nodes, bool).at[target].max(used & (source != INPUT))
    learned |= (resolution > 0) | (maps.channels is None) | padded
    full = convolves & learned
    # slots that share weights must agree on their shape, and so on what they read
    full = jnp.zeros(nodes, bool).at[slot].max(full)[slot]
    inputs = jnp.zeros_like(inputs).at[slot].max(inputs)[slot]
    kernel = per_node([0, 0], 0, genes["kernel"], table.get("kernel", 0))
    bucket = bucket_of(filters, maps.buckets)
    operation = operation_of(
        kernel, bucket, ~full, len(maps.kernels), len(maps.buckets)
    )
    activation = table.get("activation", LINEAR)
    dropout = table.get("dropout", 0.0)
    return Network(
        architecture=Architecture(
            operation=jnp.where(convolves, operation, 0).astype(jnp.int32),
            slot=slot,
            resolution=resolution,
            active=active,
            source=source,
            target=target,
            edge=used,
        ),
        layers=Layers(
            kernel=kernel,
            inputs=inputs,
            filters=filters,
            activation=per_node(
                [LINEAR, LINEAR], LINEAR, genes["activation"], activation
            ),
            dropout=per_node([0.0, 0.0], 0.0, genes["dropout"], dropout),
            decay=per_node([0.0, 0.0], 0.0, genes["decay"], 0.0),
        ),
        learning_rate=table["learning_rate"],
        initializer=table["initializer"],
        optimizer=jnp.asarray(table.get("optimizer", 0), jnp.int32),
        module=jnp.where(active, module, -1).astype(jnp.int32),
        preprocessing=table.get("preprocessing"),
    )


def _canonical(held: Int[Array, "Q"], shares: Bool[Array, "Q"]) -> Int[Array, "Q"]:
    """The first slot that shares and holds the same module; else the slot itself."""
    same = (held[:, None] == held) & shares[:, None] & shares
    return jnp.where(shares, jnp.argmax(same, 1), jnp.arange(held.shape[0]))


def ordered(alive: Bool[Array, "S"]) -> tuple[Int[Array, "S"], Int[Array, ""]]:
    """The living species first, and how many live."""
    return jnp.argsort(~alive, stable=True).astype(jnp.int32), alive.sum()


def grid(
    maps: Maps,
    space: Space,
    modules: Graph,
    chosen: Int[Array, "S"],
    alive: Bool[Array, "S"],
    flags: Bool[Array, "P"],
    table: dict[str, Array],
    rows: int,
) -> Network:
    """CM's network; see the module.

    Args:
      maps: sizes; ``depth`` is the largest D.
      space: hyperparameters of a layer.
      modules: the population.
      chosen: one module of each species.
      alive: the species there are.
      flags: F_k of every module.
      table: the decoded ``grid_space``.
      rows: the largest K.
    """
    depth = maps.depth
    order, count = ordered(alive)
    d, k = (x.ravel() for x in np.mgrid[:depth, :rows])
    held = chosen[order[k % count]]
    active = (k < table["rows"]) & (d < table["depth"])
    of_depth = jnp.stack([table[f"shared_{d}"] for d in range(depth)])
    shares = active & flags[held] & of_depth[d]
    placed = jax.tree.map(lambda x: x[held], modules)
    merges, levels = depth - 1, np.asarray(maps.levels)
    final = first_nodes(len(d), merges, modules) + modules.node.shape[-1] - FIXED
    slots = Slots(
        active=active,
        reads=jnp.asarray(np.where(d == 0, INPUT, FIXED + d - 1)),
        resolution=jnp.asarray(levels[d]),
        canonical=_canonical(held, shares),
    )
    links = Links(
        source=jnp.asarray(final),
        target=jnp.where(
            d + 1 < table["depth"], np.minimum(FIXED + d, FIXED + merges - 1), OUTPUT
        ),
        edge=active,
        merge=jnp.asarray(levels[1:depth]),
    )
    return embed(maps, space, placed, slots, links, table)


def joined(
    source: Int[Array, "L"],
    target: Int[Array, "L"],
    edge: Bool[Array, "L"],
    final: Int[Array, "Q"],
    resolution: Int[Array, "Q"],
) -> tuple[Int[Array, "Q"], Links]:
    """What the slots of a graph read, each soft-merged first if it is several.

    Slot ``q`` is node ``FIXED + q`` of the graph, and has a merge of its own.

    Args:
      source: node of the graph that each edge leaves from.
      target: node that it ends in.
      edge: the edges in use.
      final: the final layers of the slots, nodes of the network.
      resolution: of the slots' inputs.
    """
    nodes = FIXED + final.shape[0]
    made = jnp.where(source == INPUT, INPUT, final[jnp.maximum(source - FIXED, 0)])
    degree = jnp.zeros(nodes, jnp.int32).at[target].add(edge)
    only = jnp.zeros(nodes, made.dtype).at[target].max(jnp.where(edge, made, 0))
    merge = FIXED + jnp.arange(final.shape[0])
    reads = jnp.where(degree[FIXED:] == 1, only[FIXED:], merge)
    links = Links(
        source=made,
        target=jnp.where(
            target == OUTPUT, OUTPUT, merge[jnp.maximum(target - FIXED, 0)]
        ),
        edge=edge & ((target == OUTPUT) | (degree[target] > 1)),
        merge=resolution,
    )
    return reads, links


def node_space(species: int) -> Space:
    """A node of a blueprint: the species that it points to, and its flag F_i."""
    return Space((Choice("species", tuple(range(species))), Flag("shared")))


def repaired(
    blueprints: Graph, alive: Bool[Array, "S"], moved: Int[Array, "S"]
) -> tuple[Graph, Int[Array, ""]]:
    """Blueprints whose pointers are to living species, and how many have changed.

    Args:
      blueprints: many, whose nodes' genes are those of ``node_space``.
      alive: the species there are.
      moved: for each place of a species, where to look for it now. What is not alive
        there either counts on among the living ones.
    """
    places = alive.shape[0]
    order, count = ordered(alive)
    pointer = node_space(places).decode(blueprints.genes)["species"]
    now = moved[pointer]
    now = jnp.where(alive[now], now, order[now % count])
    changed = graphs.inner(blueprints) & (now != pointer)
    value = jnp.where(changed, (now + 0.5) / places, blueprints.genes[..., 0])
    genes = blueprints.genes.at[..., 0].set(value)
    return blueprints.replace(genes=genes), changed.sum()


def _longest(graph: Graph) -> Int[Array, "N"]:
    """Nodes on the longest path from the input to each node, itself included."""
    source, target = graphs.ends(graph)
    nothing = jnp.zeros(graph.node.shape, jnp.int32)
    return depths(
        Architecture(
            operation=nothing,
            slot=nothing,
            resolution=nothing,
            active=graph.node < graphs.NEVER,
            source=source.astype(jnp.int32),
            target=target.astype(jnp.int32),
            edge=graph.enabled,
        )
    )


def blueprint(
    maps: Maps,
    space: Space,
    modules: Graph,
    chosen: Int[Array, "S"],
    graph: Graph,
    table: dict[str, Array],
) -> tuple[Network, Bool[Array, "S"]]:
    """CMSR's network, and the species whose modules are in it.

    Pointers must be to living species; see ``repaired``.

    Args:
      maps: sizes; ``depth`` is the most final layers that may pool.
      space: hyperparameters of a layer.
      modules: the population.
      chosen: one module of each species.
      graph: the blueprint; its nodes' genes are those of ``node_space``.
      table: the decoded hyperparameters of the network.
    """
    genes = node_space(chosen.shape[0]).decode(graph.genes[FIXED:])
    pointer, there = genes["species"], graphs.inner(graph)[FIXED:]
    held = chosen[pointer]
    slots_count = there.shape[0]
    placed = jax.tree.map(lambda x: x[held], modules)
    base = first_nodes(slots_count, slots_count, modules)
    final = jnp.asarray(base + modules.node.shape[-1] - FIXED)
    before = jnp.maximum(_longest(graph)[FIXED:] - 1, 0)
    levels = jnp.asarray(maps.levels)
    resolution = levels[jnp.minimum(before, maps.depth)]
    reads, links = joined(*graphs.ends(graph), graph.enabled, final, resolution)
    slots = Slots(
        active=there,
        reads=reads,
        resolution=resolution,
        canonical=_canonical(held, there & genes["shared"]),
    )
    uses = jnp.zeros(chosen.shape, bool).at[pointer].max(there)
    return embed(maps, space, placed, slots, links, table), uses
