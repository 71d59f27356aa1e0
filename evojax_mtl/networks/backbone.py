"""A backbone of five stages, and the heads of dense tasks on top of it.

Shape legend: ``B`` images, ``H`` x ``W`` pixels, ``h`` x ``w`` and ``c`` of a stage's
input, ``O`` channels that a task predicts at each pixel.

The five stages are the groups of weights in which MAMO (Tan 2024) and CoNAL (Yue 2023)
look for conflicts between tasks: the stem and four stages, as in ResNet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

STAGES = ("stem", "stage_1", "stage_2", "stage_3", "stage_4")


@dataclass(frozen=True)
class Backbone:
    """What a network is made of.

    Attributes:
      name: as the command line spells it.
      stages: a module for each of ``STAGES``, called as ``stage(x, train)``: a map
        ``(B, h, w, c)`` to the next.
      head: from ``O`` to a module, called as ``head(x, size, train)``: the last map to
        predictions ``(B, H, W, O)``, ``size`` being ``(H, W)``. It may drop out.
      positions: whether a stage gives a pair, the next map and where in its windows its
        values were the largest; a head is called as ``head(x, size, positions, train)``
        then, with those of all stages.
      published: how ``pretrained`` finds the weights of ``stages`` that others trained;
        None where there are none.
    """

    name: str
    stages: tuple[nn.Module, ...]
    head: Callable[[int], nn.Module]
    positions: bool = False
    published: Callable[[], dict[str, Any]] | None = None
