"""The small network for dense tasks in eager PyTorch, balanced by torchjd.

Weights are copied from ours; a step is the one of torchjd's documentation:
``mtl_backward`` and ``jac_to_grad`` for methods on gradients, a scalarizer else.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from evojax_mtl.networks.backbone import STAGES

RATE = 1e-3
"""Adam's learning rate."""


def parameter(array: Any) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.asarray(array)))


def convolution(kernel: Any, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    side, _, inputs, outputs = kernel.shape
    layer = nn.Conv2d(
        inputs,
        outputs,
        side,
        stride=stride,
        padding=dilation * (side - 1) // 2,
        dilation=dilation,
        bias=False,
    )
    layer.weight = parameter(np.asarray(kernel).transpose(3, 2, 0, 1))
    return layer


def norm(weights: Mapping[str, Any]) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(weights["scale"]))
    layer.weight, layer.bias = parameter(weights["scale"]), parameter(weights["bias"])
    return layer


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, weights: Mapping[str, Any], stride: int, dilation: int):
        super().__init__()
        self.first = convolution(weights["conv_1"]["kernel"], stride, dilation)
        self.second = convolution(weights["conv_2"]["kernel"], 1, dilation)
        self.norms = nn.ModuleList(norm(weights[f"norm_{i}"]) for i in (1, 2))
        self.across = nn.Identity()
        if "across" in weights:
            self.across = nn.Sequential(
                convolution(weights["across"]["kernel"], stride),
                norm(weights["norm_across"]),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(self.norms[1](self.second(y)) + self.across(x))


def encoder(stages: Mapping[str, Any]) -> nn.Sequential:
    stem = stages[STAGES[0]]
    layers: list[nn.Module] = [
        convolution(stem["conv"]["kernel"], 2),
        norm(stem["norm"]),
        nn.ReLU(),
    ]
    forms = ((1, 1), (2, 1), (2, 1), (1, 2))
    for name, (stride, dilation) in zip(STAGES[1:], forms, strict=True):
        layers.append(Block(stages[name], stride, dilation))
    return nn.Sequential(*layers)


class Head(nn.Module):
    """A convolution, and predictions resized to the image."""

    def __init__(self, weights: Mapping[str, Any]):
        super().__init__()
        self.convolution = convolution(weights["conv"]["kernel"])
        self.norm = norm(weights["norm"])
        kernel = np.asarray(weights["predict"]["kernel"])
        self.predict = convolution(kernel[None, None])
        self.predict.bias = parameter(weights["predict"]["bias"])

    def forward(self, x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        x = functional.relu(self.norm(self.convolution(x)))
        return functional.interpolate(
            self.predict(x), size=tuple(size), mode="bilinear", align_corners=True
        )


def losses(
    predicted: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]
) -> list[torch.Tensor]:
    """Of segmentation, depth and normals, as LibMTL's."""
    segmentation = functional.cross_entropy(
        predicted["segmentation"], labels["segmentation"], ignore_index=-1
    )
    depth, normals = labels["depth"], labels["normals"]
    there = depth.sum(1, keepdim=True) != 0
    far = ((predicted["depth"] - depth).abs() * there).sum() / there.sum()
    there = normals.sum(1, keepdim=True) != 0
    unit = functional.normalize(predicted["normals"], dim=1)
    near = (unit * normals * there).sum() / there.sum()
    return [segmentation, far, 1 - near]


class Trainer:
    """Steps on one batch.

    Args:
      weights: our ``Weights`` as named arrays.
      images: ``(B, H, W, 3)``.
      labels: by task, as ours.
      method: an aggregator or a scalarizer of torchjd.
      chunk: tasks that are passed backward together; None for all, by ``torch.vmap``.
      channels_last: memory format.
    """

    def __init__(
        self,
        weights: Any,
        images: np.ndarray,
        labels: Mapping[str, np.ndarray],
        method: Any,
        *,
        chunk: int | None,
        channels_last: bool,
    ):
        self.method, self.chunk = method, chunk
        self.encoder = encoder(weights.encoder["stages"])
        self.heads = nn.ModuleDict(
            {name: Head(own["head"]) for name, own in weights.own.items()}
        )
        self.images = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
        self.labels = {
            name: torch.tensor(array, dtype=torch.long)
            if name == "segmentation"
            else torch.tensor(array).permute(0, 3, 1, 2).contiguous()
            for name, array in labels.items()
        }
        if channels_last:
            layout = torch.channels_last
            self.encoder.to(memory_format=layout)  # type: ignore[no-matching-overload]
            self.heads.to(memory_format=layout)  # type: ignore[no-matching-overload]
            self.images = self.images.contiguous(memory_format=layout)
        own = list(method.parameters()) if isinstance(method, nn.Module) else []
        self.everything = [*self.encoder.parameters(), *self.heads.parameters(), *own]
        self.optimizer = torch.optim.Adam(self.everything, lr=RATE)

    def forward(self) -> tuple[torch.Tensor, list[torch.Tensor]]:
        features = self.encoder(self.images)
        size = self.images.shape[2:]
        predicted = {name: head(features, size) for name, head in self.heads.items()}
        return features, losses(predicted, self.labels)

    def gradients(self) -> list[torch.Tensor]:
        """Leaves the update in ``grad``; returns the losses."""
        from torchjd.aggregation import Aggregator
        from torchjd.autojac import jac_to_grad, mtl_backward

        self.optimizer.zero_grad()
        features, values = self.forward()
        if isinstance(self.method, Aggregator):
            shared = list(self.encoder.parameters())
            mtl_backward(
                values,
                features=features,
                tasks_params=[head.parameters() for head in self.heads.values()],
                shared_params=shared,
                parallel_chunk_size=self.chunk,
            )
            jac_to_grad(shared, self.method)
        else:
            self.method(torch.stack(values)).backward()
        return values

    def step(self) -> None:
        self.gradients()
        self.optimizer.step()
        if hasattr(self.method, "update"):
            with torch.no_grad():
                self.method.update(torch.stack(self.forward()[1]))
