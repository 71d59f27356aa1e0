"""What CMTR found, as JSON: the modules of a set, and each task's routing of them."""

from typing import Any

import jax
import numpy as np

from evojax_mtl.architectures.layers import INITIALIZERS
from evojax_mtl.genomes import routings
from evojax_mtl.search.codeepneat_description import module_of, parameters_of_layers
from evojax_mtl.search.description import merge_scales, network_of


def describe(search: Any, state: Any) -> dict[str, Any]:
    """``Search.describe`` of a ``CMTR``; ``state`` is on the host."""
    best = state.best
    found = float(np.mean(best.fitness)) > -1
    held = best if found else state
    params, members, routing = jax.tree.map(
        np.asarray, (held.params, held.network, held.routing)
    )
    champions = jax.tree.map(lambda x: x[:, 0], routing)
    architecture = routings.decode(champions)
    scales = params["merge"][:: search.individuals]
    networks = [
        {"name": name, **network_of(architecture, scales, t)}
        for t, name in enumerate(search.names)
    ]
    features = params["heads"]["kernel"].shape[1]
    heads = sum((features + 1) * classes for classes in search.classes)
    return {
        "parameters": parameters_of_layers(search.kinds, members.chain)
        + heads
        + merge_scales(networks),
        "learning_rate_factor": float(members.table["learning_rate"]),
        "initializer": INITIALIZERS[int(members.table["initializer"])],
        "networks": networks,
        "modules": [
            module_of(search.kinds, members.chain, k, k)
            for k in range(search.config.depth)
        ],
    }
