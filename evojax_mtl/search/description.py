"""What a routed search found, as JSON: genomes, and the networks they decode to."""

from typing import Any

import jax
import numpy as np
import optax

from evojax_mtl.architectures.table import INPUT, OUTPUT

_KINDS = {INPUT: "input", OUTPUT: "output"}


def describe(search: Any, state: Any) -> dict[str, Any]:
    """``Search.describe`` of a ``RoutedSearch``; ``state`` is on the host."""
    kept = float(np.mean(state.best.fitness)) > -1
    params = state.best.params if kept else state.params
    genome = state.best.genome if kept else state.genome
    architecture = jax.tree.map(np.asarray, search.architecture(genome))
    merge = np.asarray(params["merge"])
    logits = np.asarray(search.edge_logits(merge))
    champions = range(0, search.networks, search.individuals)
    networks = [
        {"name": name, **network_of(architecture, logits, p)}
        for name, p in zip(search.names, champions, strict=True)
    ]
    return {
        "parameters": _parameters(search, params, networks),
        "networks": networks,
    }


def network_of(architecture: Any, logits: np.ndarray, p: int) -> dict[str, Any]:
    """Nodes and edges of network ``p`` of an architecture of modules.

    Args:
      architecture: ``(P, ...)``, NumPy; a node's slot is its module.
      logits: scales of the soft merges, ``(P, E)``.
      p: which one.
    """
    edges = np.flatnonzero(architecture.edge[p])
    source, target = architecture.source[p, edges], architecture.target[p, edges]
    level = architecture.resolution[p]
    weights = merge_shares(logits[p, edges], target)
    nodes = []
    for node in np.flatnonzero(architecture.active[p]).tolist():
        entry = {"id": node, "kind": _KINDS.get(node, "module")}
        if node not in _KINDS:
            entry |= {
                "module": int(architecture.slot[p, node]),
                "resolution": int(level[node]),
            }
        nodes.append(entry)
    return {
        "nodes": nodes,
        "edges": [
            {
                "source": int(s),
                "target": int(t),
                "weight": float(w),
                "adapters": int(level[t] - level[s]),
            }
            for s, t, w in zip(source, target, weights, strict=True)
        ],
    }


def merge_shares(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Each edge's share of the soft merge it ends in: softmax within a target."""
    shares = np.zeros(len(logits))
    for node in np.unique(target):
        into = target == node
        scales = np.exp(logits[into] - logits[into].max())
        shares[into] = scales / scales.sum()
    return shares


def merge_scales(networks: list[dict[str, Any]]) -> int:
    """Learned scales of the soft merges that described networks use."""
    targets = [[e["target"] for e in network["edges"]] for network in networks]
    return sum(t.count(node) > 1 for t in targets for node in t)


def _parameters(search: Any, params: Any, networks: list[dict[str, Any]]) -> int:
    """Weights of the result: modules, the champions' decoders, the scales in use."""
    modules = optax.tree.size(params["supernet"])
    features = params["decoders"]["kernel"].shape[1]
    decoders = sum((features + 1) * classes for classes in search.classes)
    return int(modules + decoders + search.merge_scales(networks))
