"""A peer of ``population``: an assembled network in eager PyTorch.

Written as PyTorch users write it: convolutions in order, autograd, fused multi-tensor
Adam; maps channels last or not, as asked.
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from evojax_mtl.architectures.table import INPUT
from experiments.benchmarks.plain_networks import PlainNetwork, Step

_ACTIVATE = {
    "linear": lambda x: x,
    "relu": functional.relu,
    "elu": functional.elu,
    "selu": functional.selu,
}


class TorchNetwork(torch.nn.Module):
    """A network with a linear decoder a task.

    Args:
      plain: the network.
      weights: kernel ``(k, k, in, out)`` and bias by slot.
      heads: the decoders' kernel, rows ordered as in a channels-last map, and bias.
      links: logits of soft merges a task.
      side: height and width of the last map.
      channels_last: memory format of the maps.
    """

    def __init__(
        self,
        plain: PlainNetwork,
        weights: dict[int, tuple[np.ndarray, np.ndarray]],
        heads: dict[str, Any],
        links: int,
        side: int,
        channels_last: bool,
    ) -> None:
        super().__init__()
        self.plain = plain
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        kernel = np.asarray(heads["kernel"])
        self.tasks = len(kernel)
        layers = {}
        for slot, (weight, bias) in weights.items():
            own = torch.nn.Conv2d(
                weight.shape[2], weight.shape[3], weight.shape[0], padding="same"
            )
            values = _tensor(weight.transpose(3, 2, 0, 1))
            values = values.to(memory_format=self.format)
            # assigned, not copied: a copy would keep the layout that was there
            own.load_state_dict({"weight": values, "bias": _tensor(bias)}, assign=True)
            layers[str(slot)] = own.requires_grad_(True)
        self.layers = torch.nn.ModuleDict(layers)
        self.merge = torch.nn.Parameter(torch.zeros(self.tasks, links))
        rows = kernel.reshape(self.tasks, side, side, plain.channels, -1)
        rows = rows.transpose(0, 3, 1, 2, 4).reshape(kernel.shape)
        self.kernel = torch.nn.Parameter(_tensor(rows))
        self.bias = torch.nn.Parameter(_tensor(np.asarray(heads["bias"])[:, None]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(T, B, classes)`` of images ``(T, B, c, H, W)``."""
        first = images.flatten(0, 1).contiguous(memory_format=self.format)
        value = {(INPUT, 0): first}
        x = first
        for step in self.plain.steps:
            x = self._read(step, value)
            if step.slot >= 0:
                x = _ACTIVATE[step.activation](self.layers[str(step.slot)](x))
                x = functional.dropout(x, step.dropout, self.training)
            value[step.node, 0] = x
        x = _widened(x, self.plain.channels).reshape(self.tasks, images.shape[1], -1)
        return torch.baddbmm(self.bias, x, self.kernel)

    def _read(self, step: Step, value: dict[tuple[int, int], Any]) -> torch.Tensor:
        def pooled(source, pools):
            if (source, pools) not in value:
                value[source, pools] = functional.max_pool2d(
                    pooled(source, pools - 1), 2
                )
            return value[source, pools]

        parts = [_widened(pooled(*own), step.channels[0]) for own in step.sources]
        if len(step.links) == 1 or not step.links:
            return sum(parts[1:], start=parts[0])
        shares = self.merge[:, list(step.links)].softmax(1)
        shares = shares.repeat_interleave(len(parts[0]) // self.tasks, 0)
        each = shares[:, :, None, None, None].unbind(1)
        terms = [share * x for share, x in zip(each, parts, strict=True)]
        return sum(terms[1:], start=terms[0])


def _widened(x: torch.Tensor, channels: int) -> torch.Tensor:
    missing = channels - x.shape[1]
    return functional.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(array))


class TorchTraining:
    """Training steps of a network.

    Args:
      network: the network.
      rate: learning rate.
    """

    def __init__(self, network: TorchNetwork, rate: float) -> None:
        self.network = network
        self.adam = torch.optim.Adam(network.parameters(), lr=rate, foreach=True)
        decays = {s.slot: s.decay for s in network.plain.steps if s.slot >= 0}
        self.decays = [
            (network.layers[str(slot)].weight, 2 * decay)
            for slot, decay in decays.items()
        ]

    def train(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """One step a batch, ``(S, T, B, ...)``; the last loss."""
        self.network.train()
        value = torch.zeros(())
        for x, wanted in zip(images, labels, strict=True):
            self.adam.zero_grad()
            logits = self.network(x)
            each = functional.cross_entropy(
                logits.flatten(0, 1), wanted.flatten(), reduction="sum"
            )
            value = each / wanted.shape[1]
            value.backward()
            with torch.no_grad():
                for weight, factor in self.decays:
                    weight.grad.add_(weight, alpha=factor)
            self.adam.step()
        return float(value.detach())
