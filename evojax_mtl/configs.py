"""Static choices of each method, their bounds and their presets. Imports no JAX.

Every field is a flag of ``evojax-mtl run``. A field marked *traced* reaches the
compiled program as an argument: it may be swept, or changed on resuming, without
compiling anew.
"""

import dataclasses
import types
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from evojax_mtl.balancing.registry import BALANCING, find_balancing
from evojax_mtl.errors import UserError

Presets = dict[str, dict[str, Any]]
"""What each scale changes of the defaults."""

SCALES = ("smoke", "laptop", "study", "paper", "tiny")


def option(
    default: Any,
    *,
    low: int | float | None = None,
    high: int | float | None = None,
    below: int | float | None = None,
    traced: bool = False,
    extends: bool = False,
) -> Any:
    """A field with bounds.

    Args:
      default: value of the field where no preset says otherwise.
      low: smallest value allowed.
      high: largest value allowed.
      below: all values allowed are smaller than this one.
      traced: whether it is an argument of the compiled program.
      extends: whether a finished run may go on with another value of it.
    """
    metadata = {
        "low": low,
        "high": high,
        "below": below,
        "traced": traced,
        "extends": extends,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class SearchConfig:
    """What all methods share.

    Raises:
      UserError: if a field is out of its bounds.
    """

    presets: ClassVar[Presets] = {}

    generations: int = option(100, low=1, extends=True)
    """Length of the search (generations)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        check_bounds(self)


@dataclass(frozen=True)
class ImageConfig(SearchConfig):
    """What methods on images share.

    Raises:
      UserError: if a field is out of its bounds.
    """

    image_size: int | None = option(None, low=4)
    """Side that images are resized to; None keeps the source's (pixels)."""

    max_tasks: int | None = option(None, low=1)
    """Use the source's first tasks only; None uses all (tasks)."""

    max_classes: int | None = option(None, low=2)
    """Use each task's first classes only; None uses all (classes)."""

    resident: int | None = option(None, low=1)
    """Training examples of each task on the device, others each generation; None
    keeps all there (examples)."""


@dataclass(frozen=True)
class RoutedConfig(ImageConfig):
    """What single-task, soft-ordering and ctr share.

    Raises:
      UserError: if a field is out of its bounds.
    """

    modules: int = option(4, low=1)
    """Modules that the tasks share, K (modules)."""

    filters: int = option(53, low=1)
    """Width of every module (channels)."""

    kernel: int = option(3, low=1)
    """Side of the modules' square kernels, odd (pixels)."""

    depth: int = option(4, low=1)
    """Modules from input to output of the initial networks (layers)."""

    generations: int = option(120, low=1, extends=True)
    """Length of the search (generations, the paper's meta-iterations)."""

    iterations: int = option(250, low=1)
    """Training in a generation, M (training iterations)."""

    batch: int = option(1, low=1)
    """Training batch (examples a task and iteration)."""

    evaluation_batch: int = option(8, low=1)
    """Validation and test batch; no result depends on it (examples a task)."""

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = option("adam")
    """Optimiser of all weights and merge logits (a name)."""

    learning_rate: float = option(1e-3, low=0.0, traced=True)
    """Learning rate (per training iteration)."""

    dropout: float = option(0.5, low=0.0, below=1.0, traced=True)
    """Probability that a module's output channel value is dropped (fraction)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise UserError(f"--kernel: found {self.kernel}, must be odd")


@dataclass(frozen=True)
class SingleTaskConfig(RoutedConfig):
    """A chain of modules for each task, nothing shared."""


@dataclass(frozen=True)
class SharedConfig(RoutedConfig):
    """What soft-ordering and ctr share: modules that all tasks train.

    Raises:
      UserError: if a field is out of its bounds.
    """

    balancing: str | None = option(None)
    """How the tasks' gradients of the shared modules make one update, of those that
    ``evojax-mtl list balancing`` names; None: the sum of the losses (a name)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        super().__post_init__()
        check_balancing(self.balancing)


@dataclass(frozen=True)
class SoftOrderingConfig(SharedConfig):
    """Shared modules, softly ordered at every depth by each task."""


@dataclass(frozen=True)
class CTRConfig(SharedConfig):
    """Coevolution of task routing: each task evolves its own path of shared modules."""

    alpha: float = option(0.1, low=1e-6, below=1.0, traced=True)
    """Weight that a new module starts with in the soft merge it joins (fraction)."""

    mutations: int = option(1, low=1, traced=True)
    """Nodes that a challenger has more than its champion (nodes)."""


_SMALL = {
    "filters": 16,
    "batch": 4,
    "image_size": 28,
    "max_tasks": 6,
    "max_classes": 10,
    "iterations": 30,
    "generations": 5,
    "dropout": 0.1,
}
_LARGE = _SMALL | {"filters": 32, "max_classes": None, "iterations": 100}
_ROUTED: dict[str, dict[str, Any]] = {
    "tiny": {
        "modules": 2,
        "filters": 4,
        "depth": 2,
        "batch": 4,
        "image_size": 6,
        "max_tasks": 2,
        "max_classes": 3,
        "iterations": 20,
        "generations": 3,
        "dropout": 0.1,
    },
    "smoke": _SMALL,
    "laptop": _LARGE | {"max_tasks": 10, "generations": 20},
    "study": _LARGE | {"max_tasks": 20, "generations": 30},
    "paper": {"image_size": 105, "max_tasks": 20},
}
# ``paper`` keeps the defaults, which are the paper's.
RoutedConfig.presets = _ROUTED


def preset(config: type[SearchConfig], scale: str) -> SearchConfig:
    """The config of a method at a scale."""
    return config(**config.presets[scale])


def describe_bounds(field: dataclasses.Field) -> str:
    """What a field's numbers may be, in words; empty where all are allowed."""
    low, high, below = (field.metadata.get(k) for k in ("low", "high", "below"))
    words = []
    if low is not None:
        words.append(f"at least {low}")
    if high is not None:
        words.append(f"at most {high}")
    if below is not None:
        words.append(f"below {below}")
    return " and ".join(words)


def check_bounds(config: Any) -> None:
    """Raises ``UserError`` for the first field that is out of its bounds."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high, below = (field.metadata.get(k) for k in ("low", "high", "below"))
        inside = (
            value == value
            and abs(value) != float("inf")
            and (low is None or value >= low)
            and (high is None or value <= high)
            and (below is None or value < below)
        )
        if not inside:
            allowed = describe_bounds(field) or "a finite number"
            raise UserError(f"{flag(field.name)}: found {value}, must be {allowed}")


def at_most(name: str, value: int, most: int, of: str = "population") -> None:
    """Raises ``UserError`` where a field is greater than ``most``, that of another."""
    if value > most:
        raise UserError(
            f"{flag(name)}: found {value}, must be at most the {of}, {most}"
        )


def check_balancing(name: str | None) -> None:
    """Raises ``UserError`` for a method that is unknown or is not for weights."""
    if name is None:
        return
    if find_balancing(name).representation == "required":
        allowed = ", ".join(
            other
            for other, method in BALANCING.items()
            if method.representation != "required"
        )
        raise UserError(
            f"--balancing: found {name}, which works on gradients of a representation "
            f"that all tasks share, and here is none; must be one of {allowed}"
        )


def flag(name: str) -> str:
    """The command-line spelling of a field."""
    return "--" + name.replace("_", "-")


def fields_with(config: type, mark: str) -> tuple[str, ...]:
    """Names of the fields marked ``'traced'`` or ``'extends'``."""
    return tuple(f.name for f in dataclasses.fields(config) if f.metadata.get(mark))


def parse_value(config: type, name: str, text: str) -> Any:
    """The value that ``text`` spells for field ``name``.

    Raises:
      UserError: if ``text`` is not of the field's type.
    """
    kind = get_type_hints(config)[name]
    options = (
        get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    )
    for candidate in options:
        if candidate is type(None) and text == "None":
            return None
        if get_origin(candidate) is Literal and text in get_args(candidate):
            return text
        if candidate is str:
            return text
        if candidate in (int, float):
            try:
                return candidate(text)
            except ValueError:
                continue
    raise UserError(f"{flag(name)}: found {text!r}, must be {_describe_type(options)}")


def _describe_type(options: tuple[Any, ...]) -> str:
    words = {int: "an integer", float: "a number", type(None): "None"}
    named = []
    for kind in options:
        if get_origin(kind) is Literal:
            named.append("one of " + ", ".join(get_args(kind)))
        else:
            named.append(words.get(kind, "text"))
    return " or ".join(named)
