"""What a search on tables found, as JSON: the architectures, and cells as graphs."""

from typing import Any

import numpy as np

from evojax_mtl.tasks.tabular import Space


def describe(search: Any, state: Any) -> dict[str, Any]:
    """``Search.describe`` of a ``TableSearch``; ``state`` is on the host."""
    networks, total = [], 0
    for t, task in enumerate(search.tables):
        row = int(np.asarray(state.archive.best)[t])
        parameters = round(float(task.parameters[row]))
        total += parameters
        network = {
            "name": task.name,
            "architecture": task.space.strings[row],
            "genes": task.space.genes[row].tolist(),
            "evaluations": int(np.asarray(state.archive.spent)[t]),
            "parameters": parameters,
            "multiply_adds": round(float(task.multiply_adds[row])),
        }
        networks.append(network | {"cells": [graph(task.space, row)]})
    return {"parameters": total, "networks": networks}


def graph(space: Space, row: int) -> dict[str, Any]:
    """An architecture as a graph: a cell's nodes and operations, or a chain."""
    genes = space.genes[row].tolist()
    edges = space.edges or tuple((k, k + 1) for k in range(len(genes)))
    last = max(target for _, target in edges)
    nodes: list[dict[str, Any]] = [{"id": 0, "kind": "input"}]
    nodes += [{"id": k, "kind": "sum"} for k in range(1, last)]
    nodes.append({"id": last, "kind": "output"})
    links = []
    for k, ((source, target), gene) in enumerate(zip(edges, genes, strict=True)):
        own = last + 1 + k
        name = space.operations[gene]
        if space.edges and name == "none":
            continue
        nodes.append({"id": own, "kind": "operation", "operation": gene, "name": name})
        links.append({"source": source, "target": own})
        links.append({"source": own, "target": target})
    return {"name": "found", "nodes": nodes, "edges": links}
