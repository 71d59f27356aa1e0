"""The peer of the ``ctr`` benchmark: a set of CTR networks in eager PyTorch.

Shape legend: ``P`` networks, ``N`` nodes, ``E`` edges, ``T`` tasks, ``K`` modules,
``B`` examples a task, ``C`` channels, ``L`` classes, ``h`` x ``w`` the last map.

Written as PyTorch users write it: modules, autograd, fused multi-tensor Adam. What
costs nothing in clarity and makes it faster is there: merge weights of all networks at
once, pooled maps cached, decoders and losses of all networks in one product.
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from evojax_mtl.architectures.table import INPUT, OUTPUT


class Networks(torch.nn.Module):
    """``P`` networks over ``K`` shared convolution modules.

    Args:
      architecture: the stacked tables, arrays of shape ``(P, N)`` and ``(P, E)``.
      inputs: task of each network.
      kernel: weights of the modules ``(K, 3, 3, C, C)``, the last axis the output's.
      bias: ``(K, C)``.
      merge: scales of the edges ``(P, E)``.
      decoder: ``(P, h * w * C, L)``, rows ordered as in a channels-last map.
      decoder_bias: ``(P, L)``.
      side: height and width of the last map.
      channels_last: memory format of the maps.
    """

    def __init__(
        self,
        architecture: Any,
        inputs: np.ndarray,
        *,
        kernel: np.ndarray,
        bias: np.ndarray,
        merge: np.ndarray,
        decoder: np.ndarray,
        decoder_bias: np.ndarray,
        side: int,
        dropout: float = 0.5,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.tasks = [int(task) for task in inputs]
        self.levels = np.asarray(architecture.resolution)
        self.slots = np.asarray(architecture.slot)
        self.channels = kernel.shape[-1]
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv2d(self.channels, self.channels, kernel.shape[1], padding=1)
            for _ in kernel
        )
        for convolution, weight, offset in zip(
            self.convolutions, kernel, bias, strict=True
        ):
            weight = _tensor(weight.transpose(3, 2, 0, 1))
            weight = weight.to(memory_format=self.format)
            weights = {"weight": weight, "bias": _tensor(offset)}
            # assigned, not copied: a copy would keep the layout that was there
            convolution.load_state_dict(weights, assign=True)
            convolution.requires_grad_(True)
        rows = decoder.reshape(len(decoder), side, side, self.channels, -1)
        rows = rows.transpose(0, 3, 1, 2, 4).reshape(decoder.shape)
        self.decoder = torch.nn.Parameter(_tensor(rows))
        self.decoder_bias = torch.nn.Parameter(_tensor(decoder_bias[:, None]))
        self._plan(architecture, merge)

    def _plan(self, architecture: Any, merge: np.ndarray) -> None:
        """What each network does, in order; scales of the edges that really merge."""
        networks, nodes = architecture.operation.shape
        self.steps: list[list[tuple[int, list[tuple[int, int]]]]] = []
        scales: list[float] = []
        target: list[int] = []
        for p in range(networks):
            into: dict[int, list[int]] = {}
            for e in np.flatnonzero(architecture.edge[p]):
                into.setdefault(int(architecture.target[p, e]), []).append(int(e))
            done, steps = {INPUT}, []
            while into:
                for node, edges in list(into.items()):
                    sources = [int(architecture.source[p, e]) for e in edges]
                    if not done.issuperset(sources):
                        continue
                    merged = []
                    for edge, source in zip(edges, sources, strict=True):
                        merged.append((source, len(scales) if len(edges) > 1 else -1))
                        if len(edges) > 1:
                            scales.append(float(merge[p, edge]))
                            target.append(p * nodes + node)
                    steps.append((node, merged))
                    done.add(node)
                    del into[node]
            self.steps.append(steps)
        unique, group = np.unique(target, return_inverse=True)
        self.groups = len(unique)
        self.group = torch.from_numpy(group.astype(np.int64))
        self.scale = torch.nn.Parameter(torch.tensor(scales))

    def _merge_weights(self) -> tuple[torch.Tensor, ...]:
        """Softmax of the scales of each merging node."""
        if not self.groups:
            return ()
        largest = torch.full((self.groups,), -torch.inf)
        largest = largest.scatter_reduce(0, self.group, self.scale.detach(), "amax")
        powers = (self.scale - largest[self.group]).exp()
        total = torch.zeros(self.groups).index_add(0, self.group, powers)
        return (powers / total[self.group]).unbind()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(P, B, L)`` of images ``(T, B, 1, H, W)``."""
        missing = self.channels - images.shape[2]
        padded = functional.pad(images, (0, 0, 0, 0, 0, missing))
        encoded = [x.contiguous(memory_format=self.format) for x in padded]
        weights = self._merge_weights()
        outputs = []
        for p, steps in enumerate(self.steps):
            values = {(INPUT, 0): encoded[self.tasks[p]]}
            outputs.append(self._run(p, steps, values, weights).flatten(1))
        features = torch.stack(outputs)
        return torch.baddbmm(self.decoder_bias, features, self.decoder)

    def _run(
        self,
        p: int,
        steps: list[tuple[int, list[tuple[int, int]]]],
        values: dict[tuple[int, int], torch.Tensor],
        weights: tuple[torch.Tensor, ...],
    ) -> torch.Tensor:
        levels, slots = self.levels[p], self.slots[p]

        def value(node: int, level: int) -> torch.Tensor:
            if (node, level) not in values:
                values[node, level] = functional.max_pool2d(value(node, level - 1), 2)
            return values[node, level]

        result = values[INPUT, 0]
        for node, merged in steps:
            level = int(levels[node])
            source, first = merged[0]
            x = value(source, level)
            if len(merged) > 1:
                x = weights[first] * x
                for source, position in merged[1:]:
                    x = x + weights[position] * value(source, level)
            if node == OUTPUT:
                result = x
                continue
            x = functional.relu(self.convolutions[slots[node]](x), inplace=True)
            values[node, level] = functional.dropout(x, self.dropout, self.training)
        return result


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(array))


class Trainer:
    """Training iterations of ``Networks`` on examples drawn anew each time.

    Args:
      networks: the networks.
      images: uint8 ``(T, n, H, W, 1)``.
      labels: ``(T, n)``.
      batch: examples a task and iteration.
      threads: that PyTorch uses.
      learning_rate: Adam's.
    """

    def __init__(
        self,
        networks: Networks,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        batch: int,
        threads: int,
        learning_rate: float = 1e-3,
    ) -> None:
        self.networks = networks
        self.images = torch.from_numpy(images.transpose(0, 1, 4, 2, 3).copy())
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.batch = batch
        self.threads = threads
        self.task = torch.arange(len(images))[:, None]
        self.optimizer = torch.optim.Adam(
            networks.parameters(), lr=learning_rate, foreach=True
        )

    def gradients(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss summed over networks, averaged over examples; fills the gradients.

        Args:
          images: ``(T, B, 1, H, W)``, in ``[0, 1]``.
          labels: ``(T, B)``.
        """
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.networks(images).flatten(0, 1)
        wanted = labels[self.networks.tasks].flatten()
        loss = functional.cross_entropy(logits, wanted, reduction="sum") / self.batch
        loss.backward()
        return loss

    def iterate(self, iterations: int) -> None:
        """Trains."""
        torch.set_num_threads(self.threads)
        tasks, examples = self.labels.shape
        for _ in range(iterations):
            chosen = torch.randint(examples, (tasks, self.batch))
            images = self.images[self.task, chosen].float() / 255
            self.gradients(images, self.labels[self.task, chosen])
            self.optimizer.step()
