"""The search network of cells: weights for every genome, and any genome over them.

Shape legend: ``B`` images, ``H`` x ``W`` pixels, ``c`` image channels, ``C`` channels
of the first stack, ``n`` cells in a stack, ``E = 10`` edges a cell, ``L`` classes.

The authors' network (Liao 2023; the paper draws none): a 3x3 convolution and batch
norm; ``repeats`` normal cells of ``C`` channels; twice a halving of the map and a
doubling of the channels, a reduction cell and ``repeats`` normal cells; the mean over
the map, dropout, ReLU, a linear decoder. All cells keep the map's size, reduction cells
too: halving is average pooling, a 1x1 convolution and batch norm between the stacks, of
each of the two outputs that the next cell reads. A cell's node 0 is the previous
output, node 1 the one before.

``select`` takes the weights that one genome uses out of all, ``restore`` puts changed
ones back: a training step costs what the genome uses, not what the supernet holds.
Kernels start by Kaiming's normal law, as in the authors' code, the decoder uniformly.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evojax_mtl.architectures.wiring import BLOCKS, PAIRS, Wiring
from evojax_mtl.networks import lines
from evojax_mtl.networks.batch_norm import batch_norm
from evojax_mtl.networks.cell_operations import CONVOLUTIONS, KERNEL
from evojax_mtl.networks.cell_tape import (
    StackMoments,
    StackPlan,
    StackWeights,
    run_stack,
)
from evojax_mtl.networks.convolution import convolution
from evojax_mtl.networks.lines import Lines

STACKS = 3
Tree = dict[str, Any]


def _normal(key: Array, *laws: tuple[tuple[int, ...], int]) -> list[Array]:
    """Kaiming's normal law, arrays of the given shapes and numbers of inputs.

    One flat draw: each draw of its own, or a shaped one, takes longer to compile.
    """
    sizes = [int(np.prod(shape)) for shape, _ in laws]
    draws = jnp.split(jax.random.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1])
    return [
        part.reshape(shape) * (2 / fan_in) ** 0.5
        for part, (shape, fan_in) in zip(draws, laws, strict=True)
    ]


def _affine(*shape: int) -> Tree:
    return {"scale": jnp.ones(shape), "bias": jnp.zeros(shape)}


def _moments(*shape: int) -> Array:
    """Mean 0, variance 1."""
    one = jnp.array([[0.0], [1.0]])
    return jnp.broadcast_to(one, (*shape[:-1], 2, shape[-1]))


def _framed(kernels: Sequence[Array]) -> Array:
    """All operations' depthwise kernels, in the middle of the largest one's frame."""
    parts = []
    for kernel in kernels:
        margin = (KERNEL - kernel.shape[2]) // 2
        frame = ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0))
        parts.append(jnp.pad(kernel, frame))
    return jnp.stack(parts, 2)


class CellSupernet(nn.Module):
    """Weights of all cells over one decoder, for one task.

    Attributes:
      channels: ``C``.
      classes: outputs ``L``.
      repeats: normal cells in a row.
    """

    channels: int
    classes: int
    repeats: int = 1

    def cells(self, stack: int) -> int:
        """Cells of a stack."""
        return self.repeats + (stack > 0)

    def width(self, stack: int) -> int:
        """Channels of a stack."""
        return self.channels * 2**stack

    def stack_weights(self, key: Array, stack: int) -> Tree:
        """All weights of a stack: ``edges`` ``(n, PAIRS, len(CONVOLUTIONS), ...)``."""
        n, width = self.cells(stack), self.width(stack)
        every = (n, PAIRS, len(CONVOLUTIONS))
        sides = [operation.kernel for operation in CONVOLUTIONS]
        *depthwise, pointwise, kernel = _normal(
            key,
            *(((n, PAIRS, side, side, width), side**2) for side in sides),
            ((*every, width, width), width),
            ((n, BLOCKS, width, width), width),
        )
        edges = {
            "depthwise": _framed(depthwise),
            "pointwise": pointwise,
            **_affine(*every, 2, width),
        }
        return {"edges": edges, "kernel": kernel, **_affine(n, width)}

    def stack_moments(self, stack: int) -> Tree:
        """Running statistics of a stack."""
        n, width = self.cells(stack), self.width(stack)
        edges = _moments(n, PAIRS, len(CONVOLUTIONS), 2, width)
        return {"edges": edges, "output": _moments(n, width)}

    def _halving(self, key: Array, stack: int) -> Tree:
        width = self.width(stack)
        (kernel,) = _normal(key, ((2, width, 2 * width), width))
        return {"kernel": kernel, **_affine(2, 2 * width)}

    def _stem(self, key: Array, image_channels: int) -> Tree:
        shape = (3, 3, image_channels, self.channels)
        (kernel,) = _normal(key, (shape, 9 * image_channels))
        return {"kernel": kernel, **_affine(self.channels)}

    def _decoder(self, key: Array) -> Tree:
        features = self.width(STACKS - 1)
        most = features**-0.5
        shape = (features + 1, self.classes)
        draws = jax.random.uniform(key, shape, minval=-most, maxval=most)
        return {"kernel": draws[:-1], "bias": draws[-1]}

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "B H W c"],
        wirings: Sequence[Wiring],
        *,
        running: bool,
    ) -> Float[Array, "B L"]:
        """Logits; ``running`` says whose statistics batch norms use.

        Statistics of the batch are not noted, and nothing is dropped: training goes
        by ``select`` and ``run_network``.
        """
        params: Tree = {"stem": self.param("stem", self._stem, images.shape[-1])}
        stats: Tree = {}

        def variable(name, start, *shape):
            return self.variable("batch_stats", name, start, *shape).value

        stats["stem"] = variable("stem", _moments, self.channels)
        for i in range(STACKS):
            name = f"stack_{i}"
            params[name] = self.param(name, self.stack_weights, i)
            stats[name] = variable(name, self.stack_moments, i)
        for i in range(STACKS - 1):
            name = f"halving_{i}"
            params[name] = self.param(name, self._halving, i)
            stats[name] = variable(name, _moments, 2, self.width(i + 1))
        params["decoder"] = self.param("decoder", self._decoder)
        if self.is_initializing():
            return jnp.zeros((len(images), self.classes))
        logits, _ = run_network(
            select(params, wirings),
            select(stats, wirings),
            wirings,
            images,
            running=running,
        )
        return logits


def _edge_rows(wiring: Wiring, task: Array | int) -> Int[Array, "nE"]:
    """Rows of the edges' weights among those of all cells, of all tasks."""
    cells = wiring.pair.shape[0]
    cell = jnp.arange(cells)[:, None] + cells * task
    operation = jnp.minimum(wiring.operation, len(CONVOLUTIONS) - 1)
    return ((cell * PAIRS + wiring.pair) * len(CONVOLUTIONS) + operation).ravel()


def _stack(name: str) -> int | None:
    return int(name.removeprefix("stack_")) if name.startswith("stack_") else None


def select(
    tree: Tree, wirings: Sequence[Wiring], task: Array | int | None = None
) -> Tree:
    """The part of weights, statistics or moments that one genome uses.

    Args:
      tree: as ``CellSupernet`` holds it; with ``task``, stacked over tasks.
      wirings: of each stack.
      task: which task's; None if the tree has no axis of tasks.

    Returns:
      The same tree, its ``edges`` of shape ``(n * E, ...)``.
    """

    def edge(leaf, rows):
        tail = leaf.shape[3 + (task is not None) :]
        return leaf.reshape(-1, *tail)[rows]

    def pick(leaf):
        return leaf if task is None else leaf[task]

    chosen = {}
    for name, branch in tree.items():
        stack = _stack(name)
        if stack is None:
            chosen[name] = jax.tree.map(pick, branch)
            continue
        rows = _edge_rows(wirings[stack], 0 if task is None else task)
        rest = {k: pick(leaf) for k, leaf in branch.items() if k != "edges"}
        edges = jax.tree.map(lambda leaf, rows=rows: edge(leaf, rows), branch["edges"])
        chosen[name] = {"edges": edges, **rest}
    return chosen


def restore(
    tree: Tree, chosen: Tree, wirings: Sequence[Wiring], task: Array | int
) -> Tree:
    """``tree``, stacked over tasks, with what ``select`` took replaced."""

    def put(leaf, value):
        return leaf.at[task].set(value)

    changed = {}
    for name, branch in tree.items():
        stack = _stack(name)
        if stack is None:
            changed[name] = jax.tree.map(put, branch, chosen[name])
            continue
        wiring = wirings[stack]
        own = wiring.slots().ravel() == jnp.arange(wiring.operation.size)
        own &= wiring.operation.ravel() < len(CONVOLUTIONS)
        nowhere = jnp.iinfo(jnp.int32).max
        rows = jnp.where(own, _edge_rows(wiring, task), nowhere)

        def edge(leaf, value, rows=rows):
            flat = leaf.reshape(-1, *leaf.shape[4:])
            return flat.at[rows].set(value, mode="drop").reshape(leaf.shape)

        changed[name] = {
            k: jax.tree.map(edge if k == "edges" else put, leaf, chosen[name][k])
            for k, leaf in branch.items()
        }
    return changed


class _Norms(NamedTuple):
    """Where batch norms get their statistics from."""

    running: bool
    axis: str | None


def _norm(x: Lines, weights: Tree, moments: Array, plan: _Norms, k: Any = ...) -> Any:
    scale, bias = weights["scale"][k], weights["bias"][k]
    if plan.running:
        return lines.normalize(x, moments, scale, bias), moments
    return batch_norm(x, scale, bias, plan.axis)


def halve(x: Lines, kernel: Float[Array, "I O"]) -> Float[Array, "B h Y"]:
    """2x2 average pooling, an odd edge cropped, and a 1x1 convolution.

    The columns are averaged by the product: it reads two of them at once.
    """
    channels = kernel.shape[0]
    height, width = x.shape[1] // 2, x.shape[2] // channels // 2
    x = x[:, : 2 * height, : 2 * width * channels]
    x = x.reshape(x.shape[0], height, 2, -1)
    return lines.pointwise(x[:, :, 0] + x[:, :, 1], jnp.tile(kernel / 4, (2, 1)))


def run_network(
    weights: Tree,
    moments: Tree,
    wirings: Sequence[Wiring],
    images: Float[Array, "B H W c"],
    *,
    running: bool,
    factors: Sequence[Float[Array, "_ E"]] | None = None,
    keep: Float[Array, "B D"] | None = None,
    axis: str | None = None,
) -> tuple[Float[Array, "B L"], Tree]:
    """Logits of one genome, and the statistics that its batch norms used.

    Args:
      weights: what ``select`` took.
      moments: running statistics, likewise.
      wirings: of each stack.
      images: of any size of at least 4 x 4.
      running: whether batch norms use ``moments``, not the batch's statistics; then
        there is no gradient.
      factors: of each edge's result, drop-path's; None for 1.
      keep: of each feature, dropout's; None for 1.
      axis: of devices that hold as many images of the batch each; None for one device.
    """
    norms = _Norms(running, axis)
    found: Tree = {}
    window = (1, 1), ((1, 1), (1, 1))
    x = convolution(images, weights["stem"]["kernel"], *window)
    x = x.reshape(*x.shape[:2], -1)
    x, found["stem"] = _norm(x, weights["stem"], moments["stem"], norms)
    pair = [x, x]
    for i, wiring in enumerate(wirings):
        if i > 0:
            name = f"halving_{i - 1}"
            own, used = weights[name], []
            for k in (0, 1):
                y = halve(pair[1 - k], own["kernel"][k])
                pair[1 - k], m = _norm(y, own, moments[name][k], norms, k)
                used.append(m)
            found[name] = jnp.stack(used)
        name = f"stack_{i}"
        stack = StackWeights(**weights[name])
        plan = StackPlan(wiring.source.shape[0], stack.scale.shape[-1], *norms)
        factor = jnp.ones(wiring.source.shape) if factors is None else factors[i]
        before, previous = pair
        given = StackMoments(**moments[name])
        *pair, m = run_stack(plan, stack, wiring, factor, before, previous, given)
        found[name] = {"edges": m.edges, "output": m.output}
    x = pair[1].reshape(images.shape[0], -1, weights["decoder"]["kernel"].shape[0])
    x = x.mean(1)
    x = jnp.maximum(x if keep is None else x * keep, 0)
    return x @ weights["decoder"]["kernel"] + weights["decoder"]["bias"], found
