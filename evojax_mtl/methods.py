"""The registry of search methods. Imports no JAX until a method is built."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from evojax_mtl.configs import (
    SCALES,
    CTRConfig,
    EMTNASConfig,
    SearchConfig,
    SingleTaskConfig,
    SoftOrderingConfig,
    preset,
)
from evojax_mtl.errors import UserError, unknown
from evojax_mtl.tabular_configs import (
    EMTNASTableConfig,
    GCNPredictorConfig,
    KTNASConfig,
    LocalSearchConfig,
    MTNASConfig,
    RandomSearchConfig,
    REAConfig,
    WeakNASConfig,
    ZeroCostConfig,
)


@dataclass(frozen=True)
class Method:
    """One search method.

    Attributes:
      name: as the command line spells it.
      summary: what it does, one line.
      paper: where it was published.
      status: what has been checked.
      config: its frozen config dataclass.
      factory: ``'module:attribute'``, called as ``factory(config, data)`` with a
        ``Dataset`` or, on tables, a ``TableData``, or ``factory(config, data, mesh)``
        to spread over the axes of ``mesh_axes``; it returns a ``Search``.
      data: what its tasks are.
      tasks: what it runs on unless told.
      mesh_axes: axes of devices that one search can spread over. The searches of a
        sweep spread over ``population`` whatever the method.
    """

    name: str
    summary: str
    paper: str
    status: str
    config: type[SearchConfig]
    factory: str
    mesh_axes: tuple[str, ...] = ()
    data: Literal["images", "table"] = "images"
    tasks: str = "glyphs"

    def configure(self, scale: str) -> Any:
        """The config at ``scale``; ``UserError`` for an unknown scale."""
        if scale not in SCALES:
            raise UserError(f"--scale: {unknown(scale, SCALES)}")
        return preset(self.config, scale)

    def load(self) -> Callable[..., Any]:
        """The factory (imports JAX)."""
        module, attribute = self.factory.split(":")
        return getattr(importlib.import_module(module), attribute)


_LIANG_2018 = "Liang, Meyerson, Miikkulainen 2018, arXiv:1803.03745"


def _on_table(
    name: str, summary: str, paper: str, config: type[SearchConfig], place: str
) -> Method:
    return Method(
        name=name,
        summary=summary,
        paper=paper,
        status="implemented",
        config=config,
        factory=f"evojax_mtl.search.{place}",
        data="table",
        tasks="nasbench-toy",
    )


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="single-task",
            summary="one chain of modules a task, nothing shared",
            paper=_LIANG_2018,
            status="implemented",
            config=SingleTaskConfig,
            factory="evojax_mtl.search.single_task:SingleTask",
            mesh_axes=("tasks",),
        ),
        Method(
            name="soft-ordering",
            summary="shared modules, softly ordered at every depth by each task",
            paper="Meyerson, Miikkulainen 2018, arXiv:1711.00108; " + _LIANG_2018,
            status="implemented",
            config=SoftOrderingConfig,
            factory="evojax_mtl.search.soft_ordering:SoftOrdering",
            mesh_axes=("tasks",),
        ),
        Method(
            name="ctr",
            summary="coevolution of task routing: a routing of shared modules a task",
            paper=_LIANG_2018,
            status="implemented",
            config=CTRConfig,
            factory="evojax_mtl.search.ctr:CTR",
            mesh_axes=("tasks",),
        ),
        Method(
            name="emt-nas",
            summary="a cell architecture a task, evolved across all tasks",
            paper="Liao, Jin, Du 2023, CVPR",
            status="implemented",
            config=EMTNASConfig,
            factory="evojax_mtl.search.emt_nas:EMTNAS",
            mesh_axes=("population", "data"),
        ),
        _on_table(
            "ktnas",
            "architectures cross between tasks as transfer rank says; on tables",
            "Zhang, Liu 2024 (KTNAS)",
            KTNASConfig,
            "ktnas:KTNAS",
        ),
        _on_table(
            "mtnas",
            "regularised evolution that transfers by proxy when it pays; on tables",
            "Zhou, Wang, Feng, Liu, Wong, Tan 2023, TEVC",
            MTNASConfig,
            "mtnas:MTNAS",
        ),
        _on_table(
            "emt-nas-tabular",
            "EMT-NAS with look-ups in the place of training; on tables",
            "Liao, Jin, Du 2023, CVPR",
            EMTNASTableConfig,
            "emt_nas_tabular:EMTNASTable",
        ),
        _on_table(
            "local-search",
            "best-first local search that tries the others' best; on tables",
            "baseline",
            LocalSearchConfig,
            "local_search:LocalSearch",
        ),
        _on_table(
            "rea",
            "regularised evolution of each task on its own; on tables",
            "Real, Aggarwal, Huang, Le 2019, AAAI",
            REAConfig,
            "rea:REA",
        ),
        _on_table(
            "random-search",
            "architectures drawn at random, none twice; on tables",
            "baseline",
            RandomSearchConfig,
            "random_search:RandomSearch",
        ),
        _on_table(
            "gcn-predictor",
            "the best by a graph-convolutional accuracy predictor; on tables",
            "Wen, Liu, Chen, Li, Bender, Kindermans 2020, ECCV",
            GCNPredictorConfig,
            "gcn_predictor:GCNPredictorSearch",
        ),
        _on_table(
            "weaknas",
            "some of the best by ever better weak predictors; on tables",
            "Wu, Dai, Chen, Chen, Liu, Yu, Wang, Liu, Chen, Yuan 2021, NeurIPS",
            WeakNASConfig,
            "weaknas:WeakNAS",
        ),
        _on_table(
            "zero-cost",
            "architectures in the order of a zero-cost proxy; on tables",
            "Abdelfattah, Mehrotra, Dudziak, Lane 2021, ICLR",
            ZeroCostConfig,
            "zero_cost:ZeroCost",
        ),
    )
}


def find_method(name: str) -> Method:
    """The method of this name; ``UserError`` with the nearest one otherwise."""
    if name not in METHODS:
        raise UserError(f"method: {unknown(name, METHODS)}")
    return METHODS[name]
