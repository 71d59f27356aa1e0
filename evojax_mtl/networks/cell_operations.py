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
of both. The depthwise parts differ and are compiled one by one; what follows is one
program for all six.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.networks import lines
from evojax_mtl.networks.lines import Lines

KERNEL = 7
Weights = dict[str, Array]
Moments = Float[Array, "2 2 C"]
Flag = Bool[Array, ""]


def _padded(kernel: Float[Array, "k k C"]) -> Float[Array, "7 7 C"]:
    margin = (KERNEL - kernel.shape[0]) // 2
    return jnp.pad(kernel, ((margin, margin), (margin, margin), (0, 0)))


@dataclass(frozen=True)
class Convolution:
    """The depthwise part of a separable or a dilated convolution.

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

    def forward(self, weights: Weights, x: Lines) -> Lines:
        """ReLU and the depthwise convolution."""
        taps = self._taps(weights)
        return lines.depthwise(jnp.maximum(x, 0), taps, self.dilation)

    def backward(
        self, weights: Weights, rectified: Lines, gradient: Lines
    ) -> tuple[Float[Array, "7 7 C"], Lines]:
        """Gradients of the kernel, padded, and of the rectified input."""
        taps, channels = self._taps(weights), weights["depthwise"].shape[-1]
        dtaps = lines.depthwise_kernel_gradient(
            rectified, gradient, self.kernel, channels, self.dilation
        )
        dx = lines.depthwise_input_gradient(gradient, taps, self.dilation)
        return _padded(dtaps), dx


def _between(weights: Weights, first: Lines, moments: Moments, separate: Flag) -> Lines:
    """What the pointwise convolution reads."""
    scale, bias = weights["scale"][0], weights["bias"][0]
    normal = lines.normalize(first, moments[0], scale, bias)
    return jnp.where(separate, jnp.maximum(normal, 0), first)


def mix(
    weights: Weights,
    first: Lines,
    separate: Flag,
    moments: Moments | None,
    axis: str | None = None,
) -> tuple[Lines, Moments]:
    """What all convolutions do after the depthwise part.

    Args:
      weights: of the edge.
      first: the depthwise convolution's output.
      separate: whether batch norm and ReLU come before the pointwise convolution.
      moments: statistics to use, or None for those of this batch.
      axis: of devices that hold parts of the batch.

    Returns:
      The whole's output, and the statistics.
    """
    channels = weights["scale"].shape[-1]

    def statistics(k, middle):
        if moments is not None:
            return moments[k]
        return lines.moments(middle, channels, axis)

    before = statistics(0, first)
    between = _between(weights, first, jnp.stack([before, before]), separate)
    second = lines.pointwise(between, weights["pointwise"])
    after = statistics(1, second)
    scale, bias = weights["scale"][1], weights["bias"][1]
    y = lines.normalize(second, after, scale, bias)
    return y, jnp.stack([before, after])


def mix_gradients(
    weights: Weights,
    first: Lines,
    moments: Moments,
    separate: Flag,
    gradient: Lines,
    axis: str | None = None,
) -> tuple[Weights, Lines]:
    """Gradients of the weights but ``depthwise``, and of ``first``.

    ``first`` and ``moments`` are those of ``mix``, by the batch's own statistics. The
    pointwise convolution is done again, which takes no longer than to keep its output.
    """
    scale = weights["scale"]
    between = _between(weights, first, moments, separate)
    second = lines.pointwise(between, weights["pointwise"])
    dscale, dbias, g = lines.normalize_gradients(
        second, gradient, moments[1], scale[1], axis
    )
    dpointwise, g = lines.pointwise_gradients(between, g, weights["pointwise"])
    g = jnp.where(separate & (between <= 0), 0, g)
    inner_scale, inner_bias, inner = lines.normalize_gradients(
        first, g, moments[0], scale[0], axis
    )
    own = separate.astype(dscale.dtype)
    update = {
        "pointwise": dpointwise,
        "scale": jnp.stack([own * inner_scale, dscale]),
        "bias": jnp.stack([own * inner_bias, dbias]),
    }
    return update, jnp.where(separate, inner, g)


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

SEPARATE = sum(operation.separate for operation in CONVOLUTIONS)
"""How many of these, the first ones, are separable."""

OTHERS = (
    (identity, identity_gradient),
    (max_pool, max_pool_gradient),
    (average_pool, average_pool_gradient),
)
"""The other operations, in order, and their gradients."""
