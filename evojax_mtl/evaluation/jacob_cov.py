"""jacob_cov of NAS-Bench-201's cells: how differently a fresh network sees images.

Mellor et al. 2020 (first version), as Abdelfattah et al. 2021 score architectures by
it. For a batch, the gradient of the summed outputs with respect to each image is a row
of a matrix; with ``v`` the eigenvalues of the rows' correlation matrix, the score is
``-sum(log(v + k) + 1 / (v + k))``, ``k = 1e-5``. It is greatest where no two images'
gradients correlate. Batch norms use the batch's statistics, as in training.

Kernels and classifier are PyTorch's default draws in the slots that all architectures
share, as ``synflow`` says. Differs from zero-cost-nas: the eigenvalues are those of a
symmetric matrix, real and in float64, and a cell that lets nothing through, whose
correlations do not exist, scores minus infinity where zero-cost-nas says NaN.

Shape legend: ``A`` architectures, ``B`` images of ``H`` x ``W`` pixels and ``c``
channels, ``D = H W c``.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from evojax_mtl.compiling import on_cpu
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.synflow import SKELETON, checked
from evojax_mtl.networks.convolution import convolution
from evojax_mtl.networks.initializers import torch_uniform
from evojax_mtl.networks.nasbench201_network import (
    Skeleton,
    Weights,
    batch_norm,
    features,
    initial_weights,
)

K = 1e-5

_weights = jax.jit(initial_weights, static_argnums=1)


def _convolve(x: Array, kernel: Array, stride: int) -> Array:
    margin = kernel.shape[0] // 2
    padding = ((margin, margin), (margin, margin))
    return convolution(x, kernel, (stride, stride), padding)


def input_gradients(
    weights: Weights,
    classifier: Float[Array, "C classes"],
    ops: Int[Array, "6"],
    images: Float[Array, "B H W c"],
) -> Float[Array, "B D"]:
    """Of the sum of all outputs, a row an image."""

    def total(images):
        seen = features(weights, ops, images, _convolve, batch_norm)
        return (seen @ classifier).sum()

    return jax.grad(total)(images).reshape(len(images), -1)


def correlation_score(gradients: Float[np.ndarray, "B D"]) -> float:
    """The score of one network; minus infinity where a row is constant."""
    rows = gradients.astype(np.float64)
    if not np.ptp(rows, axis=1).all() or not np.isfinite(rows).all():
        return -np.inf
    values = np.linalg.eigvalsh(np.corrcoef(rows))
    # what rounding leaves below 0 would pass for a large score
    values = np.maximum(values, 0) + K
    return float(-np.sum(np.log(values) + 1 / values))


def jacob_cov_scores(
    ops: Integer[np.ndarray, "A 6"],
    images: Float[np.ndarray, "B H W c"] | Float[Array, "B H W c"],
    classes: int,
    key: Array,
    skeleton: Skeleton = SKELETON,
) -> Float[np.ndarray, "A"]:
    """jacob_cov of cells with one draw of weights; one compilation for any cells.

    Args:
      ops: cells, indices into ``nasbench201_network.OPERATIONS``.
      images: a batch, normalised; 64 in the literature.
      classes: of the data set.
      key: a typed key.
      skeleton: widths and depth of the network.

    Raises:
      UserError: ``ops`` are no cells, or the batch is not square, not RGB, of a size
        that does not halve twice, or of fewer than two images.
    """
    count, height, width, channels = images.shape
    if height != width or channels != skeleton.inputs or count < 2:
        raise UserError(
            f"images: found shape {images.shape}, must be (B, H, H, "
            f"{skeleton.inputs}), B at least 2"
        )
    cells = checked(ops, height)
    if classes < 1:
        raise UserError(f"classes: found {classes}, must be at least 1")
    body, head = jax.random.split(key)
    weights = _weights(body, skeleton)
    classifier = torch_uniform()(head, (skeleton.widths[-1], classes))
    batch = jnp.asarray(images, jnp.float32)
    program = jax.jit(input_gradients, compiler_options=on_cpu())
    found = (program(weights, classifier, cell, batch) for cell in cells)
    return np.array([correlation_score(np.asarray(rows)) for rows in found])
