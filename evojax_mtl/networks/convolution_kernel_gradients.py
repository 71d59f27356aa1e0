"""The kernel's gradient: formulations of ``convolution_forms``, whose legend holds.

``kernel_gradient`` is for CPU. At 48 channels and 3x3 the product of shifted inputs by
shifted gradients takes, inside loops, 0.5 to 0.8 of the time of patches by gradient,
and less than a convolution with the gradient for a kernel except on tiny maps.
``product_kernel_gradient`` is for ``jax.vmap`` on accelerators.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from evojax_mtl.networks.convolution_forms import (
    Image,
    Kernel,
    Output,
    Shape,
    Window,
    is_depthwise,
    lax_convolution,
    map_size,
    padded,
    per_group,
    taps,
    views,
)

BLOCK_BYTES = 1 << 22


def lax_kernel_gradient(
    window: Window, x: Image, gradient: Output, kernel_shape: Shape
) -> Kernel:
    """Gradient with respect to the kernel, as XLA's own operation."""
    like = jax.ShapeDtypeStruct(kernel_shape, x.dtype)
    convolve = partial(lax_convolution, window, x)
    return jax.linear_transpose(convolve, like)(gradient)[0]


def kernel_gradient(
    window: Window, x: Image, gradient: Output, kernel_shape: Shape
) -> Kernel:
    """Gradient with respect to the kernel, in float32 at least."""
    if is_depthwise(window, x.shape[3]):
        return _depthwise_kernel_gradient(window, x, gradient, kernel_shape)
    if window.groups > 1:
        share = (*kernel_shape[:3], kernel_shape[3] // window.groups)
        one = replace(window, groups=1)
        call = partial(kernel_gradient, one, kernel_shape=share)
        return per_group(window, call, x, gradient)
    if kernel_shape[:2] == (1, 1):
        return _view_products(window, x, gradient, kernel_shape)
    narrow = math.prod(kernel_shape[:3]) <= 64
    one = _view_products if narrow or window.strides != (1, 1) else _shift_product
    return _over_blocks(partial(one, window, kernel_shape=kernel_shape), x, gradient)


def total_type(gradient: Array) -> Any:
    """In which sums of ``gradient`` are kept."""
    return jnp.promote_types(gradient.dtype, jnp.float32)


def _product(window: Window, a: Array, b: Array) -> Array:
    """``a.T @ b``."""
    total = total_type(b)
    precision = window.precision
    return jnp.matmul(a.T, b, precision=precision, preferred_element_type=total)


def _over_blocks(
    function: Callable[[Array, Array], Kernel], x: Image, gradient: Output
) -> Kernel:
    """Sum of ``function`` over blocks of images whose copies stay in cache."""
    images = x.shape[0]
    copies = 3 * (x.size + gradient.size) * x.dtype.itemsize // max(1, images)
    most = max(1, min(images, BLOCK_BYTES // max(1, copies)))
    size = next(n for n in range(most, 0, -1) if images % n == 0)
    if size == images:
        return function(x, gradient)

    def split(a):
        return a.reshape(-1, size, *a.shape[1:])

    def add(total, pair):
        return total + function(*pair), None

    first = function(x[:size], gradient[:size])
    rest = split(x[size:]), split(gradient[size:])
    return jax.lax.scan(add, first, rest)[0]


def _shift_product(
    window: Window, x: Image, gradient: Output, kernel_shape: Shape
) -> Kernel:
    """One product of column-shifted inputs by row-shifted gradients; stride 1.

    Shifting both sides copies each ``l`` and ``k`` times instead of one side ``k l``
    times, and makes the product nearly square.
    """
    (height, width, inputs, outputs), (down, across) = kernel_shape, window.dilation
    (top, _), sides = window.padding
    rows, columns = x.shape[1], gradient.shape[2]
    wide = padded(x, ((0, 0), sides))
    starts = [j * across for j in range(width)]
    wide = jnp.concatenate([wide[:, :, j : j + columns] for j in starts], -1)
    low = (height - 1) * down - top
    tall = padded(gradient, ((low, rows + top - gradient.shape[1]), (0, 0)))
    starts = [(height - 1 - i) * down for i in range(height)]
    tall = jnp.concatenate([tall[:, i : i + rows] for i in starts], -1)
    wide, tall = wide.reshape(-1, width * inputs), tall.reshape(-1, height * outputs)
    product = _product(window, wide, tall).reshape(width, inputs, height, outputs)
    return product.transpose(2, 0, 1, 3)


def _view_products(
    window: Window, x: Image, gradient: Output, kernel_shape: Shape
) -> Kernel:
    """Products of each tap's view by the gradient; one if channels are few."""
    seen = views(window, x, kernel_shape, map_size(gradient))
    flat = gradient.reshape(-1, gradient.shape[3])
    if kernel_shape[2] < 16:
        seen = [jnp.concatenate(seen, -1)]
    parts = [_product(window, v.reshape(flat.shape[0], -1), flat) for v in seen]
    return jnp.stack(parts).reshape(kernel_shape)


def _depthwise_kernel_gradient(
    window: Window, x: Image, gradient: Output, kernel_shape: Shape
) -> Kernel:
    """Sums over images before pixels, so that the partial sums stay in cache.

    Columns and channels are one axis: XLA unrolls a loop over few channels into scalar
    code, and a tap's view is then a shift.
    """
    x = jnp.repeat(x, kernel_shape[3] // x.shape[3], axis=-1)
    total = total_type(gradient)
    (rows, columns), channels = map_size(gradient), kernel_shape[3]
    flat = (rows, columns * channels)

    def add(totals, pair):
        image, g = pair
        seen = views(window, image[None], kernel_shape, (rows, columns))
        g = g.reshape(flat)
        pairs = zip(totals, seen, strict=True)
        return [t + view.reshape(flat).astype(total) * g for t, view in pairs], None

    zeros = [jnp.zeros(flat, total) for _ in taps(kernel_shape)]
    totals, _ = jax.lax.scan(add, zeros, (x, gradient))
    sums = [t.sum(0).reshape(columns, channels).sum(0) for t in totals]
    return jnp.stack(sums).reshape(kernel_shape)


def product_kernel_gradient(
    window: Window, x: Image, gradient: Output, kernel_shape: Shape
) -> Kernel:
    """The kernel's gradient, in float32 at least, as one product; groups one by one."""
    if window.groups > 1:
        share = (*kernel_shape[:3], kernel_shape[3] // window.groups)
        one = replace(window, groups=1)
        call = partial(product_kernel_gradient, one, kernel_shape=share)
        return per_group(window, call, x, gradient)
    seen = views(window, x, kernel_shape, map_size(gradient))
    flat = gradient.reshape(-1, gradient.shape[3])
    patches = jnp.concatenate(seen, -1).reshape(flat.shape[0], -1)
    return _product(window, patches, flat).reshape(kernel_shape)
