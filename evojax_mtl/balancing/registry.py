"""The registry of balancing methods. Imports no JAX until a method is built.

``T`` is the number of tasks.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from evojax_mtl.errors import UserError, unknown

Kind = Literal["losses", "gramian", "gradients"]
"""What a method looks at: the losses, the inner products of the tasks' gradients, or
the gradients themselves."""


@dataclass(frozen=True)
class Traits:
    """What a method is, needs and costs.

    Attributes:
      name: as the command line spells it.
      summary: what it does, one line.
      paper: where it was published.
      kind: what it looks at.
      factory: ``'module:class'`` in this package; fields are keyword arguments.
      representation: whether gradients of a representation that the tasks share may
        stand for those of the weights: ``'refused'``, ``'allowed'`` or ``'required'``.
      grouping: whether ``'model'`` weighs all weights at once by default, or each
        ``'layer'`` by itself.
      positive: losses must be above 0.
      observes: wants the losses again after the update, one more forward pass.
      golden: packages whose values it reproduces.
    """

    name: str
    summary: str
    paper: str
    kind: Kind
    factory: str
    representation: Literal["refused", "allowed", "required"] = "refused"
    grouping: Literal["model", "layer"] = "model"
    positive: bool = False
    observes: bool = False
    golden: str = ""

    @property
    def cost(self) -> str:
        """Backward passes a step, and further forward passes."""
        if self.kind == "losses":
            passes = "1 backward pass"
        elif self.representation == "required":
            passes = "1 backward pass, T of them above the representation"
        elif self.representation == "allowed":
            passes = "T backward passes; 1 on a representation, T above it"
        else:
            passes = "T backward passes"
        return passes + (", 1 more forward pass" if self.observes else "")

    @property
    def status(self) -> str:
        """What has been checked."""
        if self.golden:
            return f"checked against {self.golden}"
        return "checked against its equations"

    def build(self, **fields: Any) -> Any:
        """The method (imports JAX)."""
        module, attribute = self.factory.split(":")
        package = importlib.import_module(f"evojax_mtl.balancing.{module}")
        return getattr(package, attribute)(**fields)


_METHODS = (
    Traits(
        name="equal",
        summary="the sum of the losses",
        paper="none: the plain baseline",
        kind="losses",
        factory="equal:EqualWeighting",
    ),
    Traits(
        name="uncertainty",
        summary="losses over learned variances",
        paper="Kendall, Gal, Cipolla 2018, arXiv:1705.07115",
        kind="losses",
        factory="uncertainty:UncertaintyWeighting",
        golden="torchjd",
    ),
    Traits(
        name="dwa",
        summary="weights by how slowly the losses fell in the last two epochs",
        paper="Liu, Johns, Davison 2019, arXiv:1803.10704",
        kind="losses",
        factory="dwa:DWA",
        positive=True,
        golden="torchjd",
    ),
    Traits(
        name="gls",
        summary="the geometric mean of the losses",
        paper="Chennupati et al. 2019, arXiv:1904.08492",
        kind="losses",
        factory="gls:GLS",
        positive=True,
        golden="torchjd",
    ),
    Traits(
        name="rlw",
        summary="random weights at every step",
        paper="Lin et al. 2022, arXiv:2111.10603",
        kind="losses",
        factory="rlw:RLW",
        golden="torchjd",
    ),
    Traits(
        name="imtl-l",
        summary="losses scaled to one size by learned factors",
        paper="Liu et al. 2021, ICLR (IMTL, loss balance)",
        kind="losses",
        factory="imtl_l:IMTLL",
        positive=True,
        golden="torchjd",
    ),
    Traits(
        name="stch",
        summary="a smooth maximum of the log losses over their nadir",
        paper="Lin et al. 2024, arXiv:2402.19078",
        kind="losses",
        factory="stch:STCH",
        positive=True,
        golden="torchjd",
    ),
    Traits(
        name="famo",
        summary="log losses, weighted so that they fall at one rate",
        paper="Liu et al. 2023, arXiv:2306.03792",
        kind="losses",
        factory="famo:FAMO",
        positive=True,
        observes=True,
        golden="torchjd",
    ),
    Traits(
        name="excess-mtl",
        summary="weights grow with the excess risk, estimated from gradients",
        paper="He et al. 2024, arXiv:2402.02009",
        kind="gradients",
        factory="excess_mtl:ExcessMTL",
        golden="torchjd",
    ),
    Traits(
        name="db-mtl",
        summary="smoothed gradients of the log losses, scaled to the largest",
        paper="Lin et al. 2023, arXiv:2308.12029",
        kind="gradients",
        factory="db_mtl:DBMTL",
        positive=True,
    ),
    Traits(
        name="gradnorm",
        summary="learned weights that bring gradient norms to the training rates",
        paper="Chen et al. 2018, arXiv:1711.02257",
        kind="gramian",
        factory="gradnorm:GradNorm",
        representation="allowed",
        positive=True,
        golden="LibMTL",
    ),
    Traits(
        name="mgda",
        summary="the least norm in the gradients' convex hull",
        paper="Sener, Koltun 2018, arXiv:1810.04650; Desideri 2012",
        kind="gramian",
        factory="mgda:MGDA",
        representation="allowed",
        golden="torchjd and LibMTL",
    ),
    Traits(
        name="pcgrad",
        summary="each gradient without its conflicts with the others",
        paper="Yu et al. 2020, arXiv:2001.06782",
        kind="gramian",
        factory="pcgrad:PCGrad",
        golden="torchjd and LibMTL",
    ),
    Traits(
        name="gradvac",
        summary="gradients turned towards the others' usual similarity",
        paper="Wang et al. 2021, arXiv:2010.05874",
        kind="gramian",
        factory="gradvac:GradVac",
        golden="torchjd and LibMTL",
    ),
    Traits(
        name="cagrad",
        summary="the worst task's best descent near the mean gradient",
        paper="Liu et al. 2021, arXiv:2110.14048",
        kind="gramian",
        factory="cagrad:CAGrad",
        golden="torchjd and LibMTL",
    ),
    Traits(
        name="graddrop",
        summary="at each value the gradients of one sign, drawn by purity",
        paper="Chen et al. 2020, arXiv:2010.06808",
        kind="gradients",
        factory="graddrop:GradDrop",
        representation="required",
        golden="torchjd",
    ),
    Traits(
        name="imtl-g",
        summary="equal projections on all gradients",
        paper="Liu et al. 2021, ICLR (IMTL, gradient balance)",
        kind="gramian",
        factory="imtl_g:IMTLG",
        representation="allowed",
        golden="torchjd and LibMTL",
    ),
    Traits(
        name="nash-mtl",
        summary="the Nash bargaining solution, its norm at most 1",
        paper="Navon et al. 2022, arXiv:2202.01017",
        kind="gramian",
        factory="nash_mtl:NashMTL",
        golden="torchjd",
    ),
    Traits(
        name="aligned-mtl",
        summary="gradients whose principal components have one size",
        paper="Senushkin et al. 2023, arXiv:2305.19000",
        kind="gramian",
        factory="aligned_mtl:AlignedMTL",
        representation="allowed",
        golden="torchjd",
    ),
    Traits(
        name="moco",
        summary="smoothed gradients, weights towards their least norm",
        paper="Fernando et al. 2023, arXiv:2210.12624",
        kind="gradients",
        factory="moco:MoCo",
    ),
    Traits(
        name="fairgrad",
        summary="alpha-fair shares of the loss decrease",
        paper="Ban, Ji 2024, arXiv:2402.15638",
        kind="gramian",
        factory="fairgrad:FairGrad",
        golden="torchjd",
    ),
    Traits(
        name="upgrad",
        summary="each gradient projected on the cone of no conflict, then the mean",
        paper="Quinton, Rey 2024, arXiv:2406.16232",
        kind="gramian",
        factory="upgrad:UPGrad",
        golden="torchjd",
    ),
    Traits(
        name="dualproj",
        summary="the mean gradient projected on the cone of no conflict",
        paper="Lopez-Paz, Ranzato 2017, arXiv:1706.08840",
        kind="gramian",
        factory="dualproj:DualProj",
        golden="torchjd",
    ),
    Traits(
        name="config",
        summary="equal cosines with all gradients, length by their projections",
        paper="Liu, Chu, Thuerey 2025, arXiv:2408.11104",
        kind="gramian",
        factory="conflict_free:ConFIG",
        golden="torchjd",
    ),
    Traits(
        name="rotograd",
        summary="a learned rotation of the features a task, gradients of one size",
        paper="Javaloy, Valera 2022, arXiv:2103.02631",
        kind="gradients",
        factory="rotograd:RotoGrad",
        representation="required",
    ),
    Traits(
        name="conal",
        summary="the mean gradient, nothing in layers where tasks conflict",
        paper="Yue, Zhang, Liang 2023, AAAI (CoNAL)",
        kind="gramian",
        factory="conal:ConflictZeroing",
        grouping="layer",
    ),
)

BALANCING: dict[str, Traits] = {method.name: method for method in _METHODS}


def find_balancing(name: str) -> Traits:
    """The method of this name; ``UserError`` with the nearest one otherwise."""
    if name not in BALANCING:
        raise UserError(f"balancing: {unknown(name, BALANCING)}")
    return BALANCING[name]
