"""The registry of search methods. Imports no JAX until a method is built."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from evojax_mtl.cell_configs import EMTNASConfig, KTNASCellConfig, MTNASCellConfig
from evojax_mtl.codeepneat_configs import CMConfig, CMSRConfig, CMTRConfig
from evojax_mtl.configs import (
    SCALES,
    CTRConfig,
    SearchConfig,
    SingleTaskConfig,
    SoftOrderingConfig,
    preset,
)
from evojax_mtl.dense_configs import (
    CoNALConfig,
    DenseConfig,
    HPSConfig,
    MAMOConfig,
    MTLNASConfig,
    ReconConfig,
)
from evojax_mtl.errors import UserError, unknown
from evojax_mtl.leaf_configs import (
    LEAFConfig,
    LEAFHyperparameterConfig,
    LEAFImageConfig,
)
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
        ``Dataset``, on scenes a ``DenseDataset``, on texts a ``TextDataset``, on tables
        a ``TableData``, or ``factory(config, data, mesh)`` to spread over the axes of
        ``mesh_axes``; it returns a ``Search``.
      data: what its tasks are.
      tasks: what it runs on unless told.
      mesh_axes: axes of devices that one search can spread over. The searches of a
        sweep spread over ``population`` whatever the method.
      search: value of ``--search`` that picks it, where several methods of its name are
        on its kind of data.
      other: another method of this name, on another kind of data or picked by another
        ``search``.
    """

    name: str
    summary: str
    paper: str
    status: str
    config: type[SearchConfig]
    factory: str
    mesh_axes: tuple[str, ...] = ()
    data: Literal["images", "scenes", "texts", "table"] = "images"
    tasks: str = "glyphs"
    search: str | None = None
    other: "Method | None" = None

    @property
    def forms(self) -> "tuple[Method, ...]":
        """It, and the other methods of its name."""
        return (self,) if self.other is None else (self, *self.other.forms)

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
_LIANG_2019 = "Liang, Meyerson, Hodjat, Fink, Mutch, Miikkulainen 2019, GECCO (LEAF)"
_LIAO_2023 = "Liao, Jin, Du 2023, CVPR"
_ZHANG_2024 = "Zhang, Liu 2024 (KTNAS)"
_ZHOU_2023 = "Zhou, Wang, Feng, Liu, Wong, Tan 2023, TEVC"


def _maker(**shared: Any) -> Callable[..., Method]:
    """Makes methods that have these attributes in common."""

    def make(
        name: str,
        summary: str,
        paper: str,
        config: type[SearchConfig],
        factory: str,
        other: Method | None = None,
        search: str | None = None,
    ) -> Method:
        return Method(
            name=name,
            summary=summary,
            paper=paper,
            status="implemented",
            config=config,
            factory=f"evojax_mtl.search.{factory}",
            other=other,
            search=search,
            **shared,
        )

    return make


_routed = _maker(mesh_axes=("tasks",))
_assembled = _maker(mesh_axes=("population",))
_of_cells = _maker(mesh_axes=("population", "data"))
_on_scenes = _maker(data="scenes", tasks="rooms")
_on_texts = _maker(data="texts", tasks="remarks")
_assembled_texts = _maker(data="texts", tasks="remarks", mesh_axes=("population",))
_on_table = _maker(data="table", tasks="nasbench-toy")


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        _routed(
            "single-task",
            "one chain of modules a task, nothing shared",
            _LIANG_2018,
            SingleTaskConfig,
            "single_task:SingleTask",
        ),
        _routed(
            "soft-ordering",
            "shared modules, softly ordered at every depth by each task",
            "Meyerson, Miikkulainen 2018, arXiv:1711.00108; " + _LIANG_2018,
            SoftOrderingConfig,
            "soft_ordering:SoftOrdering",
        ),
        _routed(
            "ctr",
            "coevolution of task routing: a routing of shared modules a task",
            _LIANG_2018,
            CTRConfig,
            "ctr:CTR",
        ),
        _assembled(
            "cm",
            "coevolution of modules, softly ordered by each task",
            _LIANG_2018,
            CMConfig,
            "cm:CM",
        ),
        _assembled(
            "cmsr",
            "coevolution of modules and of one routing that all tasks share",
            _LIANG_2018,
            CMSRConfig,
            "cmsr:CMSR",
        ),
        _assembled(
            "cmtr",
            "coevolution of modules and of a routing of them for each task",
            _LIANG_2018,
            CMTRConfig,
            "cmtr:CMTR",
        ),
        _of_cells(
            "emt-nas",
            "a cell architecture a task, evolved across all tasks",
            _LIAO_2023,
            EMTNASConfig,
            "emt_nas:EMTNAS",
            _on_table(
                "emt-nas",
                "EMT-NAS with look-ups in the place of training; on tables",
                _LIAO_2023,
                EMTNASTableConfig,
                "emt_nas_tabular:EMTNASTable",
            ),
        ),
        _on_scenes(
            "mamo",
            "kernels grow where the gradients of tasks conflict; on scenes",
            "Tan, Hu, Zhang 2024, ECAI (MAMO)",
            MAMOConfig,
            "mamo:MAMO",
        ),
        _on_scenes(
            "conal",
            "tasks branch off a shared backbone where they conflict; on scenes",
            "Yue, Zhang, Liang 2023, AAAI (CoNAL)",
            CoNALConfig,
            "conal:CoNAL",
        ),
        _on_scenes(
            "recon",
            "layers with the most conflicts become each task's own; on scenes",
            "Shi, Li, Zhang, Chen, Wu 2023, ICLR (Recon)",
            ReconConfig,
            "recon:Recon",
        ),
        _on_scenes(
            "mtl-nas",
            "edges between the tasks' own networks, by gradients; on scenes",
            "Gao, Bai, Jie, Ma, Jia, Liu 2020, CVPR (MTL-NAS)",
            MTLNASConfig,
            "mtl_nas:MTLNAS",
        ),
        _on_scenes(
            "hps",
            "hard parameter sharing, balanced by any method; on scenes",
            "Caruana 1997, Machine Learning 28",
            HPSConfig,
            "hps:HPS",
        ),
        _on_scenes(
            "stl",
            "single-task learning, a network a task; on scenes",
            "baseline",
            DenseConfig,
            "stl:STL",
        ),
        _assembled_texts(
            "leaf",
            "architectures and hyperparameters evolve, for size too; on texts",
            _LIANG_2019,
            LEAFConfig,
            "leaf_texts:LEAFTexts",
            _on_texts(
                "leaf",
                "a fixed network's hyperparameters: --search hyperparameters; on texts",
                _LIANG_2019,
                LEAFHyperparameterConfig,
                "leaf_hyperparameters:LEAFHyperparameters",
                _assembled(
                    "leaf",
                    "architectures evolve, for size too; on images",
                    _LIANG_2019,
                    LEAFImageConfig,
                    "leaf_images:LEAFImages",
                ),
                search="hyperparameters",
            ),
            search="architecture",
        ),
        _on_table(
            "ktnas",
            "architectures cross between tasks as transfer rank says; on tables",
            _ZHANG_2024,
            KTNASConfig,
            "ktnas:KTNAS",
            _of_cells(
                "ktnas",
                "cells cross between tasks as transfer rank says; on images",
                _ZHANG_2024,
                KTNASCellConfig,
                "ktnas_cells:KTNASCells",
            ),
        ),
        _on_table(
            "mtnas",
            "regularised evolution that transfers by proxy when it pays; on tables",
            _ZHOU_2023,
            MTNASConfig,
            "mtnas:MTNAS",
            _of_cells(
                "mtnas",
                "cells evolve by themselves or move by synflow as it pays; on images",
                _ZHOU_2023,
                MTNASCellConfig,
                "mtnas_cells:MTNASCells",
            ),
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


def method_on(name: str, tasks: str, search: str | None = None) -> Method:
    """The method of this name on these tasks: their kind picks where there are several.

    Args:
      name: of the method.
      tasks: sources, joined by comma.
      search: value of ``--search``, which picks among those that are left.

    Raises:
      UserError: there is no such method, the tasks are no specification, or of a kind
        that none of several methods of this name searches.
    """
    method = find_method(name)
    if method.other is None:
        return method
    from evojax_mtl.tasks.sources import check_kind

    kind = check_kind(tasks, *(form.data for form in method.forms))
    forms = [form for form in method.forms if form.data == kind]
    return next((form for form in forms if form.search == search), forms[0])
