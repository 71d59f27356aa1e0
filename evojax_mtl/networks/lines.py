"""Parts of cell operations on maps whose columns and channels are one axis.

Shape legend: ``B`` images, ``H`` x ``W`` map, ``C`` channels, ``X = W * C``; a *line*
holds all columns of a row, channels last.

In this layout a step along a row is a shift by ``C`` of a long axis. XLA for CPU makes
vector code of that, where it unrolls loops over few channels into scalar code: a
depthwise 7x7 convolution of 20 channels takes 0.4 of its time in NHWC. Everything
keeps the size of the map (stride 1, SAME).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

EPSILON = 1e-5

Lines = Float[Array, "B H X"]
Channels = Float[Array, "C"]
Moments = Float[Array, "2 C"]
Add = Callable[[Float[Array, "n C"]], Channels]
"""Adds up the rows of a matrix."""


def spread(values: Sequence[Channels], x: Lines) -> Float[Array, "n X"]:
    """Values of each channel, for every column of ``x``.

    On CPU a product: XLA would take ``jnp.tile`` apart, and find the channel of every
    element of ``x`` anew, in six times the time.
    """
    rows = jnp.stack(values)
    channels = rows.shape[1]
    copies = x.shape[-1] // channels

    def product(rows: Array) -> Array:
        place = np.tile(np.eye(channels, dtype=rows.dtype), copies)
        return jnp.matmul(rows, place, precision=jax.lax.Precision.HIGHEST)

    return jax.lax.platform_dependent(
        rows, cpu=product, default=lambda rows: jnp.tile(rows, copies)
    )


def shifted(x: Lines, rows: int, columns: int, channels: int) -> list[Lines]:
    """``x`` seen from ``-rows .. rows`` by ``-columns .. columns`` steps away.

    What lies outside is 0. In row-major order.
    """
    side = columns * channels
    image = jnp.pad(x, ((0, 0), (rows, rows), (side, side)))
    return [
        image[:, i : i + x.shape[1], j * channels : j * channels + x.shape[2]]
        for i in range(2 * rows + 1)
        for j in range(2 * columns + 1)
    ]


def depthwise(x: Lines, kernel: Float[Array, "k k C"], dilation: int = 1) -> Lines:
    """Convolution of each channel by its own odd kernel.

    XLA for CPU inserts the zeros around the map again for each of up to 15 taps; a 3x3
    kernel gets 7 taps more, of weight 0, and takes less than half of the time.
    """
    size, _, channels = kernel.shape
    reach, side = dilation * (size // 2), 4 if size == 3 else size
    spare = side - size
    kernel = jnp.pad(kernel, ((0, spare), (0, spare), (0, 0)))
    rows, columns = ((reach * n, (reach + spare * dilation) * n) for n in (1, channels))
    image = jnp.pad(x, ((0, 0), rows, columns))
    weights = jnp.tile(kernel, x.shape[2] // channels)
    total = jnp.zeros((), x.dtype)
    for i in range(side):
        for j in range(side):
            top, left = i * dilation, j * dilation * channels
            view = image[:, top : top + x.shape[1], left : left + x.shape[2]]
            total = total + view * weights[i, j]
    return total


def depthwise_input_gradient(
    gradient: Lines, kernel: Float[Array, "k k C"], dilation: int = 1
) -> Lines:
    """Gradient of ``depthwise`` with respect to ``x``."""
    return depthwise(gradient, kernel[::-1, ::-1], dilation)


def depthwise_kernel_gradient(
    x: Lines, gradient: Lines, size: int, channels: int, dilation: int = 1
) -> Float[Array, "k k C"]:
    """Gradient of ``depthwise`` with respect to a kernel of side ``size``.

    On CPU by rows of the kernel and sums over images first, so that the partial sums
    stay in cache, and there is a program for each column of taps instead of each tap.
    """
    reach = dilation * (size // 2)
    side = reach * channels
    (rows, width), steps = x.shape[1:], [dilation * i for i in range(size)]

    def products(image: Array, gradient: Array) -> list[Array]:
        """Of each tap in a row of the kernel."""
        lefts = [step * channels for step in steps]
        return [image[..., left : left + width] * gradient for left in lefts]

    def padded(x: Lines) -> Array:
        return jnp.pad(x, ((0, 0), (reach, reach), (side, side)))

    def by_row(x: Lines, gradient: Lines) -> Array:
        image = padded(x)

        def row(_: None, top: Array) -> tuple[None, Array]:
            def add(totals: list[Array], pair: tuple[Array, Array]) -> tuple:
                number, slope = pair
                corner, seen = (number, top, 0), (1, rows, width + 2 * side)
                parts = products(jax.lax.dynamic_slice(image, corner, seen)[0], slope)
                return [t + part for t, part in zip(totals, parts, strict=True)], None

            zeros = [jnp.zeros((rows, width), x.dtype)] * size
            totals, _ = jax.lax.scan(add, zeros, (jnp.arange(len(x)), gradient))
            return None, jnp.stack([total.sum(0) for total in totals])

        return jax.lax.scan(row, None, jnp.array(steps))[1]

    def at_once(x: Lines, gradient: Lines) -> Array:
        image = padded(x)
        taps = [
            part.sum((0, 1))
            for top in steps
            for part in products(image[:, top : top + rows], gradient)
        ]
        return jnp.stack(taps).reshape(size, size, width)

    sums = jax.lax.platform_dependent(x, gradient, cpu=by_row, default=at_once)
    return sums.reshape(size, size, -1, channels).sum(2)


def pointwise(x: Lines, kernel: Float[Array, "I O"]) -> Float[Array, "B H Y"]:
    """A 1x1 convolution."""
    return (x.reshape(-1, kernel.shape[0]) @ kernel).reshape(*x.shape[:2], -1)


def pointwise_gradients(
    x: Lines, gradient: Float[Array, "B H Y"], kernel: Float[Array, "I O"]
) -> tuple[Float[Array, "I O"], Lines]:
    """Gradients of ``pointwise`` with respect to kernel and input."""
    inputs, outputs = kernel.shape
    flat = gradient.reshape(-1, outputs)
    dkernel = x.reshape(-1, inputs).T @ flat
    return dkernel, (flat @ kernel.T).reshape(x.shape)


def plain_sums(flat: Float[Array, "n C"]) -> Channels:
    """Of each channel."""
    return flat.sum(0)


def moments(
    x: Lines, channels: int, axis: str | None = None, add: Add = plain_sums
) -> Moments:
    """Mean and (biased) variance of each channel.

    With ``axis``, over all devices of that axis, which hold as many images each.
    ``add`` adds up the rows of a matrix.
    """
    flat = x.reshape(-1, channels)
    powers = jnp.stack([add(flat), add(flat * flat)]) / len(flat)
    mean, square = powers if axis is None else jax.lax.pmean(powers, axis)
    return jnp.stack([mean, jnp.maximum(square - mean * mean, 0)])


def normalize(x: Lines, moments: Moments, scale: Channels, bias: Channels) -> Lines:
    """Batch normalisation by the given statistics."""
    mean, variance = moments[0], moments[1]
    slope = scale * jax.lax.rsqrt(variance + EPSILON)
    slopes, shifts = spread([slope, bias - mean * slope], x)
    return x * slopes + shifts


def normalize_gradients(
    x: Lines,
    gradient: Lines,
    moments: Moments,
    scale: Channels,
    axis: str | None = None,
    add: Add = plain_sums,
) -> tuple[Channels, Channels, Lines]:
    """Gradients of ``normalize`` by the batch's own ``moments``; ``add`` as there.

    Returns those with respect to scale, bias and ``x``. With ``axis`` the first two are
    this device's part of a sum over the axis.
    """
    mean, variance = moments[0], moments[1]
    channels = scale.shape[0]
    count = x.size // channels
    inverse = jax.lax.rsqrt(variance + EPSILON)
    dbias = add(gradient.reshape(-1, channels))
    product = add((gradient * x).reshape(-1, channels))
    dscale = (product - mean * dbias) * inverse
    sums = jnp.stack([dscale, dbias]) / count
    if axis is not None:
        sums = jax.lax.pmean(sums, axis)
    slope = scale * inverse
    share = -slope * inverse * sums[0]
    rest = -slope * sums[1] - share * mean
    slopes, shares, rests = spread([slope, share, rest], x)
    return dscale, dbias, gradient * slopes + x * shares + rests


def _largest(x: Lines, channels: int, *, rows: bool) -> Lines:
    before, here, after = shifted(x, rows, not rows, channels)
    return jnp.maximum(jnp.maximum(before, here), after)


def max_pool(x: Lines, channels: int) -> Lines:
    """The largest of every 3x3 window of a map that is nowhere negative."""
    columns = _largest(x, channels, rows=False)
    return _largest(columns, channels, rows=True)


def _to_largest(
    x: Lines, y: Lines, gradient: Lines, channels: int, *, rows: bool
) -> Lines:
    """Gradient of ``y = _largest(x)``: of equal values the first receives it."""
    before, here, _ = shifted(x, rows, not rows, channels)
    lacks = [(view != y).astype(x.dtype) for view in (before, here)]
    # number of the first largest value, 1 to 3: outside, where all is 0, nothing is
    first = 1 + lacks[0] * (1 + lacks[1])
    places = shifted(first, rows, not rows, channels)
    parts = shifted(gradient, rows, not rows, channels)
    total = jnp.zeros((), x.dtype)
    for k, (place, part) in enumerate(zip(places, parts, strict=True)):
        total = total + jnp.where(place == 3 - k, part, 0)
    return total


def max_pool_gradient(x: Lines, y: Lines, gradient: Lines, channels: int) -> Lines:
    """Gradient of ``y = max_pool(x)``.

    Of equal positive values the first in row-major order receives it. Where the largest
    value is 0 it may go astray: ``x`` is rectified, so the caller drops it there.
    """
    columns = _largest(x, channels, rows=False)
    middle = _to_largest(columns, y, gradient, channels, rows=True)
    return _to_largest(x, columns, middle, channels, rows=False)


def average_pool(x: Lines, channels: int) -> Lines:
    """The mean of every 3x3 window; what lies outside the map counts as 0.

    It is its own gradient.
    """
    left, here, right = shifted(x, 0, 1, channels)
    above, here, below = shifted(left + here + right, 1, 0, channels)
    return (above + here + below) / 9
