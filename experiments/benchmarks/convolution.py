"""Convolutions, forward and backward, against PyTorch and against XLA's own gradients.

Shape legend: ``N`` applications, ``B`` images an application, ``S`` x ``S`` map, ``C``
channels, ``K`` kernels that the applications share.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.networks.convolution import convolution
from experiments.benchmarks.harness import Benchmark, Case, compare, need

NUMBERS = ("NHWC", "HWIO", "NHWC")


@dataclass(frozen=True)
class Size:
    """Applications of shared kernels.

    Attributes:
      applications: how many, each with one of the kernels.
      batch: images an application.
      side: height and width of the maps.
      channels: input and output channels; all groups of one where ``depthwise``.
      kernels: kernels that the applications share.
      kernel: side of the kernels.
      depthwise: whether each channel is convolved by itself.
    """

    applications: int
    batch: int
    side: int
    channels: int
    kernels: int = 4
    kernel: int = 3
    depthwise: bool = False

    @property
    def groups(self) -> int:
        """Channel groups."""
        return self.channels if self.depthwise else 1

    def __str__(self) -> str:
        """The name of a case."""
        kind = "depthwise " if self.depthwise else ""
        maps = f"{self.batch}x{self.side}x{self.side}x{self.channels}"
        shared = f", {self.kernels} kernels shared" if self.kernels > 1 else ""
        times = f"{self.applications} times " if self.applications > 1 else ""
        return f"{times}{maps}, {kind}{self.kernel}x{self.kernel}{shared}"


@dataclass(frozen=True)
class Arrays:
    """Operands of a size: inputs, weights of the loss, kernels, choice of kernel."""

    x: np.ndarray
    weights: np.ndarray
    kernels: np.ndarray
    choice: np.ndarray


def arrays(size: Size) -> Arrays:
    """Noise, the same for all."""
    random = np.random.default_rng(0)
    inputs = size.channels // size.groups
    shape = (size.applications, size.batch, size.side, size.side, size.channels)
    kernel = (size.kernels, size.kernel, size.kernel, inputs, size.channels)
    return Arrays(
        random.normal(size=shape).astype(np.float32),
        random.normal(size=shape).astype(np.float32),
        (random.normal(size=kernel) / size.kernel**2).astype(np.float32),
        np.arange(size.applications) % size.kernels,
    )


def in_jax(
    size: Size, given: Arrays, convolve: Callable[..., Any], mapped: bool
) -> Callable[[], tuple[Any, Any]]:
    """Gradients of ``x`` and of the kernels, by ``jax.vmap`` or by ``jax.lax.map``."""

    def one(x, kernel):
        return convolve(
            x,
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=NUMBERS,
            feature_group_count=size.groups,
        )

    def loss(x, kernels, weights, choice):
        if mapped:
            y = jax.vmap(one)(x, kernels[choice])
        else:
            y = jax.lax.map(lambda pair: one(*pair), (x, kernels[choice]))
        return jnp.vdot(y, weights)

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))
    operands = [jnp.asarray(a) for a in (given.x, given.kernels)]
    rest = [jnp.asarray(a) for a in (given.weights, given.choice)]
    return lambda: jax.block_until_ready(gradients(*operands, *rest))


def in_torch(
    size: Size, given: Arrays, channels_last: bool
) -> Callable[[], tuple[Any, Any]]:
    """The same by eager PyTorch, one call an application."""
    torch = need("torch")
    torch.set_num_threads(2)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    apply = torch.nn.functional.conv2d

    def move(array):
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.contiguous(memory_format=layout)

    x = [move(a.transpose(0, 3, 1, 2)).requires_grad_() for a in given.x]
    weights = [move(a.transpose(0, 3, 1, 2)) for a in given.weights]
    kernels = [move(k.transpose(3, 2, 0, 1)).requires_grad_() for k in given.kernels]

    def run():
        for leaf in (*x, *kernels):
            leaf.grad = None
        pad = size.kernel // 2
        pairs = zip(x, given.choice, strict=True)
        y = [apply(a, kernels[c], padding=pad, groups=size.groups) for a, c in pairs]
        torch.autograd.backward(y, weights)
        return x, kernels

    return run


def difference(ours: Callable[[], Any], theirs: Callable[[], Any]) -> float:
    """Largest difference of the gradients, relative to the largest of each kind."""
    x, kernels = ours()
    tensors, filters = theirs()
    expected = (
        np.stack([t.grad.numpy().transpose(0, 2, 3, 1) for t in tensors]),
        np.stack([t.grad.numpy().transpose(2, 3, 1, 0) for t in filters]),
    )
    pairs = zip((x, kernels), expected, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


SIZES = (
    Size(40, 1, 28, 48),
    Size(80, 1, 14, 48),
    Size(80, 1, 7, 48),
    Size(10, 8, 28, 48),
    Size(20, 8, 14, 48),
    Size(1, 128, 32, 20, kernels=1, depthwise=True),
    Size(1, 128, 16, 80, kernels=1, kernel=1),
)
SMALL_SIZES = (
    Size(4, 1, 28, 48),
    Size(4, 1, 14, 48),
    Size(1, 8, 32, 20, kernels=1, depthwise=True),
    Size(1, 16, 16, 80, kernels=1, kernel=1),
)
"""What XLA's own gradients bear in a loop and under ``jax.vmap``."""


def run(tell: Callable[[str], None]) -> tuple[list[Case], list[Case]]:
    """Ours against PyTorch, and against XLA's own gradients."""
    cases, own = [], []
    for size in SIZES:
        tell(str(size))
        given = arrays(size)
        ours = in_jax(size, given, convolution, mapped=True)
        torch = {
            "PyTorch": in_torch(size, given, channels_last=False),
            "PyTorch, channels last": in_torch(size, given, channels_last=True),
        }
        found = difference(ours, torch["PyTorch"])
        cases.append(
            compare(str(size), ours, torch, max_abs_difference=found, budget=4.0)
        )
    for size in SMALL_SIZES:
        tell(str(size))
        given = arrays(size)
        ours = in_jax(size, given, convolution, mapped=True)
        for name, mapped in (("lax.conv in a loop", False), ("vmap of it", True)):
            plain = in_jax(size, given, jax.lax.conv_general_dilated, mapped)
            own.append(compare(str(size), ours, {name: plain}, rounds=3, budget=1.0))
    return cases, own


BENCHMARK = Benchmark(
    "convolution",
    "gradients of a weighted sum of convolutions with respect to inputs and kernels; "
    "float32, 2 threads for PyTorch",
    run,
)
