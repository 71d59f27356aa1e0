"""Two-dimensional convolution for every network: lax.conv with gradients fit for CPU.

``convolution`` stands in for ``jax.lax.conv_general_dilated`` in
``nn.Conv(conv_general_dilated=convolution)``. On CPU it runs the formulations of
``convolution_forms``, on CUDA those of ``convolution_gpu``, elsewhere XLA's own; which
one is decided where the program is lowered. ``conv_*`` are the parts of a SAME
convolution for programs that bring their own backward pass.

Differs from ``jax.lax.conv_general_dilated``: no forward mode and no second
derivatives, and ``jax.vmap`` over kernels runs the members one after the other on CPU,
where one grouped convolution takes a hundred times longer, and as batched matrix
products elsewhere.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from evojax_mtl.networks import convolution_forms as forms
from evojax_mtl.networks import convolution_gpu as gpu_forms
from evojax_mtl.networks import convolution_kernel_gradients as kernel_forms
from evojax_mtl.networks.convolution_forms import NUMBERS, Window


def convolution(
    lhs: Float[Array, "B *map I"],
    rhs: Float[Array, "*kernel J O"],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = NUMBERS,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Float[Array, "B *output O"]:
    """``jax.lax.conv_general_dilated``, with fast gradients on CPU.

    Takes the same arguments, in NHWC and HWIO by default. Another layout or rank,
    input dilation, batch groups and mixed element types go to ``jax.lax`` unchanged.
    """
    layout = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    if (
        lhs.ndim != 4
        or layout != jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, NUMBERS)
        or any(d != 1 for d in lhs_dilation or ())
        or batch_group_count != 1
        or preferred_element_type is not None
        or lhs.dtype != rhs.dtype
    ):
        return jax.lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
        )
    down, across = rhs_dilation or (1, 1)
    if isinstance(padding, str):
        reach = ((rhs.shape[0] - 1) * down + 1, (rhs.shape[1] - 1) * across + 1)
        sizes = lhs.shape[1:3]
        padding = jax.lax.padtype_to_pads(sizes, reach, window_strides, padding)
    (top, bottom), (left, right) = padding
    stride_down, stride_across = window_strides
    window = Window(
        strides=(stride_down, stride_across),
        padding=((top, bottom), (left, right)),
        dilation=(down, across),
        groups=feature_group_count,
        precision=precision,
    )
    return _convolve(window, lhs, rhs)


def _part(
    own: Callable[[Array, Array], Array],
    cuda: Callable[[Array, Array], Array],
    plain: Callable[[Array, Array], Array],
    product: Callable[[Array, Array], Array],
    folds: bool,
) -> Callable[[Array, Array], Array]:
    """``own`` on CPU, ``cuda`` there, ``plain`` elsewhere, with a batching rule.

    Members run one after the other on CPU and as a batched ``product`` elsewhere.
    ``folds`` says that members that share the second operand are more images in the
    first.
    """

    @custom_vmap
    def call(a, b):
        return jax.lax.platform_dependent(a, b, cpu=own, cuda=cuda, default=plain)

    @call.def_vmap
    def rule(size, mapped, a, b):
        if folds and not mapped[1]:
            whole = call(a.reshape(-1, *a.shape[2:]), b)
            return whole.reshape(size, -1, *whole.shape[1:]), True
        axes = tuple(0 if m else None for m in mapped)

        def members(a, b):
            if not mapped[0]:
                return jax.lax.map(partial(call, a), b)
            if not mapped[1]:
                return jax.lax.map(lambda own: call(own, b), a)
            return jax.lax.map(lambda pair: call(*pair), (a, b))

        batched = jax.vmap(product, axes)
        return jax.lax.platform_dependent(a, b, cpu=members, default=batched), True

    return call


# Networks repeat a few shapes hundreds of times: ``jit`` remembers what was traced.
_remembered = partial(jax.jit, inline=True)


@partial(_remembered, static_argnums=0)
def _forward(window: Window, x: Array, kernel: Array) -> Array:
    parts = (
        forms.forward,
        gpu_forms.forward,
        forms.lax_convolution,
        forms.product_forward,
    )
    own, cuda, plain, product = (partial(part, window) for part in parts)
    return _part(own, cuda, plain, product, folds=True)(x, kernel)


@partial(_remembered, static_argnums=(0, 3))
def _input_gradient(
    window: Window, gradient: Array, kernel: Array, x_shape: tuple[int, int, int]
) -> Array:
    own, cuda, plain = (
        partial(part, window, x_shape=x_shape)
        for part in (
            forms.input_gradient,
            gpu_forms.input_gradient,
            forms.lax_input_gradient,
        )
    )
    product = partial(own, dense=forms.product_forward)
    return _part(own, cuda, plain, product, folds=True)(gradient, kernel)


@partial(_remembered, static_argnums=(0, 3))
def _kernel_gradient(
    window: Window, x: Array, gradient: Array, kernel_shape: tuple[int, ...]
) -> Array:
    def rounded(function):
        part = partial(function, window, kernel_shape=kernel_shape)
        return lambda x, gradient: part(x, gradient).astype(x.dtype)

    parts = (
        kernel_forms.kernel_gradient,
        gpu_forms.kernel_gradient,
        kernel_forms.lax_kernel_gradient,
        kernel_forms.product_kernel_gradient,
    )
    own, cuda, plain, product = map(rounded, parts)
    return _part(own, cuda, plain, product, folds=False)(x, gradient)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(window: Window, x: Array, kernel: Array) -> Array:
    return _forward(window, x, kernel)


def _convolve_forward(window, x, kernel):
    return _forward(window, x, kernel), (x, kernel)


def _convolve_backward(window, residuals, gradient):
    x, kernel = residuals
    dx = _input_gradient(window, gradient, kernel, x.shape[1:])
    return dx, _kernel_gradient(window, x, gradient, kernel.shape)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _same(kernel_shape: tuple[int, ...]) -> Window:
    """SAME padding of an odd kernel, stride 1."""
    height, width = kernel_shape[:2]
    return Window(padding=((height // 2, height // 2), (width // 2, width // 2)))


def conv_forward(
    x: Float[Array, "B H W I"], kernel: Float[Array, "k l I O"]
) -> Float[Array, "B H W O"]:
    """Convolution with an odd kernel, SAME, stride 1."""
    return _forward(_same(kernel.shape), x, kernel)


def conv_input_gradient(
    gradient: Float[Array, "B H W O"], kernel: Float[Array, "k l I O"]
) -> Float[Array, "B H W I"]:
    """Gradient of ``conv_forward`` with respect to ``x``."""
    shape = (gradient.shape[1], gradient.shape[2], kernel.shape[2])
    return _input_gradient(_same(kernel.shape), gradient, kernel, shape)


def conv_kernel_gradient(
    x: Float[Array, "B H W I"], gradient: Float[Array, "B H W O"], size: tuple[int, int]
) -> Float[Array, "k l I O"]:
    """Gradient of ``conv_forward`` with respect to a kernel of that size."""
    shape = (*size, x.shape[3], gradient.shape[3])
    return _kernel_gradient(_same(shape), x, gradient, shape)
