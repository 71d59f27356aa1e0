"""Operations on sequences: what a layer of a network for texts applies.

Shape legend: ``S`` weight slots, ``B`` sequences, ``L`` steps, ``C`` channels read,
``U`` units computed.

The counterpart of ``operations`` for inputs with padding: each operation brings its own
backward pass and recomputes what it needs; under ``jax.vmap`` over slots, the nodes of
a block are one batched product a step. ``run`` makes it differentiable by itself. The
tape's layers on sequences, whose numbers are all data, are in ``sequence_layers``.

Layers are those of LEAF's text networks (Liang 2019, Table 3) that have weights:
Conv1D, LSTM and GRU, with a width in units that is data: of the units computed, those
beyond the width are 0 and get no gradient. Biases start as 0, those of an LSTM's forget
gate as 1 (Keras, which LEAF's networks are written for); kernels as Glorot's or He's
uniform, of a recurrent layer each gate's by itself. Differs from Keras, whose recurrent
weights start orthogonal: here they follow the gene for all weights.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.networks import sequences
from evojax_mtl.networks.sequences import Mask, Recurrent, Sequence

Params = Any
Width = Int[Array, ""]


class Fans(NamedTuple):
    """What the scale of random weights follows, traced.

    Attributes:
      inputs: channels that are not 0 in what the node reads.
      units: its width.
      he: whether the scale follows the inputs alone.
    """

    inputs: Array | int
    units: Array | int
    he: Array | bool = False


@runtime_checkable
class SequenceOperation(Protocol):
    """An operation that keeps a sequence's steps, with its own backward pass."""

    def init(
        self, key: Array, slots: int, inputs: int, units: int, fans: Fans | None = None
    ) -> Params:
        """Weights of all slots: a pytree whose leaves have a leading axis ``S``."""
        ...

    def forward(
        self, params: Params, x: Sequence, mask: Mask, width: Width
    ) -> Sequence:
        """The output, 0 at padded steps. ``params`` are those of one slot."""
        ...

    def backward(
        self, params: Params, x: Sequence, mask: Mask, width: Width, gradient: Sequence
    ) -> tuple[Params, Sequence]:
        """Gradients of the weights and the input."""
        ...


def _uniform(
    key: Array, shape: tuple[int, ...], window: int, fans: Fans
) -> Float[Array, "..."]:
    """Glorot's or He's uniform draw."""
    total = fans.inputs + jnp.where(fans.he, 0, fans.units)
    limit = jnp.sqrt(6 / (window * total))
    return limit * jax.random.uniform(key, shape, minval=-1.0)


def _keep(units: int, width: Width) -> Bool[Array, "U"]:
    return jnp.arange(units) < width


@dataclass(frozen=True)
class Conv1D:
    """Convolution over time (SAME, stride 1) and bias.

    Attributes:
      taps: of the kernel, odd (steps).
    """

    taps: int

    def init(
        self, key: Array, slots: int, inputs: int, units: int, fans: Fans | None = None
    ) -> Params:
        """``kernel``: ``(S, k, C, U)``; ``bias``: ``(S, U)``."""
        shape = (slots, self.taps, inputs, units)
        fans = fans or Fans(inputs, units)
        return {
            "kernel": _uniform(key, shape, self.taps, fans),
            "bias": jnp.zeros((slots, units)),
        }

    def forward(
        self, params: Params, x: Sequence, mask: Mask, width: Width
    ) -> Sequence:
        """``conv(x) + bias``."""
        x = sequences.masked(x, mask)
        y = sequences.conv_forward(x, params["kernel"]) + params["bias"]
        return sequences.masked(jnp.where(_keep(y.shape[-1], width), y, 0), mask)

    def backward(
        self, params: Params, x: Sequence, mask: Mask, width: Width, gradient: Sequence
    ) -> tuple[Params, Sequence]:
        """See ``SequenceOperation.backward``."""
        gradient = jnp.where(_keep(gradient.shape[-1], width), gradient, 0)
        gradient = sequences.masked(gradient, mask)
        x = sequences.masked(x, mask)
        update = {
            "kernel": sequences.conv_kernel_gradient(x, gradient, self.taps),
            "bias": gradient.sum((0, 1)),
        }
        dx = sequences.conv_input_gradient(gradient, params["kernel"])
        return update, sequences.masked(dx, mask)


_LAYERS = {
    "lstm": (4, sequences.lstm, sequences.lstm_gradients),
    "gru": (3, sequences.gru, sequences.gru_gradients),
}


@dataclass(frozen=True)
class RecurrentLayer:
    """Long short-term memory or gated recurrent unit: the state of every step.

    Attributes:
      kind: which of them.
    """

    kind: Literal["lstm", "gru"]

    def init(
        self, key: Array, slots: int, inputs: int, units: int, fans: Fans | None = None
    ) -> Params:
        """A ``Recurrent``; of an LSTM four gates, of a GRU three."""
        gates, *_ = _LAYERS[self.kind]
        fans = fans or Fans(inputs, units)
        own = Fans(fans.units, fans.units, fans.he)
        bias = jnp.zeros((slots, 4 * units))
        if self.kind == "lstm":
            bias = bias.at[:, units : 2 * units].set(1)
        keys = jax.random.split(key)
        return Recurrent(
            inputs=_uniform(keys[0], (slots, inputs, gates * units), 1, fans),
            states=_uniform(keys[1], (slots, units, gates * units), 1, own),
            bias=bias,
        )

    def forward(
        self, params: Params, x: Sequence, mask: Mask, width: Width
    ) -> Sequence:
        """See ``sequences.lstm`` and ``sequences.gru``."""
        _, states, _ = _LAYERS[self.kind]
        return states(params, x, mask, _keep(params.states.shape[0], width))

    def backward(
        self, params: Params, x: Sequence, mask: Mask, width: Width, gradient: Sequence
    ) -> tuple[Params, Sequence]:
        """See ``SequenceOperation.backward``."""
        _, _, gradients = _LAYERS[self.kind]
        keep = _keep(params.states.shape[0], width)
        return gradients(params, x, mask, keep, gradient)


@lru_cache(maxsize=64)
def _differentiable(operation: SequenceOperation) -> Any:
    @jax.custom_vjp
    def apply(params, x, mask, width):
        return operation.forward(params, x, mask, width)

    def forward(params, x, mask, width):
        return apply(params, x, mask, width), (params, x, mask, width)

    def backward(saved, gradient):
        params, x, mask, width = saved
        return (*operation.backward(params, x, mask, width, gradient), None, None)

    apply.defvjp(forward, backward)
    return apply


def run(
    operation: SequenceOperation,
    params: Params,
    x: Sequence,
    mask: Mask,
    width: Array | int,
) -> Sequence:
    """The output of an operation, differentiable by its own backward pass.

    Args:
      operation: what is applied.
      params: weights of one slot.
      x: what is read.
      mask: steps that are there.
      width: units that are (traced).
    """
    width = jnp.asarray(width, jnp.int32)
    return _differentiable(operation)(params, x, mask, width)


@jax.custom_vjp
def pool(x: Sequence, mask: Mask) -> Float[Array, "B l C"]:
    """``sequences.max_pool``, differentiable by its own backward pass."""
    return sequences.max_pool(x, mask)


def _pool_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, None]:
    return sequences.max_pool_gradient(*saved, gradient), None


pool.defvjp(lambda x, mask: (pool(x, mask), (x, mask)), _pool_backward)
