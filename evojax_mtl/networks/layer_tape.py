"""The tape of networks of layers: one program for every network of convolutions.

Shape legend: ``P`` networks, ``T`` inputs, ``B`` examples, ``G`` groups of examples (of
one task), ``H`` x ``W`` map at resolution ``r``, ``C`` channels, ``F`` weights.

As ``tape``, whose schedule, buffers and reverse pass these are, but a node is a
convolution whose numbers are data: the branch computes nothing but the product by one
kernel, for so many output channels; bias, activation, dropout and the mask of a bucket
follow in code that all branches share. Edges have a weight a group, since tasks
soft-merge by scales of their own.

Activations are one formula of three numbers, ``a z`` above 0 and ``b (e^z - 1) + c z``
below, so that the output tells the slope. Dropout's mask is drawn again in the backward
pass. Nodes that read nothing learned pass no gradient on.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.layers import MERGE, Network
from evojax_mtl.architectures.schedule import Schedule
from evojax_mtl.architectures.table import INPUT
from evojax_mtl.networks.activations import activate, coefficients, slope
from evojax_mtl.networks.batching import batchable
from evojax_mtl.networks.convolution import (
    conv_forward,
    conv_input_gradient,
    conv_kernel_gradient,
)
from evojax_mtl.networks.dropout import (
    LEVELS,
    dropout_seed,
    keep_threshold,
    seeded_dropout,
)
from evojax_mtl.networks.layer_weights import Channels, Layout
from evojax_mtl.networks.pooling import max_pool, max_pool_gradient
from evojax_mtl.networks.tape import at, pad_channels, put, zeros
from evojax_mtl.pytrees import Pytree

Buffers = list[Float[Array, "_ B _ _ C"]]


@dataclass(frozen=True)
class LayerPlan:
    """What the executor is compiled for.

    Attributes:
      channels: widths.
      capacities: rows of each resolution's buffer.
    """

    channels: Channels
    capacities: tuple[int, ...]


class Nodes(Pytree):
    """Numbers of the nodes of all networks, ``(PN,)``.

    Attributes:
      begin: first weight of the kernel.
      slot: row of the bias.
      filters: output channels that are not masked.
      biased: output channels that have a bias.
      activation: the three numbers.
      threshold: dropout's, see ``keep_threshold``.
      merges: whether gradients of the weights of its edges are wanted.
      passes: whether what it reads has a gradient.
    """

    begin: Int[Array, "PN"]
    slot: Int[Array, "PN"]
    filters: Int[Array, "PN"]
    biased: Int[Array, "PN"]
    activation: Float[Array, "PN 3"]
    threshold: Int[Array, "PN"]
    merges: Bool[Array, "PN"]
    passes: Bool[Array, "PN"]


def numbers(
    network: Network, lies: Layout, rate: Float[Array, ""] | float = 1.0
) -> Nodes:
    """The numbers of one network's nodes.

    Args:
      network: the network.
      lies: its weights.
      rate: factor of the rates of dropout; 0 to evaluate.
    """
    architecture, layers = network.architecture, network.layers
    merges = architecture.operation == MERGE
    count = merges.shape[0]
    learned = architecture.edge & (architecture.source != INPUT)
    passes = jnp.zeros(count, bool).at[architecture.target].max(learned)
    return Nodes(
        begin=lies.begin,
        slot=architecture.slot,
        filters=layers.filters,
        biased=jnp.where(merges, 0, layers.filters),
        activation=coefficients(layers.activation),
        threshold=keep_threshold(layers.dropout * rate),
        merges=merges,
        passes=passes,
    )


def _spread(weight: Float[Array, "G"], row: Array) -> Array:
    """A weight a group as one an example."""
    each = jnp.repeat(weight, row.shape[0] // weight.shape[0])
    return each[:, None, None, None]


def _gather(buffer: Array, weights: Array, schedule: Schedule, node: Array) -> Array:
    begin = at(schedule.edge_begin, node)

    def term(edge):
        row = at(buffer, at(schedule.edge_row, edge))
        return _spread(at(weights, edge), row) * row

    return jax.lax.fori_loop(
        1,
        at(schedule.edges, node),
        lambda j, total: total + term(begin + j),
        term(begin),
    )


def _kernel(kernels: Array, begin: Array, shape: tuple[int, int, int]) -> Array:
    side, inputs, outputs = shape
    size = side * side * inputs * outputs
    flat = jax.lax.dynamic_slice(
        kernels, (begin,), (size,), allow_negative_indices=False
    )
    return flat.reshape(side, side, inputs, outputs)


def _operations(plan: LayerPlan, r: int) -> list[tuple[int, int, int]]:
    """The convolutions there are at a resolution: images are at the first alone."""
    return plan.channels.operations if r == 0 else plan.channels.of_maps


def _forward(plan: LayerPlan, r: int, kernels: Array, begin: Array, kind: Array, x):
    """The product of a node's kernel, or ``x`` itself for a merge."""

    def convolve(shape, begin, x):
        kernel = _kernel(kernels, begin, shape)
        return pad_channels(conv_forward(x[..., : shape[1]], kernel), x.shape[-1])

    convolutions = [partial(convolve, shape) for shape in _operations(plan, r)]
    branches = [lambda begin, x: x, *convolutions]
    return jax.lax.switch(kind, branches, begin, x)


def _kernel_gradient(plan: LayerPlan, r: int, kind: Array, x, gradient):
    """The kernel's gradient, padded to the largest kernel."""
    largest = plan.channels.largest

    def convolve(shape, x, gradient):
        side, inputs, outputs = shape
        found = conv_kernel_gradient(
            x[..., :inputs], gradient[..., :outputs], (side, side)
        ).ravel()
        return jnp.pad(found, (0, largest - found.size))

    convolutions = [partial(convolve, shape) for shape in _operations(plan, r)]
    branches = [lambda x, gradient: jnp.zeros(largest, x.dtype), *convolutions]
    return jax.lax.switch(kind, branches, x, gradient)


def _input_gradient(
    plan: LayerPlan, kernels: Array, begin: Array, kind: Array, passes: Array, gradient
):
    """The input's gradient, which nodes that read an image alone do not need."""

    def convolve(shape, begin, gradient):
        kernel = _kernel(kernels, begin, shape)
        return conv_input_gradient(gradient[..., : shape[2]], kernel)

    convolutions = [partial(convolve, shape) for shape in _operations(plan, 1)]
    branches = [
        lambda begin, gradient: jnp.zeros_like(gradient),
        lambda begin, gradient: gradient,
        *convolutions,
    ]
    return jax.lax.switch(jnp.where(passes, kind + 1, 0), branches, begin, gradient)


def _sizes(plan: LayerPlan, inputs: Array) -> list[tuple[int, int]]:
    height, width = inputs.shape[2:4]
    return [(height >> r, width >> r) for r in range(len(plan.capacities))]


def _forward_pass(
    plan: LayerPlan,
    params: dict[str, Array],
    weights: Float[Array, "PE G"],
    inputs: Float[Array, "T B H W c"],
    schedule: Schedule,
    nodes: Nodes,
    key: Array,
) -> tuple[Float[Array, "P B h w C"], Buffers]:
    """Outputs of the networks, and the buffers that the backward pass needs."""
    buffers: Buffers = []
    batch, channels = inputs.shape[1], plan.channels.map
    seeds = jax.vmap(dropout_seed, (None, 0))(key, schedule.identity)
    channel = jnp.arange(channels)

    for r, (height, width) in enumerate(_sizes(plan, inputs)):
        shape = (plan.capacities[r], batch, height, width, channels)
        buffer = zeros(shape, inputs.dtype, weights[:, 0], 2 * r)

        def bring(i, buffer, r=r):
            source = at(schedule.import_source[r], i)
            if r == 0:
                value = pad_channels(at(inputs, source), channels)
            else:
                value = max_pool(at(buffers[r - 1], source))
            return put(buffer, value, i)

        def apply(i, buffer, r=r):
            node = at(schedule.node, schedule.begin[r] + i)
            x = _gather(buffer, weights, schedule, node)
            kind = at(schedule.operation, node)
            z = _forward(plan, r, params["kernels"], at(nodes.begin, node), kind, x)
            bias = at(params["biases"], at(nodes.slot, node))
            z = z + jnp.where(channel < at(nodes.biased, node), bias, 0)
            y = activate(z, at(nodes.activation, node))
            y = jnp.where(channel < at(nodes.filters, node), y, 0)
            threshold = at(nodes.threshold, node)
            y = _drop(y, at(seeds, node), threshold)
            return put(buffer, y, at(schedule.row, node))

        buffer = jax.lax.fori_loop(0, schedule.imports[r], bring, buffer)
        buffer = jax.lax.fori_loop(0, schedule.nodes[r], apply, buffer)
        buffers.append(buffer)

    def output(node):
        return _gather(buffers[-1], weights, schedule, node)

    return jax.lax.map(output, schedule.output), buffers


def _drop(y: Array, seed: Array, threshold: Array) -> Array:
    return jax.lax.cond(
        threshold < LEVELS,
        lambda y: seeded_dropout(seed, y, threshold),
        lambda y: y,
        y,
    )


def _backward_pass(
    plan: LayerPlan,
    params: dict[str, Array],
    weights: Float[Array, "PE G"],
    schedule: Schedule,
    nodes: Nodes,
    key: Array,
    buffers: Buffers,
    gradient: Float[Array, "P B h w C"],
) -> tuple[dict[str, Array], Float[Array, "PE G"]]:
    """Gradients of kernels, biases and edge weights."""
    last, groups = len(buffers) - 1, weights.shape[1]
    seeds = jax.vmap(dropout_seed, (None, 0))(key, schedule.identity)
    channel = jnp.arange(plan.channels.map)
    kernels = params["kernels"]

    def cleared(r):
        return zeros(buffers[r].shape, buffers[r].dtype, weights[:, 0], 2 * r + 1)

    def scatter(r, g, edges, node, gradient, passes):
        begin, count = at(schedule.edge_begin, node), at(schedule.edges, node)
        merges = at(nodes.merges, node)

        def add(j, carry):
            g, edges = carry
            edge = begin + j
            row = at(schedule.edge_row, edge)
            share = _spread(at(weights, edge), gradient) * gradient
            g = put(g, at(g, row) + share, row)

            def measured():
                both = at(buffers[r], row) * gradient
                return both.reshape(groups, -1).sum(1)

            # the weight of a lone edge is 1 whatever its logit
            found = jax.lax.cond(
                merges & (count > 1), measured, lambda: jnp.zeros(groups, edges.dtype)
            )
            return g, put(edges, found, edge)

        return jax.lax.fori_loop(0, jnp.where(passes, count, 0), add, (g, edges))

    def output(p, carry):
        g, edges = carry
        node = at(schedule.output, p)
        return scatter(last, g, edges, node, at(gradient, p), jnp.array(True))

    gradients = jax.tree.map(jnp.zeros_like, params)
    carry = (cleared(last), jnp.zeros_like(weights))
    g, edges = jax.lax.fori_loop(0, gradient.shape[0], output, carry)
    for r in range(last, -1, -1):

        def reverse(q, carry, r=r):
            g, gradients, edges = carry
            node = at(schedule.node, schedule.begin[r] + schedule.nodes[r] - 1 - q)
            x = _gather(buffers[r], weights, schedule, node)
            row, threshold = at(schedule.row, node), at(nodes.threshold, node)
            y, received = at(buffers[r], row), at(g, row)
            # without the barrier XLA reads the row of g where it is used, after g has
            # changed, and to that end copies all of g at every node
            y, received, g = jax.lax.optimization_barrier((y, received, g))
            received = _drop(received, at(seeds, node), threshold)
            y = y * (threshold / LEVELS)
            dz = received * slope(y, at(nodes.activation, node))
            dz = jnp.where(channel < at(nodes.filters, node), dz, 0)
            kind, begin = at(schedule.operation, node), at(nodes.begin, node)
            slot = at(nodes.slot, node)
            bias = jnp.where(channel < at(nodes.biased, node), dz.sum((0, 1, 2)), 0)
            biases = gradients["biases"]
            biases = put(biases, at(biases, slot) + bias, slot)
            update = _kernel_gradient(plan, r, kind, x, dz)
            total = gradients["kernels"]
            sofar = jax.lax.dynamic_slice(
                total, (begin,), update.shape, allow_negative_indices=False
            )
            total = jax.lax.dynamic_update_slice(
                total, sofar + update, (begin,), allow_negative_indices=False
            )

            passes = at(nodes.passes, node)
            dx = _input_gradient(plan, kernels, begin, kind, passes, dz)
            g, edges = scatter(r, g, edges, node, dx, passes)
            return g, {"kernels": total, "biases": biases}, edges

        carry = (g, gradients, edges)
        g, gradients, edges = jax.lax.fori_loop(0, schedule.nodes[r], reverse, carry)
        if r > 0:

            def pull(i, below, r=r, g=g):
                row, y = at(schedule.import_source[r], i), at(buffers[r], i)
                x = at(buffers[r - 1], row)
                dx = max_pool_gradient(x, y, at(g, i))
                total = at(below, row) + jax.lax.optimization_barrier(dx)
                return put(below, total, row)

            g = jax.lax.fori_loop(0, schedule.imports[r], pull, cleared(r - 1))
    return gradients, edges


@lru_cache(maxsize=64)
def _differentiable(plan: LayerPlan) -> Any:
    forward = batchable(partial(_forward_pass, plan))
    backward = batchable(partial(_backward_pass, plan))

    @jax.custom_vjp
    def run(params, weights, inputs, schedule, nodes, key):
        return forward(params, weights, inputs, schedule, nodes, key)[0]

    def run_forward(params, weights, inputs, schedule, nodes, key):
        out, buffers = forward(params, weights, inputs, schedule, nodes, key)
        return out, (params, weights, schedule, nodes, key, buffers)

    def run_backward(saved, gradient):
        gradients, edges = backward(*saved, gradient)
        return gradients, edges, None, None, None, None

    run.defvjp(run_forward, run_backward)
    return run


def execute_layers(
    plan: LayerPlan,
    params: dict[str, Array],
    weights: Float[Array, "PE G"],
    inputs: Float[Array, "T B H W c"],
    schedule: Schedule,
    nodes: Nodes,
    key: Array,
) -> Float[Array, "P B h w C"]:
    """What the decoders of all networks read.

    Args:
      plan: what is static.
      params: ``kernels`` and ``biases``, as ``layer_weights.initial`` makes them.
      weights: of every edge for each group of examples: soft-merge weights, or 1.
      inputs: images, ``B`` a multiple of ``G``; they get no gradient.
      schedule: work lists, made with ``plan.capacities`` and ``stems=False``.
      nodes: numbers of the nodes.
      key: dropout's.
    """
    ordered = weights[schedule.edge_order]
    return _differentiable(plan)(params, ordered, inputs, schedule, nodes, key)
