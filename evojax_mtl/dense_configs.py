"""Static choices of the methods on scenes, and their presets. Imports no JAX."""

from dataclasses import dataclass
from typing import Any, Literal

from evojax_mtl.balancing.registry import find_balancing
from evojax_mtl.configs import SearchConfig, option
from evojax_mtl.errors import UserError


@dataclass(frozen=True)
class DenseConfig(SearchConfig):
    """What methods on scenes share; single-task learning has no more.

    Raises:
      UserError: if a field is out of its bounds.
    """

    image_size: int | None = option(None, low=8)
    """Height that scenes are rendered at, where the source can; None keeps the
    source's (pixels)."""

    max_tasks: int | None = option(None, low=1)
    """Use the source's first tasks only; None uses all (tasks)."""

    generations: int = option(250, low=1, extends=True)
    """Length of the training (generations, the paper's epochs)."""

    backbone: Literal["small", "resnet50", "segnet"] = option("resnet50")
    """The shared network (a name)."""

    width: int = option(16, low=1)
    """Of the small backbone's stem; others have widths of their own (channels)."""

    depth: int = option(2, low=1)
    """Of each stage of the small backbone but the stem (convolutions)."""

    pretrained: str | None = option(None)
    """File with weights of the backbone to start from: torchvision's state_dict, or the
    same arrays as .npz; None: random ones (path)."""

    batches: int | None = option(None, low=1)
    """Training in a generation; None: one epoch, what is left over after whole
    mini-batches is left out (mini-batches)."""

    batch: int = option(4, low=1)
    """Training batch (scenes)."""

    evaluation_batch: int = option(8, low=1)
    """Validation and test batch; no result depends on it (scenes)."""

    learning_rate: float = option(1e-4, low=0.0, traced=True)
    """Of Adam (per training step)."""

    halve_every: int = option(40_000, low=1, traced=True)
    """The learning rate halves each time after so many steps (training steps)."""


@dataclass(frozen=True)
class HPSConfig(DenseConfig):
    """Hard parameter sharing: one encoder, a decoder a task.

    Raises:
      UserError: if a field is out of its bounds, or there is no such balancing.
    """

    balancing: str = option("equal")
    """How tasks are balanced (a name; see evojax-mtl list balancing)."""

    normalizer: Literal["none", "l2", "loss", "loss+"] = option("none")
    """What mgda divides each task's gradient by before it weighs them (a name)."""

    def __post_init__(self) -> None:
        """Checks the bounds and the balancing."""
        super().__post_init__()
        try:
            find_balancing(self.balancing)
        except UserError as error:
            raise UserError(f"--{error}") from None
        if self.backbone == "segnet" and _through(self.balancing):
            raise UserError(
                f"--balancing: found {self.balancing} with --backbone segnet, whose "
                "decoders read more than one map; must be a method on losses or "
                "gradients of weights"
            )
        if self.normalizer != "none" and self.balancing != "mgda":
            raise UserError(
                f"--normalizer: found {self.normalizer} with --balancing "
                f"{self.balancing}, must be with --balancing mgda"
            )


@dataclass(frozen=True)
class MAMOConfig(HPSConfig):
    """MAMO: kernels grow where the tasks' gradients conflict.

    Raises:
      UserError: if a field is out of its bounds, or fields do not fit each other.
    """

    balancing: str = option("mgda")
    """How tasks are balanced after the pre-training; equal: MAMO without
    multi-objective optimisation (a name; see evojax-mtl list balancing)."""

    kernels: Literal["mediative", "exclusive"] = option("mediative")
    """mediative: for pairs of tasks; exclusive: a task's own copies as CoNAL's, MAMO
    without its kernels (a name)."""

    fusion: Literal["sum", "concat"] = option("sum")
    """How maps of the backbone and of kernels are joined (a name)."""

    pretraining: int = option(10, low=1)
    """Training by the plain sum of the losses; the first detection ends it
    (generations)."""

    detections: int = option(5, low=0)
    """Times that conflicts are looked for, Z (detections)."""

    interval: int = option(10, low=1)
    """From one detection to the next (generations)."""

    threshold: Literal["average", "layer", "top"] = option("average")
    """Conflicts that make a kernel: average: at least their mean where there are any,
    over all layers, Eq. 13; layer: over each layer; top: the most (a name)."""

    top: int = option(3, low=1)
    """Kernels with the most conflicts that a detection makes with --threshold top
    (kernels)."""

    def __post_init__(self) -> None:
        """Checks the bounds and what goes together."""
        super().__post_init__()
        if self.kernels == "exclusive" and self.fusion != "sum":
            raise UserError(
                f"--fusion: found {self.fusion} with --kernels exclusive, which fuse "
                "nothing; must be sum"
            )
        _check_weights(self.balancing)


@dataclass(frozen=True)
class RetrainedConfig(HPSConfig):
    """What searches share that train the network they found anew.

    Raises:
      UserError: if a field is out of its bounds, or fields do not fit each other.
    """

    searching: int = option(10, low=1)
    """Length of the search; what is left of the generations trains the network that was
    found, from new weights (generations)."""

    def __post_init__(self) -> None:
        """Checks the bounds and what goes together."""
        super().__post_init__()
        if self.searching >= self.generations:
            raise UserError(
                f"--searching: found {self.searching}, must be below --generations, "
                f"{self.generations}, the rest of which train what was found"
            )
        _check_weights(self.balancing)


@dataclass(frozen=True)
class CoNALConfig(RetrainedConfig):
    """CoNAL: tasks branch off a shared backbone where they conflict."""

    balancing: str = option("conal")
    """How the tasks' gradients of the shared stages make one update during the search;
    equal: as the authors' code does (a name; see evojax-mtl list balancing)."""

    architecture_rate: float = option(5e-5, low=0.0, traced=True)
    """Of Adam, for the logits of the branching points (per training step)."""


@dataclass(frozen=True)
class ReconConfig(RetrainedConfig):
    """Recon: layers in which tasks conflict the most are made each task's own."""

    searching: int = option(50, low=1)
    """Length of the search, which counts conflicts; what is left of the generations
    trains the network that was found, from new weights (generations)."""

    layers: int = option(15, low=1)
    """Layers of the backbone that become each task's own, K (layers)."""

    severity: float = option(-0.02, low=-1.0, high=0.0)
    """Two tasks conflict at a layer where the cosine of their gradients is below this
    (cosine)."""


@dataclass(frozen=True)
class MTLNASConfig(DenseConfig):
    """MTL-NAS: edges between the tasks' own backbones, learned by gradients."""

    architecture_rate: float = option(1e-3, low=0.0, traced=True)
    """Of Adam, for the logits of the edges (per training step)."""

    entropy_weight: float = option(10.0, low=0.0, traced=True)
    """Of the mean entropy of the edges' gates, beside the sum of the losses (per
    nat)."""


def _check_weights(balancing: str) -> None:
    """Raises ``UserError`` for a method on a representation."""
    if _through(balancing):
        raise UserError(
            f"--balancing: found {balancing}, which works on a shared "
            "representation; must be a method on losses or gradients of weights"
        )


def _through(balancing: str) -> bool:
    """Whether a method works on a shared representation."""
    return find_balancing(balancing).representation == "required"


_SMALL: dict[str, Any] = {
    "backbone": "small",
    "batch": 8,
    "evaluation_batch": 20,
    "learning_rate": 1e-3,
}
_DENSE: dict[str, dict[str, Any]] = {
    "tiny": _SMALL
    | {
        "width": 4,
        "depth": 1,
        "batch": 6,
        "batches": 20,
        "evaluation_batch": 8,
        "halve_every": 40,
        "image_size": 12,
        "generations": 3,
    },
    "smoke": _SMALL
    | {"image_size": 48, "width": 8, "depth": 1, "batches": 10, "generations": 5},
    "laptop": _SMALL | {"image_size": 48, "generations": 20, "halve_every": 1000},
    "study": _SMALL | {"generations": 80, "halve_every": 2500},
    "paper": {},
}
_MAMO: dict[str, dict[str, Any]] = {
    "tiny": {"pretraining": 1, "detections": 2, "interval": 1},
    "smoke": {"pretraining": 1, "detections": 3, "interval": 1},
    "laptop": {"pretraining": 2, "interval": 2},
    "study": {"pretraining": 4, "interval": 4},
    "paper": {},
}
_CONAL: dict[str, dict[str, Any]] = {
    "tiny": {"generations": 6, "searching": 2, "architecture_rate": 0.03},
    "smoke": {"searching": 2, "architecture_rate": 3e-3},
    "laptop": {"searching": 4, "architecture_rate": 1e-3},
    "study": {"searching": 10, "architecture_rate": 1e-3},
    "paper": {},
}
_RECON: dict[str, dict[str, Any]] = {
    "tiny": {"generations": 6, "searching": 2, "layers": 4, "severity": 0.0},
    "smoke": {"searching": 2, "layers": 3},
    "laptop": {"searching": 4, "layers": 8},
    "study": {"searching": 10, "layers": 8},
    "paper": {},
}
_MTL_NAS: dict[str, dict[str, Any]] = {
    "tiny": {"architecture_rate": 0.03},
    "smoke": {"architecture_rate": 0.01},
    "laptop": {},
    "study": {},
    "paper": {},
}
# ``paper`` keeps the defaults, which are the paper's.
DenseConfig.presets = _DENSE
CoNALConfig.presets = {scale: _DENSE[scale] | own for scale, own in _CONAL.items()}
ReconConfig.presets = {scale: _DENSE[scale] | own for scale, own in _RECON.items()}
MTLNASConfig.presets = {s: _DENSE[s] | own for s, own in _MTL_NAS.items()}
MAMOConfig.presets = {scale: _DENSE[scale] | own for scale, own in _MAMO.items()}
