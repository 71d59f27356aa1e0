"""NAS-Bench-201's network of one cell in eager PyTorch, and synflow as in its paper.

Written after the papers (Dong and Yang 2020; Tanaka et al. 2020), a network built anew
for each cell, as every user of zero-cost-nas does. Weights come from our slots.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

SOURCES = {1: (0,), 2: (0, 1), 3: (0, 1, 2)}
"""Nodes that each node of a cell hears, in the order of the edges."""


def _kernel(weights: Any) -> torch.Tensor:
    """(k, k, I, O) as (O, I, k, k)."""
    return torch.tensor(np.asarray(weights).transpose(3, 2, 0, 1).copy())


class Convolution(nn.Module):
    """Convolution and batch norm, ReLU before them."""

    def __init__(self, weights: Any, stride: int = 1, norm: bool = True) -> None:
        super().__init__()
        kernel = _kernel(weights)
        outputs, inputs, size, _ = kernel.shape
        self.convolution = nn.Conv2d(
            inputs, outputs, size, stride, size // 2, bias=False
        )
        self.convolution.weight = nn.Parameter(kernel)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(torch.relu(x)))


class Zero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


class Cell(nn.Module):
    def __init__(self, ops: Any, slots: dict[str, Any], index: int, norm: bool) -> None:
        super().__init__()
        edges: list[nn.Module] = []
        for k, op in enumerate(ops):
            match int(op):
                case 0:
                    edges.append(Zero())
                case 1:
                    edges.append(nn.Identity())
                case 2:
                    kernel = slots["conv_1x1"][index, k]
                    edges.append(Convolution(kernel, norm=norm))
                case 3:
                    kernel = slots["conv_3x3"][index, k]
                    edges.append(Convolution(kernel, norm=norm))
                case 4:
                    edges.append(nn.AvgPool2d(3, 1, 1, count_include_pad=False))
        self.edges = nn.ModuleList(edges)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nodes, edges = [x], iter(self.edges)
        for sources in SOURCES.values():
            nodes.append(sum(next(edges)(nodes[source]) for source in sources))
        return nodes[-1]


class Residual(nn.Module):
    def __init__(self, block: dict[str, Any], norm: bool) -> None:
        super().__init__()
        self.first = Convolution(block["first"], 2, norm)
        self.second = Convolution(block["second"], 1, norm)
        kernel = _kernel(block["shortcut"])
        shortcut = nn.Conv2d(kernel.shape[1], kernel.shape[0], 1, bias=False)
        shortcut.weight = nn.Parameter(kernel)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) + self.shortcut(x)


class Network(nn.Module):
    """The network of a cell.

    Args:
      ops: its six operations.
      weights: of all slots.
      classifier: ``(C, classes)``.
      norm: whether there are batch norms.
    """

    def __init__(
        self, ops: Any, weights: dict[str, Any], classifier: Any, norm: bool
    ) -> None:
        super().__init__()
        kernel = _kernel(weights["stem"])
        stem = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, 1, 1, bias=False)
        stem.weight = nn.Parameter(kernel)
        width = kernel.shape[0]
        body: list[nn.Module] = [stem, nn.BatchNorm2d(width) if norm else nn.Identity()]
        for stage, slots in enumerate(weights["stages"]):
            if stage:
                body.append(Residual(weights["blocks"][stage - 1], norm))
            width = slots["conv_1x1"].shape[-1]
            cells = len(slots["conv_1x1"])
            body += [Cell(ops, slots, index, norm) for index in range(cells)]
        body.append(nn.BatchNorm2d(width) if norm else nn.Identity())
        self.body = nn.Sequential(*body, nn.ReLU())
        self.classifier = nn.Linear(*classifier.shape)
        self.classifier.weight = nn.Parameter(torch.tensor(np.asarray(classifier).T))
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.body(x).mean((2, 3)))


def synflow(ops: Any, weights: dict[str, Any], classifier: Any, size: int) -> float:
    """Sum of ``|w dR/dw|`` over convolutions and classifier, by autograd in float64."""
    network = Network(ops, weights, classifier, norm=False).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    ones = torch.ones((1, weights["stem"].shape[2], size, size), dtype=torch.float64)
    network(ones).sum().backward()
    found = 0.0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.grad is not None:
            found += (layer.weight * layer.weight.grad).abs().sum().item()
    return found


def jacobian(
    ops: Any, weights: dict[str, Any], classifier: Any, images: Any
) -> np.ndarray:
    """Gradients ``(B, c H W)`` of the summed outputs, batch norms in training."""
    network = Network(ops, weights, classifier, norm=True).train()
    x = torch.tensor(np.asarray(images).transpose(0, 3, 1, 2).copy())
    x.requires_grad_(True)
    network(x).sum().backward()
    assert x.grad is not None
    return x.grad.flatten(1).numpy()
