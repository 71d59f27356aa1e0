"""What a retraining is asked to do, as it stands in its ``config.json``. No JAX."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from evojax_mtl.configs import SCALES, check_bounds, option
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.retrain_config import RetrainConfig
from evojax_mtl.methods import unknown

FORMAT = 1
COMMAND = "retrain"


@dataclass(frozen=True)
class SearchNetworkConfig:
    """The network that EMT-NAS searches."""

    channels: int = option(48, low=1)
    """Width of the first stage (channels)."""

    stack: int = option(2, low=1)
    """Normal cells a stage (cells)."""

    dropout: float = option(0.1, low=0.0, below=1.0)
    """Rate of dropout before the last layer (probability)."""

    shared: bool = True
    """Whether equal edges of a block share one module (flag)."""

    stem: Literal["cifar", "imagenet"] = "cifar"
    """Layers before the cells: cifar, a 3x3 convolution, or imagenet, three that halve
    the map each, as DARTS has them; takes images of 25 pixels or more (a name)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        check_bounds(self)


@dataclass(frozen=True)
class DartsNetworkConfig:
    """The network that KTNAS retrains."""

    channels: int = option(48, low=1)
    """Width of the first cells (channels)."""

    stack: int = option(3, low=1)
    """Normal cells a stage (cells)."""

    auxiliary: bool = True
    """Whether there is an auxiliary head; takes images of 29 to 40 pixels (flag)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        check_bounds(self)


@dataclass(frozen=True)
class DataConfig:
    """The images, and what is done to those of training."""

    image_size: int | None = option(None, low=1)
    """Side that images are resized to; None keeps the source's (pixels)."""

    max_tasks: int | None = option(None, low=1)
    """Use the source's first tasks only; None uses all (tasks)."""

    max_classes: int | None = option(None, low=2)
    """Use each task's first classes only; None uses all (classes)."""

    train_on: Literal["train+validation", "train"] = "train+validation"
    """Splits that give the training examples (names)."""

    crop: int = option(4, low=0)
    """Zeros around an image before it is cropped at random (pixels)."""

    flip: bool = True
    """Whether half of the images are mirrored (flag)."""

    cutout: int = option(16, low=0)
    """Side of the square that is cut out of an image; 0 cuts nothing (pixels)."""

    resized_crop: int = option(0, low=0)
    """Side to which a random rectangle of 8 % or more of an image is resized; a test
    sees the centre of that side; 0: whole images (pixels)."""

    jitter: float = option(0.0, low=0.0, high=1.0)
    """Largest change of brightness, contrast and saturation of a colour image, of each
    at random (fraction)."""

    hue: float = option(0.0, low=0.0, high=0.5)
    """Largest turn of a colour image's hues, at random (colour circles)."""

    resident: int | None = option(None, low=1)
    """Training examples on the device, others in each part of an epoch, and as many of
    the test; None keeps all there (examples)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        check_bounds(self)


NETWORKS: dict[str, type[SearchNetworkConfig] | type[DartsNetworkConfig]] = {
    "emt-nas": SearchNetworkConfig,
    "darts": DartsNetworkConfig,
}

_PLAIN = {"crop": 0, "flip": False, "cutout": 0}
_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": _PLAIN
    | {
        "channels": 2,
        "stack": 1,
        "auxiliary": False,
        "epochs": 3,
        "batch": 32,
        "max_classes": 3,
        "optimize": False,
    },
    "smoke": _PLAIN
    | {
        "channels": 8,
        "stack": 1,
        "dropout": 0.0,
        "auxiliary": False,
        "epochs": 5,
        "batch": 32,
        "learning_rate": 0.05,
        "drop_path": 0.0,
        "max_classes": 10,
        "optimize": False,
    },
    "laptop": _PLAIN
    | {
        "channels": 16,
        "stack": 1,
        "auxiliary": False,
        "epochs": 20,
        "learning_rate": 0.05,
        "drop_path": 0.1,
        "crop": 2,
    },
    "study": _PLAIN
    | {
        "channels": 24,
        "stack": 1,
        "auxiliary": False,
        "epochs": 60,
        "drop_path": 0.2,
        "crop": 2,
    },
    "paper": {},
}
"""What the scales change; ``paper`` keeps the defaults, which are the authors'.

Mirrored images and cutouts are for photographs: characters lose their class by them."""


_IMAGENET_SIZES = {"epochs": 250, "batch": 128, "learning_rate": 0.1}
_IMAGENET: dict[str, Any] = {
    "stem": "imagenet",
    "shared": False,
    "decay": 0.97,
    "weight_decay": 3e-5,
    "label_smoothing": 0.1,
    "drop_path": 0.0,
    "crop": 0,
    "flip": True,
    "cutout": 0,
    "jitter": 0.4,
    "hue": 0.2,
    "resident": 20_000,
}
"""DARTS' training on ImageNet. Differs from it: the network is EMT-NAS's, with dropout
and without an auxiliary head; rectangles are cut out of the middle 256 x 256 pixels of
a picture whose shorter side is 256, not out of the picture; mean and deviation are the
examples' own. The paper's own recipe is in a supplement that was not found."""

_IMAGENET_SIDES = {
    "tiny": (36, 32),
    "smoke": (72, 64),
    "laptop": (112, 96),
    "study": (144, 128),
    "paper": (256, 224),
}
"""Sides of images and of what the network sees of them (pixels)."""

RECIPES = {
    "cifar": "KTNAS' on CIFAR",
    "imagenet": "DARTS' on ImageNet (Liu et al. 2019), for Table 4 of Liao 2023",
}
"""What the fields of a scale start from, and whose it is."""


@dataclass(frozen=True)
class Job:
    """One network to train.

    Attributes:
      task: name of the task it is trained on.
      genotype: where its cells are from, in words.
      code: the genotype's forty integers.
    """

    task: str
    genotype: str
    code: tuple[int, ...]


@dataclass(frozen=True)
class RetrainSettings:
    """A retraining: a network for each of some tasks.

    Attributes:
      genotype: run, file or name that the genotypes come from.
      tasks: sources of tasks, joined by comma.
      network: which plain network, of ``NETWORKS``.
      scale: preset that the configs started from.
      recipe: of ``RECIPES``, that preset's.
      seed: of all that is random.
      data_dir: folder of the data sets, absolute; None for the default.
      architecture: sizes of the network.
      training: how it is trained.
      data: its images.
      jobs: what is trained, in this order; empty until the tasks are known.
    """

    genotype: str
    tasks: str
    network: str
    scale: str
    recipe: str
    seed: int
    data_dir: str | None
    architecture: SearchNetworkConfig | DartsNetworkConfig
    training: RetrainConfig
    data: DataConfig
    jobs: tuple[Job, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-able; ``from_json`` reads it back."""
        head: dict[str, Any] = {"format": FORMAT, "command": COMMAND, "method": COMMAND}
        values, fields = dataclasses.asdict(self), {}
        for part in ("architecture", "training", "data"):
            fields |= values.pop(part)
        return head | values | {"config": fields}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "RetrainSettings":
        """The settings in a ``config.json``.

        Raises:
          UserError: if it is of another command or version, or damaged.
        """
        if not is_retraining(stored):
            raise UserError("config.json: found no retraining, must be one")
        if stored.get("format") != FORMAT:
            raise UserError(
                f"config.json: found format {stored.get('format')}, must be {FORMAT}"
            )
        try:
            parts = split_fields(stored["network"], stored["config"])
            jobs = tuple(
                Job(job["task"], job["genotype"], tuple(job["code"]))
                for job in stored["jobs"]
            )
            names = ("genotype", "tasks", "network", "scale", "recipe", "seed")
            head = {name: stored[name] for name in (*names, "data_dir")}
        except (KeyError, TypeError) as error:
            raise UserError(f"config.json: cannot be read: {error}") from None
        return cls(**head, **parts, jobs=jobs)


def is_retraining(stored: dict[str, Any]) -> bool:
    """Whether a ``config.json`` is that of a retraining."""
    return stored.get("command") == COMMAND


def parts_of(network: str) -> dict[str, type]:
    """The config classes of a network, by attribute; ``UserError`` if it is unknown."""
    if network not in NETWORKS:
        raise UserError(f"--network: {unknown(network, NETWORKS)}")
    return {
        "architecture": NETWORKS[network],
        "training": RetrainConfig,
        "data": DataConfig,
    }


def split_fields(network: str, values: dict[str, Any]) -> dict[str, Any]:
    """The configs of a network from the values of all their fields, some left out."""
    configs = {}
    for part, kind in parts_of(network).items():
        names = {field.name for field in dataclasses.fields(kind)}
        configs[part] = kind(**{k: v for k, v in values.items() if k in names})
    return configs


def preset(
    network: str, scale: str, images: dict[str, Any], recipe: str = "cifar"
) -> dict[str, Any]:
    """The configs at a scale; ``images`` are what the run says about its own images.

    Raises:
      UserError: for an unknown network, scale or recipe, or a recipe that is none of
        the network's.
    """
    if scale not in SCALES:
        raise UserError(f"--scale: {unknown(scale, SCALES)}")
    if recipe not in RECIPES:
        raise UserError(f"--recipe: {unknown(recipe, RECIPES)}")
    fields = _PRESETS[scale]
    if recipe == "imagenet":
        if network != "emt-nas":
            raise UserError(
                f"--recipe: found imagenet with --network {network}, must be with "
                "--network emt-nas"
            )
        side, seen = _IMAGENET_SIDES[scale]
        sides = {"image_size": side, "resized_crop": seen}
        fields = _IMAGENET_SIZES | fields | _IMAGENET | sides
    return split_fields(network, fields | images)
