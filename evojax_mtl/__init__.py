"""evojax_mtl: evolutionary multitask architecture search in JAX.

The public names. They load when they are used, so that the command line, which needs
few of them, starts without JAX.
"""

import importlib
from typing import Any

_HOME = {
    "Architecture": "architectures.table",
    "Schedule": "architectures.schedule",
    "schedule": "architectures.schedule",
    "Balancer": "balancing.adapter",
    "min_norm": "balancing.min_norm",
    "BALANCING": "balancing.registry",
    "find_balancing": "balancing.registry",
    "training_step": "balancing.training",
    "SingleTaskConfig": "configs",
    "SoftOrderingConfig": "configs",
    "CTRConfig": "configs",
    "UserError": "errors",
    "retrain": "evaluation.retraining",
    "NEAT": "evolution.neat",
    "find_genotype": "genomes.genotypes",
    "Space": "genomes.hyperparameters",
    "Routing": "genomes.routings",
    "METHODS": "methods",
    "CellNetwork": "networks.cell_network",
    "convolution": "networks.convolution",
    "DartsNetwork": "networks.darts_network",
    "execute": "networks.executor",
    "ConvolutionModule": "networks.operations",
    "Operation": "networks.operations",
    "soft_merge": "networks.soft_merge",
    "merge_weights": "networks.soft_merge",
    "initial_scale": "networks.soft_merge",
    "Supernet": "networks.supernet",
    "RoutedNetworks": "networks.supernet",
    "Plan": "networks.tape",
    "Search": "search.protocol",
    "CTR": "search.ctr",
    "SingleTask": "search.single_task",
    "SoftOrdering": "search.soft_ordering",
    "Dataset": "tasks.dataset",
    "stack_tasks": "tasks.dataset",
    "load_tasks": "tasks.sources",
    "Split": "tasks.task",
    "Task": "tasks.task",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
