"""What the final training of a found network is asked to do. Imports no JAX.

Defaults are the papers' for the method that found the network: Liang 2018, 4.2, of
``cm``, ``cmsr`` and ``cmtr``; Liang 2019, 4.2, of ``leaf`` on images. On texts that
paper found no final training necessary.

Where the papers leave room: how often a network is measured, by how much Liang 2019
widens it and for how long it trains are not told.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from evojax_mtl.codeepneat_configs import (
    AssembledConfig,
    CMTRConfig,
    OneRoutingConfig,
)
from evojax_mtl.configs import SCALES, SearchConfig, flag, option
from evojax_mtl.errors import UserError, unknown
from evojax_mtl.leaf_configs import LEAFConfig, LEAFImageConfig

EPOCHS, PATIENCE, LOWERINGS = 10, 5, 2
"""Of the schedules, unless told otherwise."""


@dataclass(frozen=True)
class FinalConfig(SearchConfig):
    """How a found network is trained from scratch, on all data.

    Raises:
      UserError: if a field is out of its bounds, or fields do not fit each other.
    """

    generations: int = option(30, low=1)
    """Length of the training: after each generation the network is measured on the
    validation split, and its best snapshot is kept; of cmtr a generation is a
    meta-iteration of CTR (generations)."""

    iterations: int | None = option(1000, low=1)
    """Training between two measurements; None: an epoch (training iterations)."""

    batch: int = option(1, low=1)
    """Batch, in training and evaluation; that of the search (examples a task and
    iteration)."""

    learning_rate: float = option(1e-3, low=0.0)
    """Learning rate that the network's own is a factor of; that of the search (per
    training iteration)."""

    schedule: Literal["fixed", "decay", "plateau"] = option("fixed")
    """How the learning rate changes: fixed; decay, to a tenth after so many epochs, and
    again; plateau, to a tenth where validation makes no progress, sometimes reset (a
    name)."""

    decay_epochs: int | None = option(None, low=1)
    """With decay, epochs until the rate falls, and until it falls again; None: those of
    the search, or 10 where it has none (epochs)."""

    patience: int | None = option(None, low=1)
    """With plateau, measurements without progress until the rate changes; None: 5
    (generations)."""

    lowerings: int | None = option(None, low=1)
    """With plateau, falls before the next plateau resets the rate to its original
    value; None: 2 (falls)."""

    widen: float = option(1.0, low=1.0, high=64.0)
    """Filters, or units, of every layer of the network are so many times those that
    were found (factor)."""

    max_tasks: int | None = option(None, low=1)
    """Use the source's first tasks only; None uses all (tasks)."""

    def __post_init__(self) -> None:
        """Checks the bounds, and that schedules have what is theirs alone."""
        super().__post_init__()
        owners = {"decay_epochs": "decay", "patience": "plateau"}
        owners |= {"lowerings": "plateau"}
        for name, owner in owners.items():
            value = getattr(self, name)
            if value is not None and self.schedule != owner:
                raise UserError(
                    f"{flag(name)}: found {value} with --schedule {self.schedule}, "
                    f"which has none; must be left out, or with --schedule {owner}"
                )


@dataclass(frozen=True)
class FinalTextConfig(FinalConfig):
    """How a found network is trained from scratch on texts."""

    text_length: int | None = option(None, low=1)
    """Words that are kept of a text; None keeps as many as the source does (words)."""


@dataclass(frozen=True)
class FinalImageConfig(FinalConfig):
    """How a found network is trained from scratch on images.

    Raises:
      UserError: if a field is out of its bounds, or fields do not fit each other.
    """

    flip: bool = False
    """Whether half of the training images are mirrored (flag)."""

    rotation: float = option(0.0, low=0.0, high=180.0)
    """Largest angle that training images are turned by at random (degrees)."""

    translation: float = option(0.0, low=0.0, high=1.0)
    """Largest shift of training images along each side, at random (parts of the
    side)."""

    test_copies: int = option(1, low=1)
    """Augmented copies of each test image, whose probabilities are averaged; 1: the
    image itself (copies)."""

    image_size: int | None = option(None, low=4)
    """Side that images are resized to; None keeps the source's (pixels)."""

    max_classes: int | None = option(None, low=2)
    """Use each task's first classes only; None uses all (classes)."""

    resident: int | None = option(None, low=1)
    """Training examples of each task on the device, others each generation; None
    keeps all there (examples)."""

    def __post_init__(self) -> None:
        """Checks the bounds, and that copies differ."""
        super().__post_init__()
        if self.test_copies > 1 and not (
            self.flip or self.rotation or self.translation
        ):
            raise UserError(
                f"--test-copies: found {self.test_copies} without augmentation, by "
                "which copies would differ; must be 1, or --augment on"
            )


AUGMENTS: dict[str, dict[str, Any]] = {
    "on": {"flip": True, "rotation": 10.0, "translation": 0.1},
    "off": {"flip": False, "rotation": 0.0, "translation": 0.0, "test_copies": 1},
}
"""What ``--augment`` makes the defaults of the fields that augment; Liang 2019 tells
what is done and not by how much."""

_ONE_ROUTING: dict[str, dict[str, Any]] = {
    "tiny": {"generations": 3, "iterations": 20},
    "smoke": {"generations": 6, "iterations": 150},
    "laptop": {"generations": 20, "iterations": 300},
    "study": {"generations": 30, "iterations": 500},
    "paper": {},
}
_ROUTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"generations": 3, "iterations": 10},
    "smoke": {"generations": 12, "iterations": 30},
    "laptop": {"generations": 60, "iterations": 40},
    "study": {"generations": 120, "iterations": 60},
    "paper": {"generations": 120, "iterations": 250},
}
_SMALL: dict[str, Any] = {"widen": 2.0, "schedule": "plateau", "test_copies": 20}
# characters lose their class where they are mirrored
_AUGMENTED = _SMALL | AUGMENTS["on"] | {"flip": False}
_IMAGES: dict[str, dict[str, Any]] = {
    "tiny": _AUGMENTED | {"generations": 3, "iterations": 20, "test_copies": 2},
    "smoke": _AUGMENTED | {"generations": 6, "iterations": 60, "test_copies": 5},
    "laptop": _AUGMENTED | {"generations": 20, "iterations": 130},
    "study": _AUGMENTED | {"generations": 30, "iterations": 300},
    "paper": _SMALL | AUGMENTS["on"] | {"generations": 100, "iterations": None},
}
_TEXTS: dict[str, dict[str, Any]] = {
    "tiny": {"generations": 3, "iterations": 20},
    "smoke": {"generations": 4, "iterations": 60},
    "laptop": {"generations": 8, "iterations": 150},
    "study": {"generations": 10, "iterations": 300},
    "paper": {"generations": 10, "iterations": None},
}


def _presets(searched: AssembledConfig) -> dict[str, dict[str, Any]]:
    """What each scale changes of the defaults after such a search."""
    if isinstance(searched, LEAFConfig):
        return _TEXTS
    if isinstance(searched, LEAFImageConfig):
        return _IMAGES
    if isinstance(searched, CMTRConfig):
        return _ROUTINGS
    assert isinstance(searched, OneRoutingConfig)
    return {k: v | {"schedule": "decay"} for k, v in _ONE_ROUTING.items()}


def final_preset(
    searched: AssembledConfig, scale: str, augment: str | None = None
) -> FinalConfig:
    """The config at a scale, after a search with the config ``searched``.

    Args:
      searched: also tells batch, learning rate and what is kept of the data.
      scale: of ``SCALES``.
      augment: of ``AUGMENTS``; None for the method's own.

    Raises:
      UserError: for an unknown scale or augmentation, or one of texts.
    """
    if scale not in SCALES:
        raise UserError(f"--scale: {unknown(scale, SCALES)}")
    kind = config_kind(searched)
    values = dict(_presets(searched)[scale])
    if augment is not None:
        if kind is FinalTextConfig:
            raise UserError(
                f"--augment: found {augment}, must be left out: texts are not augmented"
            )
        if augment not in AUGMENTS:
            raise UserError(f"--augment: {unknown(augment, AUGMENTS)}")
        values |= AUGMENTS[augment]
    for field in dataclasses.fields(kind):
        name = field.name
        if name in ("batch", "learning_rate") or name in _OF_DATA:
            values[name] = getattr(searched, name)
    return kind(**values)


_OF_DATA = ("max_tasks", "image_size", "max_classes", "resident", "text_length")


def config_kind(searched: AssembledConfig) -> type[FinalConfig]:
    """The class of configs after such a search."""
    texts = isinstance(searched, LEAFConfig)
    return FinalTextConfig if texts else FinalImageConfig


def epochs_between_falls(searched: AssembledConfig, final: FinalConfig) -> int:
    """Of a learning rate that decays."""
    if final.decay_epochs is not None:
        return final.decay_epochs
    return searched.decay_epochs if isinstance(searched, OneRoutingConfig) else EPOCHS


def search_config(searched: AssembledConfig, final: FinalConfig) -> Any:
    """The config of a search that has nothing but the final training of one network.

    Args:
      searched: of the search that found the network.
      final: how it is trained.
    """
    changes: dict[str, Any] = {
        # all generations but one, which is never reached, are final
        "generations": final.generations + 1,
        "finals": final.generations,
        "finalists": 1,
        "networks": 1,
        "meta_iterations": 1,
        # populations that never evolve
        "species": 1,
        "modules": 2,
        "tables": 2,
        "elites": 0,
        "batch": final.batch,
        "learning_rate": final.learning_rate,
    }
    for name in ("filters", "units"):
        if hasattr(searched, name):
            widest = getattr(searched, name) * final.widen
            # as ``genomes.relayout`` rounds
            changes[name] = math.floor(widest + 0.5)
    names = {field.name for field in dataclasses.fields(searched)}
    kept = {name: value for name, value in changes.items() if name in names}
    return dataclasses.replace(searched, **kept)
