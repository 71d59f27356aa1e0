"""Synflow of NAS-Bench-201's cells: how much flows through a network's weights.

Tanaka et al. 2020, as Abdelfattah et al. 2021 score architectures by it and MTNAS and
KTNAS (Zhang 2024) use it. It needs no data: weights become their absolute values, batch
norms are bypassed, the input is all ones (one sample), R is the sum of the outputs, and
the score is the sum over the weights of convolutions and the classifier of
``w dR/dw``, in float64.

**How it is computed.** ReLU is the identity where everything is positive, so R is a
sum over paths from input to output, each a product of one weight a layer, and
``sum w dR/dw`` counts each path as often as it meets a layer: it is the derivative of
``R(t w)`` at ``t = 1``. It goes along with the signal as the second image of a batch of
two, ``(v, d) -> (W v, W (v + d))`` at each layer with weights, and no backward pass is
needed. The classifier's bias is no weight of a layer's and adds nothing.

**Which weights.** Kernels and classifier are drawn as PyTorch draws them by default,
``U(-b, b)`` with ``b = 1 / sqrt(inputs)``, in the slots of ``nasbench201_network``: all
architectures share one draw, where zero-cost-nas draws anew for each. The distribution
of each single score is the same; the scores of two architectures are correlated, which
takes noise out of their comparison. ``expected_synflow_scores`` has no noise: as each
path meets a layer's weights once and layers are independent, the mean of the score over
all draws is the score at ``|w| = b / 2``, where all channels of a map are equal and one
of them is enough.

Scores reach 1e50: compare them, or take their logarithm, before they become float32.
Cells that let nothing through score 0.

Shape legend: ``A`` architectures, ``U`` of them that differ, ``C`` channels at the end.
"""

import math
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Integer

from evojax_mtl.compiling import on_cpu
from evojax_mtl.errors import UserError
from evojax_mtl.networks.convolution_forms import Window, product_forward
from evojax_mtl.networks.initializers import Initializer, torch_uniform
from evojax_mtl.networks.nasbench201_network import (
    OPERATIONS,
    Skeleton,
    Weights,
    features,
    initial_weights,
    live_operations,
)

SKELETON = Skeleton()
_CHUNK = 256
"""Cells a device scores in one call: a few seconds, after which a signal is heard."""

Scores = Float[np.ndarray, "A"]
Flows = Float[np.ndarray, "A 2 C"]
"""Signal and derivative that reach the classifier, float64."""


def all_cells() -> Integer[np.ndarray, "15625 6"]:
    """Every cell, the last edge's operation changing fastest."""
    shape = (len(OPERATIONS),) * 6
    return np.indices(shape, np.uint8).reshape(6, -1).T


def _convolve(x: Array, kernel: Array, stride: int) -> Array:
    """Of the signal and, along with it, of the derivative."""
    margin = kernel.shape[0] // 2
    window = Window((stride, stride), ((margin, margin), (margin, margin)))
    # XLA's own convolution of float64 is slow on CPU
    y = product_forward(window, x, kernel)
    return y.at[1].add(y[0])


def _flow(size: int, weights: Weights, ops: Array) -> Float[Array, "2 C"]:
    """Of one cell."""
    inputs = weights["stem"].shape[2]
    ones = jnp.ones((1, size, size, inputs), weights["stem"].dtype)
    start = jnp.concatenate([ones, jnp.zeros_like(ones)])
    return features(weights, ops, start, _convolve, lambda x: x)


@cache
def _program(size: int) -> Any:
    """Flows of the first cells of a chunk on every device, and where operands go."""
    devices = jax.local_devices()
    kind = (AxisType.Auto,)
    mesh = jax.make_mesh((len(devices),), ("cells",), kind, devices=devices)
    split = PartitionSpec("cells")

    def chunk(weights, ops, count):
        channels = weights["stages"][-1]["conv_1x1"].shape[-1]
        found = jnp.zeros((len(ops), 2, channels), weights["stem"].dtype)
        put = lambda k, found: found.at[k].set(_flow(size, weights, ops[k]))  # noqa: E731
        return jax.lax.fori_loop(0, count[0], put, found)

    spread = jax.shard_map(
        chunk,
        mesh=mesh,
        in_specs=(PartitionSpec(), split, split),
        out_specs=split,
        check_vma=False,
    )
    return jax.jit(spread, compiler_options=on_cpu()), NamedSharding(mesh, split)


def checked(ops: np.ndarray, size: int) -> Integer[np.ndarray, "A 6"]:
    """The cells as int32.

    Raises:
      UserError: ``ops`` are no cells, or ``size`` does not halve twice.
    """
    if ops.ndim != 2 or ops.shape[1] != 6 or ops.dtype.kind not in "iu":
        raise UserError(
            f"ops: found {ops.dtype} of shape {ops.shape}, must be integers (A, 6)"
        )
    if ops.size and not (ops.min() >= 0 and ops.max() < len(OPERATIONS)):
        raise UserError(
            f"ops: found {ops.min()} to {ops.max()}, must be 0 to {len(OPERATIONS) - 1}"
        )
    if size < 4 or size % 4:
        raise UserError(f"size: found {size}, must be a multiple of 4 pixels")
    return ops.astype(np.int32)


def flows(weights: Weights, ops: Integer[np.ndarray, "A 6"], size: int) -> Flows:
    """What the network of each cell hands to its classifier.

    Cells that compute the same because some of their edges lead nowhere are computed
    once; isomorphic ones have other weights and are computed each.

    Args:
      weights: of ``initial_weights``, not negative, float64.
      ops: cells, any number.
      size: pixels a side of the input.

    Raises:
      UserError: ``ops`` are no cells, or ``size`` does not halve twice.
    """
    live = np.asarray(live_operations(jnp.asarray(checked(ops, size))))
    cells, back = np.unique(live, axis=0, return_inverse=True)
    program, place = _program(size)
    devices = place.num_devices
    found = [np.zeros((0, 2, weights["stages"][-1]["conv_1x1"].shape[-1]))]
    for begin in range(0, len(cells), _CHUNK * devices):
        part = cells[begin : begin + _CHUNK * devices]
        # neighbours cost alike: the devices get them in turns
        dealt = np.zeros((devices, _CHUNK, 6), np.int32)
        counts = np.zeros(devices, np.int32)
        for device in range(devices):
            turn = part[device::devices]
            dealt[device, : len(turn)] = turn
            counts[device] = len(turn)
        with jax.enable_x64(True):
            operands = jax.device_put((dealt.reshape(-1, 6), counts), place)
            flow = np.asarray(program(weights, *operands))
        flow = flow.reshape(devices, _CHUNK, 2, -1).swapaxes(0, 1)
        found.append(flow.reshape(-1, *flow.shape[2:])[: len(part)])
    return np.concatenate(found)[back.reshape(-1)]


@partial(jax.jit, static_argnums=1)
def _random_weights(key: Array, skeleton: Skeleton) -> Weights:
    weights = initial_weights(key, skeleton, torch_uniform, jnp.float64)
    return jax.tree.map(jnp.abs, weights)


def random_weights(key: Array, skeleton: Skeleton = SKELETON) -> Weights:
    """Absolute values of PyTorch's default kernels, float64."""
    with jax.enable_x64(True):
        return _random_weights(key, skeleton)


def _check_classes(classes: int) -> None:
    if classes < 1:
        raise UserError(f"classes: found {classes}, must be at least 1")


def random_classifier(
    key: Array, classes: int, skeleton: Skeleton = SKELETON
) -> Float[np.ndarray, "C classes"]:
    """Absolute values of PyTorch's default classifier, float64."""
    _check_classes(classes)
    with jax.enable_x64(True):
        shape = (skeleton.widths[-1], classes)
        return np.abs(np.asarray(torch_uniform()(key, shape, jnp.float64)))


def score(flow: Flows, classifier: Float[np.ndarray, "C classes"]) -> Scores:
    """Of each flow: the classifier is one more layer."""
    return flow.sum(1) @ classifier.sum(1)


def synflow_scores(
    ops: Integer[np.ndarray, "A 6"],
    classes: int,
    size: int,
    key: Array,
    skeleton: Skeleton = SKELETON,
) -> Scores:
    """Synflow of cells with one draw of weights.

    Args:
      ops: cells, indices into ``nasbench201_network.OPERATIONS``.
      classes: of the data set: 10, 100 or 120.
      size: pixels a side of its images: 32 or 16.
      key: a typed key; the kernels it draws do not depend on ``classes``.
      skeleton: widths and depth of the network.

    Raises:
      UserError: ``ops`` are no cells, ``classes`` or ``size`` is out of range.
    """
    body, head = jax.random.split(key)
    classifier = random_classifier(head, classes, skeleton)
    return score(flows(random_weights(body, skeleton), ops, size), classifier)


def mean_uniform(inputs: int) -> Initializer:
    """All weights as large as those of ``torch_uniform`` on average, and positive."""

    def fill(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jnp.full(shape, 0.5 / math.sqrt(inputs), dtype)

    return fill


@partial(jax.jit, static_argnums=0)
def _expected_weights(skeleton: Skeleton) -> Weights:
    weights = initial_weights(jax.random.key(0), skeleton, mean_uniform, jnp.float64)
    # one of the equal outputs, which sees the sum of the equal inputs
    return jax.tree.map(lambda k: k[..., :1].sum(-2, keepdims=True), weights)


def expected_weights(skeleton: Skeleton = SKELETON) -> Weights:
    """Kernels of the mean network, of whose equal channels one stands for all."""
    with jax.enable_x64(True):
        return _expected_weights(skeleton)


def expected_classifier(
    classes: int, skeleton: Skeleton = SKELETON
) -> Float[np.ndarray, "1 classes"]:
    """Its classifier."""
    _check_classes(classes)
    inputs = skeleton.widths[-1]
    return np.full((1, classes), inputs * 0.5 / math.sqrt(inputs))


def expected_synflow_scores(
    ops: Integer[np.ndarray, "A 6"],
    classes: int,
    size: int,
    skeleton: Skeleton = SKELETON,
) -> Scores:
    """The mean of ``synflow_scores`` over all keys; arguments and errors as there.

    All 15,625 cells take seconds.
    """
    classifier = expected_classifier(classes, skeleton)
    return score(flows(expected_weights(skeleton), ops, size), classifier)
