"""The nine operations of the cell space, with their own backward passes.

Shape legend: ``B`` images, ``H`` x ``W`` map, ``C`` channels, ``X = W * C``, as in
``lines``.

As the authors' code has them (Liao 2023, 3.2, names no details). All keep the map's
size and channels.

* ``separable k``: ReLU, depthwise k x k, batch norm, ReLU, 1x1, batch norm.
* ``dilated k``: ReLU, depthwise of side k - 2 and dilation 2, 1x1, batch norm. So
  "dilated 3x3" has a single tap, and k x k is no operation's field of view.
* ``identity``: nothing, not even a ReLU.
* ``max pool``, ``average pool``: ReLU, 3x3 window; the average counts the padding.

Weights of an edge are padded to those of the largest operation: ``depthwise``
``(7, 7, C)``, ``pointwise`` ``(C, C)``, ``scale`` and ``bias`` ``(2, C)``, of the first
and second batch norm. ``moments`` ``(2, 2, C)`` holds mean and variance of the inputs
of both.

``hold`` is given what several expressions read or what goes into a product, and returns
it. Without it XLA for CPU computes such values anew for each reader, and in short loops
over a product's rows: a backward pass takes twice the time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.networks import lines
from evojax_mtl.networks.lines import Lines

KERNEL = 7
HELD = 5
"""Values that one pass of an operation holds, at most."""
Weights = dict[str, Array]
Moments = Float[Array, "2 2 C"]
Hold = Callable[[Lines], Lines]


def _padded(kernel: Float[Array, "k k C"]) -> Float[Array, "7 7 C"]:
    margin = (KERNEL - kernel.shape[0]) // 2
    return jnp.pad(kernel, ((margin, margin), (margin, margin), (0, 0)))


@dataclass(frozen=True)
class Convolution:
    """A separable or a dilated convolution.

    Attributes:
      kernel: side of the depthwise kernel.
      dilation: distance of its taps.
      separate: whether batch norm and ReLU stand between the two convolutions.
    """

    kernel: int
    dilation: int
    separate: bool

    def _taps(self, weights: Weights) -> Float[Array, "k k C"]:
        """The kernel's own part of the padded one, in its middle."""
        margin = (KERNEL - self.kernel) // 2
        inner = slice(margin, margin + self.kernel)
        return weights["depthwise"][inner, inner]

    def _between(
        self, weights: Weights, first: Lines, moments: Moments, hold: Hold
    ) -> Lines:
        if not self.separate:
            return first
        scale, bias = weights["scale"][0], weights["bias"][0]
        normal = lines.normalize(first, moments[0], scale, bias)
        return hold(jnp.maximum(normal, 0))

    def first(self, weights: Weights, x: Lines) -> Lines:
        """The depthwise convolution's output."""
        taps = self._taps(weights)
        return lines.depthwise(jnp.maximum(x, 0), taps, self.dilation)

    def second(
        self,
        weights: Weights,
        first: Lines,
        moments: Moments | None,
        hold: Hold,
        axis: str | None = None,
    ) -> tuple[Lines, Lines, Moments]:
        """The whole's output, the pointwise convolution's, and statistics.

        The statistics are ``moments``, or where None those of this batch, of which
        the devices of ``axis`` hold parts.
        """
        channels = weights["scale"].shape[-1]

        def statistics(k, middle):
            if moments is not None:
                return moments[k]
            return lines.moments(middle, channels, axis)

        own = jnp.zeros((2, channels), first.dtype)
        before = statistics(0, first) if self.separate else own
        between = self._between(weights, first, jnp.stack([before, own]), hold)
        second = lines.pointwise(between, weights["pointwise"])
        after = statistics(1, second)
        scale, bias = weights["scale"][1], weights["bias"][1]
        y = lines.normalize(second, after, scale, bias)
        return y, second, jnp.stack([before, after])

    def backward(
        self,
        weights: Weights,
        x: Lines,
        middles: tuple[Lines, Lines],
        moments: Moments,
        gradient: Lines,
        hold: Hold,
        axis: str | None = None,
    ) -> tuple[Weights, Lines]:
        """Gradients of the weights and of ``x``, by the batch's own statistics.

        ``middles``, ``moments`` and ``axis`` are those of ``first`` and ``second``.
        """
        (first, second), scale = middles, weights["scale"]
        dscale, dbias, g = lines.normalize_gradients(
            second, gradient, moments[1], scale[1], axis
        )
        between = self._between(weights, first, moments, hold)
        dpointwise, g = lines.pointwise_gradients(
            between, hold(g), weights["pointwise"]
        )
        no = jnp.zeros_like(dscale)
        dscales, dbiases = [no, dscale], [no, dbias]
        if self.separate:
            g = hold(jnp.where(between > 0, g, 0))
            dscales[0], dbiases[0], g = lines.normalize_gradients(
                first, g, moments[0], scale[0], axis
            )
            g = hold(g)
        taps, channels = self._taps(weights), scale.shape[-1]
        dtaps = lines.depthwise_kernel_gradient(
            hold(jnp.maximum(x, 0)), g, self.kernel, channels, self.dilation
        )
        dx = lines.depthwise_input_gradient(g, taps, self.dilation)
        update = {
            "depthwise": _padded(dtaps),
            "pointwise": dpointwise,
            "scale": jnp.stack(dscales),
            "bias": jnp.stack(dbiases),
        }
        return update, jnp.where(x > 0, dx, 0)


def identity(x: Lines, channels: int) -> Lines:
    """The input itself."""
    return x


def identity_gradient(x: Lines, gradient: Lines, channels: int) -> Lines:
    """Of ``identity``."""
    return gradient


def max_pool(x: Lines, channels: int) -> Lines:
    """ReLU and the largest of 3x3."""
    return lines.max_pool(jnp.maximum(x, 0), channels)


def max_pool_gradient(x: Lines, gradient: Lines, channels: int) -> Lines:
    """Of ``max_pool``."""
    rectified = jnp.maximum(x, 0)
    y = lines.max_pool(rectified, channels)
    dx = lines.max_pool_gradient(rectified, y, gradient, channels)
    return jnp.where(x > 0, dx, 0)


def average_pool(x: Lines, channels: int) -> Lines:
    """ReLU and the mean of 3x3."""
    return lines.average_pool(jnp.maximum(x, 0), channels)


def average_pool_gradient(x: Lines, gradient: Lines, channels: int) -> Lines:
    """Of ``average_pool``."""
    return jnp.where(x > 0, lines.average_pool(gradient, channels), 0)


CONVOLUTIONS = (
    *(Convolution(k, 1, separate=True) for k in (3, 5, 7)),
    *(Convolution(k - 2, 2, separate=False) for k in (3, 5, 7)),
)
"""The first of ``architectures.wiring.OPERATIONS``: those with weights."""

OTHERS = (
    (identity, identity_gradient),
    (max_pool, max_pool_gradient),
    (average_pool, average_pool_gradient),
)
"""The other operations, in order, and their gradients."""
