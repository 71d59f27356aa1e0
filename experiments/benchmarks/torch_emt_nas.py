"""The search network of EMT-NAS in eager PyTorch, as its authors run it.

It holds the modules that one genome uses, with weights copied from ours.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from evojax_mtl.architectures.wiring import BLOCKS, EDGES, INPUTS
from evojax_mtl.networks.cell_operations import CONVOLUTIONS, KERNEL


def tensor(array: Any) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.asarray(array)))


def norm(scale: Any, bias: Any) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(scale))
    layer.weight, layer.bias = tensor(scale), tensor(bias)
    return layer


def pointwise(kernel: Any) -> nn.Conv2d:
    inputs, outputs = kernel.shape
    layer = nn.Conv2d(inputs, outputs, 1, bias=False)
    layer.weight = tensor(np.asarray(kernel).T[:, :, None, None])
    return layer


def depthwise(kernel: Any, side: int, dilation: int) -> nn.Conv2d:
    margin = (KERNEL - side) // 2
    taps = np.asarray(kernel)[margin : margin + side, margin : margin + side]
    channels, padding = taps.shape[-1], dilation * (side // 2)
    layer = nn.Conv2d(
        channels,
        channels,
        side,
        padding=padding,
        dilation=dilation,
        groups=channels,
        bias=False,
    )
    layer.weight = tensor(taps.transpose(2, 0, 1)[:, None])
    return layer


def operation(number: int, weights: dict[str, Any]) -> nn.Module:
    if number >= len(CONVOLUTIONS):
        pools = (nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1))
        others = (nn.Identity(), *(nn.Sequential(nn.ReLU(), pool) for pool in pools))
        return others[number - len(CONVOLUTIONS)]
    kind, scale, bias = CONVOLUTIONS[number], weights["scale"], weights["bias"]
    between = [norm(scale[0], bias[0]), nn.ReLU()] if kind.separate else []
    return nn.Sequential(
        nn.ReLU(),
        depthwise(weights["depthwise"], kind.kernel, kind.dilation),
        *between,
        pointwise(weights["pointwise"]),
        norm(scale[1], bias[1]),
    )


class Cell(nn.Module):
    def __init__(self, wiring: Any, weights: Any, k: int, nodes: Any) -> None:
        super().__init__()
        self.sources = np.asarray(nodes)
        numbers, slots = np.asarray(wiring.operation)[k], np.asarray(wiring.slots())[k]
        own: dict[int, nn.Module] = {}
        for number, slot in zip(numbers, slots, strict=True):
            row = {name: leaf[slot] for name, leaf in weights["edges"].items()}
            own.setdefault(int(slot), operation(int(number), row))
        self.operations = nn.ModuleList(own[int(slot)] for slot in slots)
        self.loose = np.flatnonzero(np.asarray(wiring.loose)[k])
        kernels = np.concatenate([weights["kernel"][k][b] for b in self.loose])
        self.end = nn.Sequential(
            nn.ReLU(), pointwise(kernels), norm(weights["scale"][k], weights["bias"][k])
        )

    def forward(self, previous: Any, before: Any) -> Any:
        nodes = [previous, before]
        for block in range(BLOCKS):
            first, second = 2 * block, 2 * block + 1
            one = self.operations[first](nodes[self.sources[first]])
            nodes.append(one + self.operations[second](nodes[self.sources[second]]))
        return self.end(torch.cat([nodes[INPUTS + b] for b in self.loose], 1))


class Network(nn.Module):
    """``weights`` are what ``select`` takes; ``sources`` the nodes of each stack."""

    def __init__(self, wirings: Any, sources: Any, weights: Any) -> None:
        super().__init__()
        stem = weights["stem"]
        self.stem = nn.Conv2d(*stem["kernel"].shape[2:], 3, padding=1, bias=False)
        self.stem.weight = tensor(np.asarray(stem["kernel"]).transpose(3, 2, 0, 1))
        self.stem_norm = norm(stem["scale"], stem["bias"])
        self.stacks = nn.ModuleList(
            nn.ModuleList(
                Cell(wiring, weights[f"stack_{i}"], k, sources[i][k])
                for k in range(wiring.operation.size // EDGES)
            )
            for i, wiring in enumerate(wirings)
        )
        self.halvings = nn.ModuleList()
        for i in range(len(wirings) - 1):
            own = weights[f"halving_{i}"]
            self.halvings.append(
                nn.ModuleList(
                    nn.Sequential(
                        nn.AvgPool2d(2),
                        pointwise(own["kernel"][k]),
                        norm(own["scale"][k], own["bias"][k]),
                    )
                    for k in (0, 1)
                )
            )
        decoder = weights["decoder"]
        self.decoder = nn.Linear(*decoder["kernel"].shape)
        self.decoder.weight = tensor(np.asarray(decoder["kernel"]).T)
        self.decoder.bias = tensor(decoder["bias"])

    def forward(self, images: Any) -> Any:
        previous = before = self.stem_norm(self.stem(images))
        for i, stack in enumerate(self.stacks):
            if i > 0:
                one, other = self.halvings[i - 1]
                previous, before = one(previous), other(before)
            for cell in stack:
                previous, before = cell(previous, before), previous
        return self.decoder(functional.relu(previous.mean((2, 3))))
