"""Convolutions of cells for CUDA, where cuDNN has no good kernel of its own.

Shapes as in ``convolution_forms``. A 1x1 convolution is one matrix product: what cuDNN
chooses without autotuning takes several times as long. A depthwise convolution of up to
5 x 5 taps, and every depthwise kernel's gradient, are sums over taps that XLA fuses:
cuDNN's gradient of a dilated kernel took 14 ms where the sums take 0.1 (H100, 64 maps
of 28 x 28 x 24, 5 x 5 at dilation 2); its forward convolution with 7 x 7 taps is four
times as fast as the sum. A training step of an EMT-NAS network of 24 channels takes a
third of the time (eight processes sharing the GPU, no autotuning).
"""

import jax.numpy as jnp

from evojax_mtl.networks import convolution_forms as forms
from evojax_mtl.networks import convolution_kernel_gradients as kernel_forms
from evojax_mtl.networks.convolution_forms import (
    Image,
    Kernel,
    Output,
    Shape,
    Window,
    is_depthwise,
    map_size,
    views,
)

MOST_TAPS = 25


def _is_pointwise(window: Window, kernel_shape: Shape) -> bool:
    return window.groups == 1 and kernel_shape[:2] == (1, 1)


def _is_sum(window: Window, channels: int, kernel_shape: Shape) -> bool:
    few = kernel_shape[0] * kernel_shape[1] <= MOST_TAPS
    return is_depthwise(window, channels) and few


def forward(window: Window, x: Image, kernel: Kernel) -> Output:
    """The convolution."""
    if _is_pointwise(window, kernel.shape) or _is_sum(window, x.shape[3], kernel.shape):
        return forms.forward(window, x, kernel)
    return forms.lax_convolution(window, x, kernel)


def input_gradient(
    window: Window, gradient: Output, kernel: Kernel, x_shape: tuple[int, int, int]
) -> Image:
    """Gradient with respect to ``x``, whose ``(H, W, I)`` is ``x_shape``."""
    if _is_pointwise(window, kernel.shape) or _is_sum(window, x_shape[2], kernel.shape):
        return forms.input_gradient(window, gradient, kernel, x_shape)
    return forms.lax_input_gradient(window, gradient, kernel, x_shape)


def kernel_gradient(
    window: Window, x: Image, gradient: Output, kernel_shape: Shape
) -> Kernel:
    """Gradient with respect to the kernel, summed in float32 at least if by sums."""
    if _is_pointwise(window, kernel_shape):
        return kernel_forms.kernel_gradient(window, x, gradient, kernel_shape)
    if is_depthwise(window, x.shape[3]):
        return _tap_sums(window, x, gradient, kernel_shape)
    return kernel_forms.lax_kernel_gradient(window, x, gradient, kernel_shape)


def _tap_sums(
    window: Window, x: Image, gradient: Output, kernel_shape: Shape
) -> Kernel:
    x = jnp.repeat(x, kernel_shape[3] // x.shape[3], axis=-1)
    seen = views(window, x, kernel_shape, map_size(gradient))
    total = kernel_forms.total_type(gradient)
    sums = [(view.astype(total) * gradient).sum((0, 1, 2)) for view in seen]
    return jnp.stack(sums).reshape(kernel_shape)
