"""What a search of cells found, as JSON: codes, and the cells they decode to."""

from typing import Any

import numpy as np

from evojax_mtl.architectures.wiring import BLOCKS, INPUTS, OPERATIONS
from evojax_mtl.evaluation.complexity import complexity
from evojax_mtl.genomes import cells
from evojax_mtl.networks.cell_network import CellNetwork, static_code


def describe(search: Any, state: Any) -> dict[str, Any]:
    """``Search.describe`` of a ``CellSearch``; ``state`` is on the host."""
    networks, parameters = [], 0
    for t, name in enumerate(search.names):
        genome = np.asarray(state.kept.genome[t])
        plain = CellNetwork(
            static_code(genome),
            search.config.channels,
            search.config.repeats,
            search.classes[t],
        )
        size = complexity(plain, search.image_shape)
        parameters += size.parameters
        networks.append(
            {
                "name": name,
                "code": cells.code(genome),
                "parameters": size.parameters,
                "multiply_adds": size.multiply_adds,
                "cells": [
                    {"name": kind, **_cell(genome[i])}
                    for i, kind in enumerate(cells.CELL_TYPES)
                ],
            }
        )
    return {"parameters": parameters, "networks": networks}


def _cell(genome: np.ndarray) -> dict[str, Any]:
    """A cell as a graph: inputs, operations, blocks that add two, the output."""
    nodes: list[dict[str, Any]] = [
        {"id": 0, "kind": "input", "label": "last"},
        {"id": 1, "kind": "input", "label": "before"},
    ]
    output = INPUTS + BLOCKS
    edges = []
    for block in range(BLOCKS):
        node = INPUTS + block
        nodes.append({"id": node, "kind": "sum", "label": "+"})
        first, second, *operations = (int(value) for value in genome[block])
        for k, (source, number) in enumerate(
            zip((first, second), operations, strict=True)
        ):
            own = output + 1 + 2 * block + k
            name = OPERATIONS[number]
            nodes.append(
                {"id": own, "kind": "operation", "operation": number, "name": name}
            )
            edges.append({"source": source, "target": own})
            edges.append({"source": own, "target": node})
    nodes.append({"id": output, "kind": "output"})
    loose = ~np.isin(INPUTS + np.arange(BLOCKS), genome[:, :2])
    ends = INPUTS + np.flatnonzero(loose)
    edges += [{"source": int(end), "target": output} for end in ends]
    read = {edge["source"] for edge in edges}
    return {"nodes": [n for n in nodes if n["id"] in read | {output}], "edges": edges}
