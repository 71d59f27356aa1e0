"""The tape of networks of layers: one program for every network of such layers.

Shape legend: ``P`` networks, ``T`` inputs, ``B`` examples, ``L`` steps, ``G`` groups of
examples (of one task), ``...`` the axes of a map at resolution ``r`` (height and width,
or steps), ``C`` channels, ``F`` weights.

As ``tape``, whose schedule, buffers and reverse pass these are, but a node is a layer
whose numbers are data: the branch computes nothing but the product by one kernel, for
so many output channels, or a recurrent layer; bias, activation, dropout and the mask of
a bucket follow in code that all branches share. What layers there are, and how maps are
pooled, is a ``LayerSet``: of images, or of sequences with a mask of the steps that are
there. Edges have a weight a group, since tasks soft-merge by scales of their own.

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
from evojax_mtl.networks.dropout import (
    LEVELS,
    dropout_seed,
    keep_threshold,
    seeded_dropout,
)
from evojax_mtl.networks.layer_sets import Call, LayerSet, Mask
from evojax_mtl.networks.layer_weights import Layout
from evojax_mtl.networks.tape import at, pad_channels, put, zeros
from evojax_mtl.pytrees import Pytree

Buffers = list[Float[Array, "_ B ... C"]]


@dataclass(frozen=True)
class LayerPlan:
    """What the executor is compiled for.

    Attributes:
      kinds: what layers there are.
      capacities: rows of each resolution's buffer.
    """

    kinds: LayerSet
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
    network: Network,
    lies: Layout,
    rate: Float[Array, ""] | float = 1.0,
    *,
    kinds: LayerSet,
) -> Nodes:
    """The numbers of one network's nodes.

    Args:
      network: the network.
      lies: its weights.
      rate: factor of the rates of dropout; 0 to evaluate.
      kinds: what layers there are.
    """
    architecture, layers = network.architecture, network.layers
    merges = architecture.operation == MERGE
    count = merges.shape[0]
    learned = architecture.edge
    if not kinds.learned_input:
        learned = learned & (architecture.source != INPUT)
    passes = jnp.zeros(count, bool).at[architecture.target].max(learned)
    return Nodes(
        begin=lies.begin,
        slot=architecture.slot,
        filters=layers.filters,
        biased=jnp.where(kinds.biased(network), layers.filters, 0),
        activation=coefficients(layers.activation),
        threshold=keep_threshold(layers.dropout * rate),
        merges=merges,
        passes=passes,
    )


def _spread(weight: Float[Array, "G"], row: Array) -> Array:
    """A weight a group as one an example."""
    each = jnp.repeat(weight, row.shape[0] // weight.shape[0])
    return each.reshape(-1, *[1] * (row.ndim - 1))


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


def _forward_pass(
    plan: LayerPlan,
    params: dict[str, Array],
    weights: Float[Array, "PE G"],
    inputs: Float[Array, "T B *space c"],
    mask: Mask,
    schedule: Schedule,
    nodes: Nodes,
    key: Array,
) -> tuple[Float[Array, "P B *coarsest C"], Buffers]:
    """Outputs of the networks, and the buffers that the backward pass needs."""
    buffers: Buffers = []
    kinds, resolutions = plan.kinds, len(plan.capacities)
    batch, channels = inputs.shape[1], kinds.map
    spaces = kinds.spaces(inputs.shape[2:-1], resolutions)
    masks = kinds.masks(mask, resolutions)
    seeds = jax.vmap(dropout_seed, (None, 0))(key, schedule.identity)
    channel = jnp.arange(channels)

    for r, space in enumerate(spaces):
        shape = (plan.capacities[r], batch, *space, channels)
        buffer = zeros(shape, inputs.dtype, weights[:, 0], 2 * r)

        def bring(i, buffer, r=r):
            source = at(schedule.import_source[r], i)
            if r == 0:
                value = pad_channels(at(inputs, source), channels)
            else:
                value = kinds.pool(at(buffers[r - 1], source), masks[r - 1])
            return put(buffer, value, i)

        def apply(i, buffer, r=r):
            node = at(schedule.node, schedule.begin[r] + i)
            x = _gather(buffer, weights, schedule, node)
            bias = at(params["biases"], at(nodes.slot, node))
            call = _call(schedule, nodes, node)
            z = kinds.forward(r, params["kernels"], bias, call, x, masks[r])
            own = bias[:channels]
            z = z + jnp.where(channel < at(nodes.biased, node), own, 0)
            y = activate(z, at(nodes.activation, node))
            y = jnp.where(channel < at(nodes.filters, node), y, 0)
            threshold = at(nodes.threshold, node)
            y = seeded_dropout(at(seeds, node), y, threshold)
            return put(buffer, y, at(schedule.row, node))

        buffer = jax.lax.fori_loop(0, schedule.imports[r], bring, buffer)
        buffer = jax.lax.fori_loop(0, schedule.nodes[r], apply, buffer)
        buffers.append(buffer)

    def output(node):
        return _gather(buffers[-1], weights, schedule, node)

    return jax.lax.map(output, schedule.output), buffers


def _call(schedule: Schedule, nodes: Nodes, node: Array) -> Call:
    return Call(
        kind=at(schedule.operation, node),
        begin=at(nodes.begin, node),
        filters=at(nodes.filters, node),
        passes=at(nodes.passes, node),
    )


def _backward_pass(
    plan: LayerPlan,
    params: dict[str, Array],
    weights: Float[Array, "PE G"],
    inputs: Float[Array, "T B *space c"],
    mask: Mask,
    schedule: Schedule,
    nodes: Nodes,
    key: Array,
    buffers: Buffers,
    gradient: Float[Array, "P B *coarsest C"],
) -> tuple[dict[str, Array], Float[Array, "PE G"], Any]:
    """Gradients of weights, of edge weights, and of inputs that are learned."""
    last, groups = len(buffers) - 1, weights.shape[1]
    kinds = plan.kinds
    masks = kinds.masks(mask, len(buffers))
    channels = kinds.map
    seeds = jax.vmap(dropout_seed, (None, 0))(key, schedule.identity)
    channel = jnp.arange(channels)

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
            received = seeded_dropout(at(seeds, node), received, threshold)
            y = y * (threshold / LEVELS)
            dz = received * slope(y, at(nodes.activation, node))
            dz = jnp.where(channel < at(nodes.filters, node), dz, 0)
            call, slot = _call(schedule, nodes, node), at(nodes.slot, node)
            everywhere = tuple(range(dz.ndim - 1))
            bias = jnp.where(channel < at(nodes.biased, node), dz.sum(everywhere), 0)
            update, inner, dx = kinds.backward(
                r, params["kernels"], at(params["biases"], slot), call, x, masks[r], dz
            )
            if inner is not None:
                bias = inner.at[:channels].add(bias)
            biases = gradients["biases"]
            biases = put(biases, at(biases, slot) + bias, slot)
            total = gradients["kernels"]
            sofar = jax.lax.dynamic_slice(
                total, (call.begin,), update.shape, allow_negative_indices=False
            )
            total = jax.lax.dynamic_update_slice(
                total, sofar + update, (call.begin,), allow_negative_indices=False
            )

            g, edges = scatter(r, g, edges, node, dx, call.passes)
            return g, {"kernels": total, "biases": biases}, edges

        carry = (g, gradients, edges)
        g, gradients, edges = jax.lax.fori_loop(0, schedule.nodes[r], reverse, carry)
        if r > 0:

            def pull(i, below, r=r, g=g):
                row, y = at(schedule.import_source[r], i), at(buffers[r], i)
                x = at(buffers[r - 1], row)
                dx = kinds.pool_gradient(x, y, at(g, i), masks[r - 1])
                total = at(below, row) + jax.lax.optimization_barrier(dx)
                return put(below, total, row)

            g = jax.lax.fori_loop(0, schedule.imports[r], pull, cleared(r - 1))
    if not kinds.learned_input:
        return gradients, edges, None

    def given(i, total):
        own = at(g, i)[..., : inputs.shape[-1]]
        return put(total, own, at(schedule.import_source[0], i))

    given = jax.lax.fori_loop(0, schedule.imports[0], given, jnp.zeros_like(inputs))
    return gradients, edges, given


@lru_cache(maxsize=64)
def _differentiable(plan: LayerPlan) -> Any:
    forward = batchable(partial(_forward_pass, plan))
    backward = batchable(partial(_backward_pass, plan))

    @jax.custom_vjp
    def run(params, weights, inputs, mask, schedule, nodes, key):
        return forward(params, weights, inputs, mask, schedule, nodes, key)[0]

    def run_forward(*arguments):
        out, buffers = forward(*arguments)
        return out, (*arguments, buffers)

    def run_backward(saved, gradient):
        gradients, edges, given = backward(*saved, gradient)
        return gradients, edges, given, None, None, None, None

    run.defvjp(run_forward, run_backward)
    return run


def execute_layers(
    plan: LayerPlan,
    params: dict[str, Array],
    weights: Float[Array, "PE G"],
    inputs: Float[Array, "T B *space c"],
    schedule: Schedule,
    nodes: Nodes,
    key: Array,
    mask: Mask = None,
) -> Float[Array, "P B *coarsest C"]:
    """What the decoders of all networks read.

    Args:
      plan: what is static.
      params: ``kernels`` and ``biases``, as ``layer_weights.initial`` makes them.
      weights: of every edge for each group of examples: soft-merge weights, or 1.
      inputs: images or sequences, ``B`` a multiple of ``G``; they get a gradient where
        ``plan.kinds.learned_input``.
      schedule: work lists, made with ``plan.capacities`` and ``stems=False``.
      nodes: numbers of the nodes.
      key: dropout's.
      mask: of sequences, of which there is one input, the steps that are there.
    """
    ordered = weights[schedule.edge_order]
    run = _differentiable(plan)
    return run(params, ordered, inputs, mask, schedule, nodes, key)
