"""What retraining is asked to do. Imports no JAX."""

from dataclasses import dataclass

from evojax_mtl.configs import check_bounds, flag, option
from evojax_mtl.errors import UserError


@dataclass(frozen=True)
class RetrainConfig:
    """How a plain network is trained; the defaults are those of KTNAS' authors.

    Raises:
      UserError: if a field is out of its bounds.
    """

    epochs: int = option(600, low=1)
    """Passes over the training examples (epochs)."""

    batch: int = option(64, low=1)
    """Training batch (examples a step)."""

    learning_rate: float = option(0.025, low=0.0)
    """Learning rate of the first epoch (per step)."""

    decay: float | None = option(None, low=0.0, high=1.0)
    """Learning rate of an epoch over that of the epoch before; None: it falls to 0 by a
    cosine (fraction)."""

    momentum: float = option(0.9, low=0.0, below=1.0)
    """Momentum of SGD (fraction kept a step)."""

    nesterov: bool = False
    """Whether the momentum looks ahead (flag)."""

    weight_decay: float = option(3e-4, low=0.0)
    """Weight decay of every weight, those of batch norm too (per step)."""

    clip: float = option(5.0, low=0.0)
    """Largest norm of the gradient (a norm)."""

    drop_path: float = option(0.3, low=0.0, below=1.0)
    """Rate of drop-path that the last epoch comes close to (probability)."""

    auxiliary_weight: float = option(0.4, low=0.0)
    """Weight of the auxiliary head's loss, where there is a head (fraction)."""

    label_smoothing: float = option(0.0, low=0.0, below=1.0)
    """Share of a label that is spread over all classes in training (fraction)."""

    test_batch: int = option(256, low=1)
    """Test batch; no result depends on it (examples)."""

    test_every: int = option(1, low=1)
    """Epochs between two tests; the last epoch is tested anyway (epochs)."""

    optimize: bool = True
    """Whether XLA optimises the program where it runs on CPU; without, it compiles in
    about half of the time and may run slower (flag)."""

    def __post_init__(self) -> None:
        """Checks the bounds."""
        check_bounds(self)
        for name in ("learning_rate", "decay", "clip"):
            if getattr(self, name) == 0:
                raise UserError(f"{flag(name)}: found 0.0, must be above 0")
