"""Operations: what a node applies. An executor holds a tuple of them.

Shape legend: ``S`` weight slots, ``B`` examples, ``H`` x ``W`` map, ``C`` channels,
``c`` channels of an image.

An operation keeps the shape of its input and brings its own backward pass, because
executors recompute nothing that JAX would save. Dropout is the executor's: it follows
the operations that ask for it by ``drops``.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.networks.convolution import (
    conv_forward,
    conv_input_gradient,
    conv_kernel_gradient,
)
from evojax_mtl.networks.initializers import glorot_uniform

Image = Float[Array, "B H W C"]
Stem = Float[Array, "B H W c"]
Params = Any


@runtime_checkable
class Operation(Protocol):
    """A shape-preserving operation with its own backward pass.

    ``drops`` asks for dropout on the output. The output must then be rectified, since
    the backward pass recovers the dropped units from the zeros.
    """

    @property
    def drops(self) -> bool:
        """Whether dropout follows."""
        ...

    def init(self, key: Array, slots: int, channels: int) -> Params:
        """Weights of all slots: a pytree whose leaves have a leading axis ``S``."""
        ...

    def forward(self, params: Params, x: Image) -> Image:
        """The output, before dropout. ``params`` are those of one slot."""
        ...

    def backward(
        self, params: Params, x: Image, y: Image, gradient: Image
    ) -> tuple[Params, Image]:
        """Gradients of the weights and the input.

        Args:
          params: weights of the slot.
          x: the input.
          y: the output after dropout, whose sign pattern equals the output's where
            nothing was dropped and which is 0 where it was.
          gradient: of the loss with respect to ``y``, times the dropout scale.
        """
        ...

    def stem_forward(self, params: Params, x: Stem) -> Image:
        """``forward`` of an input whose channels from ``x.shape[-1]`` on are 0."""
        ...

    def stem_backward(self, params: Params, x: Stem, gradient: Image) -> Params:
        """The weights' gradient of ``stem_forward``; none for the input.

        ``gradient`` is the sum over the nodes that share the stem, already 0 where
        their outputs are.
        """
        ...


@dataclass(frozen=True)
class ConvolutionModule:
    """Convolution (SAME, stride 1), bias, ReLU: the module of soft ordering and CTR.

    Weights start as Glorot uniform (Keras' default, the framework of the time), biases
    as 0.

    Attributes:
      kernel: side of the square kernel, odd.
      drops: whether dropout follows.
    """

    kernel: int = 3
    drops: bool = True

    def init(self, key: Array, slots: int, channels: int) -> Params:
        """``kernel``: ``(S, k, k, C, C)``; ``bias``: ``(S, C)``."""
        shape = (slots, self.kernel, self.kernel, channels, channels)
        return {
            "kernel": glorot_uniform(key, shape),
            "bias": jnp.zeros((slots, channels)),
        }

    def forward(self, params: Params, x: Image) -> Image:
        """``relu(conv(x) + bias)``."""
        return jnp.maximum(conv_forward(x, params["kernel"]) + params["bias"], 0)

    def _kernel_gradient(self, x: Array, gradient: Array) -> Params:
        size = (self.kernel, self.kernel)
        return {
            "kernel": conv_kernel_gradient(x, gradient, size),
            "bias": gradient.sum((0, 1, 2)),
        }

    def backward(
        self, params: Params, x: Image, y: Image, gradient: Image
    ) -> tuple[Params, Image]:
        """See ``Operation.backward``."""
        gradient = jnp.where(y > 0, gradient, 0)
        weights = self._kernel_gradient(x, gradient)
        return weights, conv_input_gradient(gradient, params["kernel"])

    def stem_forward(self, params: Params, x: Stem) -> Image:
        """``forward`` over the kernel's first ``c`` input channels."""
        kernel = params["kernel"][:, :, : x.shape[-1]]
        return jnp.maximum(conv_forward(x, kernel) + params["bias"], 0)

    def stem_backward(self, params: Params, x: Stem, gradient: Image) -> Params:
        """See ``Operation.stem_backward``."""
        weights = self._kernel_gradient(x, gradient)
        missing = params["kernel"].shape[2] - x.shape[-1]
        margins = ((0, 0), (0, 0), (0, missing), (0, 0))
        return weights | {"kernel": jnp.pad(weights["kernel"], margins)}
