"""Convolution against ``jax.lax``: values and gradients, under every transformation."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.networks import convolution_forms as forms
from evojax_mtl.networks import convolution_gpu as gpu_forms
from evojax_mtl.networks import convolution_kernel_gradients as kernel_forms
from evojax_mtl.networks.convolution import (
    conv_forward,
    conv_input_gradient,
    conv_kernel_gradient,
    convolution,
)

# x (B, H, W, I), kernel (k, l, J, O), strides, padding, dilation, groups
CASES = {
    "same": ((2, 7, 6, 18), (3, 3, 18, 5), (1, 1), "SAME", (1, 1), 1),
    "one image, odd map": ((1, 3, 3, 17), (3, 3, 17, 9), (1, 1), "SAME", (1, 1), 1),
    "valid": ((2, 8, 7, 20), (3, 3, 20, 4), (1, 1), "VALID", (1, 1), 1),
    "even kernel": ((2, 8, 9, 20), (2, 4, 20, 6), (1, 1), "SAME", (1, 1), 1),
    "stride": ((2, 9, 8, 18), (3, 3, 18, 6), (2, 2), "SAME", (1, 1), 1),
    "dilation": ((2, 11, 10, 18), (3, 3, 18, 4), (1, 1), "SAME", (2, 3), 1),
    "atrous stride": ((2, 12, 11, 4), (3, 3, 4, 6), (2, 2), "SAME", (2, 2), 1),
    "explicit": ((2, 6, 7, 20), (3, 3, 20, 4), (1, 1), ((2, 0), (0, 3)), (1, 1), 1),
    "cropping": ((2, 8, 9, 20), (3, 3, 20, 4), (1, 1), ((-1, 2), (1, -2)), (1, 1), 1),
    "one channel": ((2, 7, 7, 1), (3, 3, 1, 8), (1, 1), "SAME", (1, 1), 1),
    "image stem": ((2, 11, 12, 3), (5, 5, 3, 8), (2, 2), "SAME", (1, 1), 1),
    "pointwise": ((2, 5, 6, 18), (1, 1, 18, 7), (1, 1), "SAME", (1, 1), 1),
    "pointwise stride": ((2, 7, 6, 8), (1, 1, 8, 5), (2, 2), "SAME", (1, 1), 1),
    "pointwise padded": (
        (2, 4, 4, 8),
        (1, 1, 8, 5),
        (1, 1),
        ((1, 0), (2, 1)),
        (1, 1),
        1,
    ),
    "depthwise": ((3, 7, 6, 5), (3, 3, 1, 5), (1, 1), "SAME", (1, 1), 5),
    "depthwise stride": ((2, 8, 9, 4), (3, 3, 1, 4), (2, 2), "SAME", (1, 1), 4),
    "depthwise multiplier": ((2, 6, 6, 3), (3, 3, 1, 6), (1, 1), "SAME", (1, 1), 3),
    "depthwise 7x7": ((2, 8, 9, 4), (7, 7, 1, 4), (1, 1), "SAME", (1, 1), 4),
    "depthwise dilation": ((2, 9, 8, 4), (3, 3, 1, 4), (1, 1), "SAME", (2, 2), 4),
    "groups stride": ((2, 8, 7, 12), (3, 3, 4, 9), (2, 2), "SAME", (1, 1), 3),
}
SAMPLE = ["same", "stride", "one channel", "pointwise", "depthwise", "groups stride"]


def over(names):
    return pytest.mark.parametrize("case", [CASES[n] for n in names], ids=names)


def operands(case, dtype=jnp.float32):
    """Drawn by NumPy: ``jax.random`` would compile for every shape."""
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=shape) for shape in case[:2])
    return jnp.asarray(x, dtype), jnp.asarray(kernel / 4, dtype)


def apply(function, case, x, kernel):
    _, _, strides, padding, dilation, groups = case
    return function(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def ours(case, x, kernel):
    return apply(convolution, case, x, kernel)


def theirs(case, x, kernel):
    return apply(jax.lax.conv_general_dilated, case, x, kernel)


def weighted(y):
    weights = jnp.cos(jnp.arange(y.size)).astype(y.dtype)
    return (y * weights.reshape(y.shape)).sum()


def gradients(function, case, x, kernel):
    """Value, output and gradients."""

    def loss(x, kernel):
        y = function(case, x, kernel)
        return weighted(y), y

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(x, kernel)


@cache
def compiled(function, case):
    return jax.jit(lambda x, kernel: gradients(function, case, x, kernel))


def assert_close(one, other, tolerance=1e-4):
    def check(a, b):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        a, b = (np.asarray(v, np.float64) for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)

    jax.tree.map(check, one, other)


@over(CASES)
def test_equals_lax_inside_a_scan(case):
    x, kernel = operands(case)
    x, kernel = np.asarray(x), np.asarray(kernel)
    xs, kernels = np.stack([x, x + 1]), np.stack([kernel, -kernel / 2])

    @jax.jit
    def steps(xs, kernels):
        def step(count, pair):
            return count + 1, gradients(ours, case, *pair)

        return jax.lax.scan(step, 0, (xs, kernels))[1]

    reference = compiled(theirs, case)
    expected = [reference(xs[i], kernels[i]) for i in range(2)]
    assert_close(steps(xs, kernels), jax.tree.map(lambda *v: np.stack(v), *expected))


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        *((name, (0, 0)) for name in SAMPLE),
        ("same", (0, None)),
        *((name, (None, 0)) for name in SAMPLE),
    ],
)
def test_vmap(name, axes):
    case = CASES[name]
    x, kernel = operands(case)
    x, kernel = np.asarray(x), np.asarray(kernel)
    xs, kernels = np.stack([x, x + 1]), np.stack([kernel, -kernel / 2])
    one, reference = compiled(ours, case), compiled(theirs, case)
    pairs = [
        (xs[i] if axes[0] == 0 else x, kernels[i] if axes[1] == 0 else kernel)
        for i in range(2)
    ]
    expected = [reference(*pair) for pair in pairs]
    given = (xs if axes[0] == 0 else x, kernels if axes[1] == 0 else kernel)
    mapped = jax.jit(jax.vmap(one, axes))(*given)
    assert_close(mapped, jax.tree.map(lambda *v: np.stack(v), *expected))


def test_nested_vmap():
    case = CASES["same"]
    x, kernel = operands(case)
    x, kernel = np.asarray(x), np.asarray(kernel)
    xs, kernels = np.stack([x, x + 1]), np.stack([kernel, -kernel, kernel + 0.1])

    def table_of(function):
        one = compiled(function, case)
        return jax.jit(jax.vmap(jax.vmap(one, (0, None)), (None, 0)))(xs, kernels)

    assert_close(table_of(ours), table_of(theirs))


@over(["same"])
def test_gradients_are_finite_differences(case):
    with jax.enable_x64(True):
        x, kernel = operands(case, jnp.float64)
        direction = [jnp.sin(jnp.arange(v.size)).reshape(v.shape) for v in (x, kernel)]
        loss = jax.jit(lambda x, kernel: weighted(jnp.sin(ours(case, x, kernel))))
        found = jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)
        slope = sum(jnp.vdot(g, d) for g, d in zip(found, direction, strict=True))
        step = 1e-5
        ahead, behind = (
            loss(x + s * direction[0], kernel + s * direction[1]) for s in (step, -step)
        )
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-6)


@over(["same", "depthwise", "groups stride"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(jnp.bfloat16, 0.05), (jnp.float64, 1e-10)]
)
def test_element_types(case, dtype, tolerance):
    with jax.enable_x64(dtype == jnp.float64):
        x, kernel = operands(case, dtype)
        (_, y), found = compiled(ours, case)(x, kernel)
        wide = [v.astype(jnp.promote_types(dtype, jnp.float32)) for v in (x, kernel)]
        (_, exact), expected = compiled(theirs, case)(*wide)
        for a, b in zip((y, *found), (exact, *expected), strict=True):
            assert a.dtype == dtype
            error = jnp.abs(a.astype(b.dtype) - b).max()
            assert error <= tolerance * jnp.abs(b).max()


def assert_parts_equal_lax(case, forward, input_gradient, kernel_gradient):
    """Of forms that CPU does not choose."""
    x, kernel = operands(case)
    _, _, strides, padding, dilation, groups = case
    if isinstance(padding, str):
        sizes = zip(kernel.shape[:2], dilation, strict=True)
        reach = [(k - 1) * d + 1 for k, d in sizes]
        padding = jax.lax.padtype_to_pads(x.shape[1:3], reach, strides, padding)
    window = forms.Window(strides, tuple(padding), dilation, groups)
    (_, y), (dx, dw) = compiled(theirs, case)(x, kernel)
    g = jax.grad(weighted)(y)

    @jax.jit
    def parts(x, kernel, g):
        into_x = input_gradient(window, g, kernel, x.shape[1:])
        into_kernel = kernel_gradient(window, x, g, kernel.shape)
        return forward(window, x, kernel), into_x, into_kernel

    assert_close(parts(x, kernel, g), (y, dx, dw))


@over(["same", "even kernel", "stride", "atrous stride", "cropping", "groups stride"])
def test_products_for_accelerators_equal_lax(case):
    product = forms.product_forward
    into_x = partial(forms.input_gradient, dense=product)
    into_kernel = kernel_forms.product_kernel_gradient
    assert_parts_equal_lax(case, product, into_x, into_kernel)


@over(
    [
        "same",
        "pointwise stride",
        "pointwise padded",
        "depthwise stride",
        "depthwise multiplier",
        "depthwise 7x7",
        "depthwise dilation",
        "groups stride",
    ]
)
def test_forms_for_cuda_equal_lax(case):
    assert_parts_equal_lax(
        case, gpu_forms.forward, gpu_forms.input_gradient, gpu_forms.kernel_gradient
    )


@over(["pointwise", "depthwise", "depthwise dilation"])
def test_lowered_for_cuda_cells_need_no_convolution(case):
    lowered = compiled(ours, case).trace(*operands(case))
    for platform, needs in (("cuda", False), ("tpu", True)):
        text = lowered.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) == needs


def test_many_images_go_in_blocks():
    case = ((24, 16, 16, 32), (3, 3, 32, 32), (1, 1), "SAME", (1, 1), 1)
    x, kernel = operands(case)
    found, expected = (compiled(f, case)(x, kernel) for f in (ours, theirs))
    assert_close(found, expected, 2e-3)


@pytest.mark.parametrize("channels", [1, 20])
def test_parts_of_a_same_convolution(channels):
    case = ((2, 7, 6, channels), (3, 3, channels, 20), (1, 1), "SAME", (1, 1), 1)
    x, kernel = operands(case)
    y = conv_forward(x, kernel)
    (_, expected), (dx, dw) = compiled(theirs, case)(x, kernel)
    assert_close(y, expected)
    g = jax.grad(weighted)(y)
    assert_close(conv_input_gradient(g, kernel), dx)
    assert_close(conv_kernel_gradient(x, g, (3, 3)), dw)
    assert_close(jax.vmap(conv_forward)(x[None], kernel[None])[0], y)
    mapped = jax.vmap(lambda x, g: conv_kernel_gradient(x, g, (3, 3)))
    assert_close(mapped(x[None], g[None])[0], dw)


@pytest.mark.parametrize(
    "options",
    [
        {"features": 6, "kernel_size": (3, 3)},
        {"features": 6, "kernel_size": (3,)},
        {"features": 6, "kernel_size": (3, 3), "input_dilation": 2, "padding": 1},
        {"features": 8, "kernel_size": (3, 3), "feature_group_count": 4},
        {"features": 6, "kernel_size": (3, 3), "padding": "CIRCULAR"},
    ],
)
def test_stands_in_for_flax(options):
    shape = (2, 8, 4) if len(options["kernel_size"]) == 1 else (2, 8, 8, 4)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    plain = nn.Conv(**options)
    own = nn.Conv(**options, conv_general_dilated=convolution)
    params = plain.init(jax.random.key(2), x)
    losses = [lambda p, m=m: weighted(m.apply(p, x)) for m in (own, plain)]
    assert_close(*(jax.jit(jax.value_and_grad(loss))(params) for loss in losses))
