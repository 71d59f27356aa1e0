"""What a search that assembles networks found, as JSON: modules and their routing."""

from typing import Any

import jax
import numpy as np

from evojax_mtl.architectures.layers import (
    ACTIVATIONS,
    INITIALIZERS,
    MERGE,
    Network,
    weighted,
)
from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.networks.layer_sets import LayerSet
from evojax_mtl.search.description import merge_shares

_ENDS = {INPUT: "input", OUTPUT: "output"}


def describe(search: Any, state: Any) -> dict[str, Any]:
    """``Search.describe`` of a ``CoDeepNEAT``; ``state`` is on the host."""
    params, network = kept(state)
    model = search.model(state.rows, state.weights)
    modules, kinds = _modules(search.kinds, network)
    routings = [
        {"name": name, **_routing(search, network, scales, kinds)}
        for name, scales in zip(search.names, params["merge"], strict=True)
    ]
    return {
        "parameters": int(model.parameters(network, sum(search.classes))),
        "learning_rate_factor": float(network.learning_rate),
        "initializer": INITIALIZERS[int(network.initializer)],
        "networks": routings,
        "modules": modules,
    }


def kept(state: Any) -> tuple[Any, Network]:
    """Weights and network of the result; ``state`` is on the host."""
    return jax.tree.map(np.asarray, (state.best.params, state.best.network))


def parameters_of_layers(kinds: LayerSet, network: Network) -> int:
    """Weights in use of a network's kernels and biases."""
    return int((kinds.parameters(network) * weighted(network)).sum())


def _layers(
    kinds: LayerSet, network: Network, nodes: np.ndarray
) -> list[dict[str, Any]]:
    layers, found = network.layers, []
    for node in nodes:
        number = int(layers.kernel[node])
        name = kinds.names[number]
        *_, window = name.partition("_")
        kernel = {"kernel": int(window[0])} if window else {}
        found.append(
            {"operation": number, "name": name}
            | kernel
            | {
                "activation": ACTIVATIONS[int(layers.activation[node])],
                "filters": int(layers.filters[node]),
                "dropout": round(float(layers.dropout[node]), 4),
                "decay": float(f"{float(layers.decay[node]):.3g}"),
            }
        )
    return found


def _modules(
    kinds_of_layers: LayerSet, network: Network
) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """The different modules, and which of them each slot holds."""
    architecture = network.architecture
    convolves = architecture.active & (architecture.operation > MERGE)
    modules: list[dict[str, Any]] = []
    kinds, seen = {}, {}
    for held in sorted(set(network.module[convolves].tolist())):
        found = module_of(kinds_of_layers, network, held, len(modules))
        same = repr((found["nodes"], found["edges"]))
        if same not in seen:
            seen[same] = len(modules)
            modules.append(found)
        kinds[held] = seen[same]
    return modules, kinds


def module_of(
    kinds: LayerSet, network: Network, held: int, number: int
) -> dict[str, Any]:
    """The module in slot ``held``, as a graph of its layers; named by ``number``."""
    architecture = network.architecture
    convolves = architecture.active & (architecture.operation > MERGE)
    nodes = np.flatnonzero((network.module == held) & convolves)
    place = {int(node): i + 2 for i, node in enumerate(nodes)}
    edges = []
    for source, target, edge in zip(
        architecture.source, architecture.target, architecture.edge, strict=True
    ):
        if edge and int(target) in place:
            edges.append([place.get(int(source), INPUT), place[int(target)]])
    return _module(number, _layers(kinds, network, nodes), sorted(edges))


def _module(
    number: int, layers: list[dict[str, Any]], edges: list[list[int]]
) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = [
        {"id": INPUT, "kind": "input"},
        {"id": OUTPUT, "kind": "output"},
    ]
    for i, layer in enumerate(layers):
        nodes.append({"id": i + 2, "kind": "operation"} | layer)
    joined = [{"source": source, "target": target} for source, target in edges]
    joined.append({"source": len(layers) + 1, "target": OUTPUT})
    return {"name": f"module M{number + 1}", "nodes": nodes, "edges": joined}


def _routing(
    search: Any, network: Network, scales: np.ndarray, kinds: dict[int, int]
) -> dict[str, Any]:
    """One task's routing: modules, and the links between them.

    Nodes whose ``weights`` have one number share them.
    """
    architecture, links = network.architecture, search.links()
    level = architecture.resolution
    active = np.flatnonzero(architecture.edge[:links])
    source, target = (
        np.asarray(x)[active] for x in (architecture.source, architecture.target)
    )
    shares = dict(
        zip(active.tolist(), merge_shares(scales[active], target), strict=True)
    )
    nodes: list[dict[str, Any]] = [
        {"id": INPUT, "kind": "input"},
        {"id": OUTPUT, "kind": "output"},
    ]
    final, reads = _ends(network)
    number = {slot: i + 2 for i, slot in enumerate(sorted(final))}
    made = {node: number[slot] for slot, node in final.items()} | {INPUT: INPUT}
    owner = {slot: int(architecture.slot[node]) for slot, node in final.items()}
    weights = {node: i for i, node in enumerate(sorted(set(owner.values())))}
    for slot in sorted(final):
        nodes.append(
            {
                "id": number[slot],
                "kind": "module",
                "module": kinds[slot],
                "weights": weights[owner[slot]],
                "resolution": int(level[final[slot]]),
            }
        )
    edges = []

    def add(begin, end, weight, levels):
        edges.append(
            {
                "source": int(begin),
                "target": int(end),
                "weight": float(weight),
                "adapters": int(levels),
            }
        )

    into: dict[int, list[tuple[int, float]]] = {}
    for link, begin, end in zip(active.tolist(), source, target, strict=True):
        into.setdefault(int(end), []).append((int(begin), float(shares[link])))
    for slot, node in reads.items():
        for begin, weight in into.get(node, [(node, 1.0)]):
            levels = level[final[slot]] - level[begin]
            add(made[begin], number[slot], weight, levels)
    for begin, weight in into[OUTPUT]:
        add(made[begin], OUTPUT, weight, level[OUTPUT] - level[begin])
    return {"nodes": nodes, "edges": edges}


def _ends(network: Network) -> tuple[dict[int, int], dict[int, int]]:
    """The final layer of each slot, and the node outside that the slot reads."""
    architecture = network.architecture
    final, reads = {}, {}
    for slot in sorted(set(network.module[network.module >= 0].tolist())):
        nodes = np.flatnonzero(network.module == slot)
        final[slot] = int(nodes[-1])
        inside = np.isin(architecture.target, nodes) & architecture.edge
        outside = inside & ~np.isin(architecture.source, nodes)
        reads[slot] = int(architecture.source[outside][0])
    return final, reads
