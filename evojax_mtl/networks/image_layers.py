"""Layers on images: convolutions (SAME, stride 1), Dropout, and 2x2 max-pools between.

Shape legend: as in ``layer_sets``; the axes of a map are its height and width.

There is a convolution for each kernel and bucket that reads all channels a map may
have, and one that reads an image alone. The branch of a Dropout layer is the merge's:
the tape drops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from evojax_mtl.architectures.layers import (
    MERGE,
    NO_KERNEL,
    Network,
    convolutions,
    image_layers,
)
from evojax_mtl.networks.convolution import (
    conv_forward,
    conv_input_gradient,
    conv_kernel_gradient,
)
from evojax_mtl.networks.layer_sets import Call, Mask, namespace, volumes
from evojax_mtl.networks.pooling import max_pool, max_pool_gradient
from evojax_mtl.networks.tape import pad_channels

Shape = tuple[int, int, int]


def _kernel(kernels: Array, begin: Array, shape: Shape) -> Array:
    side, inputs, outputs = shape
    size = side * side * inputs * outputs
    flat = jax.lax.dynamic_slice(
        kernels, (begin,), (size,), allow_negative_indices=False
    )
    return flat.reshape(side, side, inputs, outputs)


@dataclass(frozen=True)
class Channels:
    """Widths of what convolutions read and make: a ``LayerSet``.

    Attributes:
      image: channels of an image.
      kernels: sides of the kernels that layers may have; ``NO_KERNEL`` for Dropout.
      buckets: output channels, ascending; the last is that of every map.
      padded: whether what reads an image reads all channels of a map, as those do that
        are applied to maps elsewhere.
    """

    image: int
    kernels: tuple[int, ...]
    buckets: tuple[int, ...]
    padded: bool = False

    gates = 1
    learned_input = False

    @property
    def names(self) -> tuple[str, ...]:
        """Convolutions by kernel, and Dropout."""
        return image_layers(self.kernels)

    @property
    def map(self) -> int:
        """Channels ``C`` of every map."""
        return self.buckets[-1]

    @property
    def largest(self) -> int:
        """Weights of the largest kernel, ``M``."""
        return max(self.kernels) ** 2 * self.map**2

    @property
    def operations(self) -> list[Shape]:
        """Kernel side, input and output channels, by operation after the merge."""
        found = convolutions(self.kernels, self.buckets)
        if self.padded:
            return [(k, self.map, o) for k, o, image in found if not image]
        return [(k, self.image if image else self.map, o) for k, o, image in found]

    @property
    def of_maps(self) -> list[Shape]:
        """The first of the ``operations``: those that do not read an image alone."""
        return self.operations[: len(self.kernels) * len(self.buckets)]

    @property
    def sizes(self) -> list[int]:
        """Weights of each operation."""
        return [0, *(k * k * i * o for k, i, o in self.operations)]

    def spaces(self, size: tuple[int, ...], resolutions: int) -> list[tuple[int, ...]]:
        """Height and width at each resolution."""
        return [tuple(side >> r for side in size) for r in range(resolutions)]

    def masks(self, mask: Mask, resolutions: int) -> list[Mask]:
        """Images have no padding."""
        return [None] * resolutions

    def biased(self, network: Network) -> Array:
        """All that convolve."""
        convolves = self._window(network) > 0
        return convolves & (network.architecture.operation > MERGE)

    def _branches(
        self, resolution: int, make: Callable[..., Any]
    ) -> list[Callable[..., Any]]:
        """One a convolution; images are at the first resolution alone."""
        found = self.operations if resolution == 0 else self.of_maps
        return [partial(make, shape) for shape in found]

    def forward(
        self, resolution: int, kernels: Array, bias: Array, call: Call, x, mask: Mask
    ):
        """See ``LayerSet.forward``."""

        def convolve(shape, begin, x):
            if shape[0] == NO_KERNEL:
                return x
            kernel = _kernel(kernels, begin, shape)
            return pad_channels(conv_forward(x[..., : shape[1]], kernel), x.shape[-1])

        branches = [lambda begin, x: x, *self._branches(resolution, convolve)]
        return jax.lax.switch(call.kind, branches, call.begin, x)

    def backward(
        self,
        resolution: int,
        kernels: Array,
        bias: Array,
        call: Call,
        x,
        mask: Mask,
        gradient,
    ):
        """See ``LayerSet.backward``; the tape adds all biases."""
        update = self._kernel_gradient(resolution, call, x, gradient)
        return update, None, self._input_gradient(kernels, call, gradient)

    def _kernel_gradient(self, resolution: int, call: Call, x, gradient):
        """The kernel's gradient, padded to the largest kernel."""
        largest = self.largest

        def convolve(shape, x, gradient):
            side, inputs, outputs = shape
            if side == NO_KERNEL:
                return jnp.zeros(largest, x.dtype)
            found = conv_kernel_gradient(
                x[..., :inputs], gradient[..., :outputs], (side, side)
            ).ravel()
            return jnp.pad(found, (0, largest - found.size))

        branches = [
            lambda x, gradient: jnp.zeros(largest, x.dtype),
            *self._branches(resolution, convolve),
        ]
        return jax.lax.switch(call.kind, branches, x, gradient)

    def _input_gradient(self, kernels: Array, call: Call, gradient):
        """The input's gradient, which those that read an image alone do not need."""

        def convolve(shape, begin, gradient):
            if shape[0] == NO_KERNEL:
                return gradient
            kernel = _kernel(kernels, begin, shape)
            return conv_input_gradient(gradient[..., : shape[2]], kernel)

        branches = [
            lambda begin, gradient: jnp.zeros_like(gradient),
            lambda begin, gradient: gradient,
            *self._branches(1, convolve),
        ]
        kind = jnp.where(call.passes, call.kind + 1, 0)
        return jax.lax.switch(kind, branches, call.begin, gradient)

    def pool(self, x, mask: Mask):
        """The largest of every 2 x 2 pixels."""
        return max_pool(x)

    def pool_gradient(self, x, y, gradient, mask: Mask):
        """See ``LayerSet.pool_gradient``."""
        return max_pool_gradient(x, y, gradient)

    def fans(self, network: Network, node: Array, place: Array) -> tuple[Array, Array]:
        """Taps of the kernel times channels that are not 0."""
        layers, window = network.layers, self._window(network)
        fan_in, fan_out = window * layers.inputs, window * layers.filters
        return fan_in[node], fan_out[node]

    def biases(self, network: Network) -> Array:
        """Zeros."""
        return jnp.zeros((network.module.shape[0], self.map))

    def parameters(self, network: Network) -> Any:
        """See ``LayerSet.parameters``."""
        biases = (self._window(network) > 0) * network.layers.filters
        return self._products(network) + biases

    def multiply_adds(self, network: Network, size: tuple[int, ...]) -> Any:
        """See ``LayerSet.multiply_adds``."""
        levels = min(side.bit_length() for side in size)
        return self._products(network) * volumes(network, self.spaces(size, levels))

    def _products(self, network: Network) -> Any:
        layers = network.layers
        return self._window(network) * layers.inputs * layers.filters

    def _window(self, network: Network) -> Any:
        """Taps of each node's kernel, 0 for Dropout; NumPy where the network is."""
        kernel = network.layers.kernel
        return namespace(kernel).asarray(self.kernels)[kernel] ** 2
