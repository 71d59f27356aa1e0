"""Sequences with padding: convolution over time, recurrent layers, pooling; gradients.

Shape legend: ``B`` sequences, ``L`` steps, ``l = L // 2``, ``C`` channels read, ``U``
units, ``k`` taps.

A mask tells the steps that are there; they come first. What a padded step holds does
not matter: nothing reads it, no gradient goes to it, and outputs are 0 there. A
recurrent layer's weights are side by side, gate by gate; all products that do not wait
for the step before, and all gradients of weights, are one matrix product for the whole
sequence. Backward passes compute states and gates anew: nothing but the input need be
kept.

``keep`` masks units: those beyond a layer's width stay 0, as if they were not there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Sequence = Float[Array, "B L _"]
Mask = Bool[Array, "B L"]
Keep = Bool[Array, "U"]
Step = Float[Array, "B _"]


def masked(x: Sequence, mask: Mask) -> Sequence:
    """0 where there is no step."""
    return jnp.where(mask[..., None], x, 0)


def _patches(x: Sequence, taps: int) -> Sequence:
    """What each step's convolution reads, tap by tap (SAME)."""
    margin = taps // 2
    padded = jnp.pad(x, ((0, 0), (margin, margin), (0, 0)))
    length = x.shape[1]
    return jnp.concatenate([padded[:, t : t + length] for t in range(taps)], axis=-1)


def conv_forward(x: Sequence, kernel: Float[Array, "k C U"]) -> Sequence:
    """Convolution over time (SAME, stride 1) of a masked input."""
    taps, inputs, units = kernel.shape
    return _patches(x, taps) @ kernel.reshape(taps * inputs, units)


def conv_input_gradient(
    gradient: Sequence, kernel: Float[Array, "k C U"]
) -> Float[Array, "B L C"]:
    """The gradient of what ``conv_forward`` reads."""
    return conv_forward(gradient, kernel[::-1].swapaxes(1, 2))


def conv_kernel_gradient(
    x: Sequence, gradient: Sequence, taps: int
) -> Float[Array, "k C U"]:
    """The gradient of the kernel of ``conv_forward``."""
    found = _outer(_patches(x, taps), gradient)
    return found.reshape(taps, x.shape[-1], gradient.shape[-1])


def _outer(a: Sequence, b: Sequence) -> Float[Array, "_ _"]:
    """The sum over steps and sequences of all products of channels."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


class Recurrent(NamedTuple):
    """Weights of a recurrent layer of ``G`` gates.

    Attributes:
      inputs: of what it reads.
      states: of its own output of the step before.
      bias: of the gates; a GRU's last is that of its candidate's state.
    """

    inputs: Float[Array, "C GU"]
    states: Float[Array, "U GU"]
    bias: Float[Array, "4U"]


def _over_time(x: Array) -> Array:
    return x.swapaxes(0, 1)


def _start(x: Sequence, units: int) -> Step:
    return jnp.zeros((x.shape[0], units), x.dtype)


def _lstm_states(weights: Recurrent, x: Sequence, mask: Mask, keep: Keep) -> tuple:
    """States and cells before each step and after it, and its gates, over time."""
    units = keep.shape[0]
    drive = _over_time(masked(x, mask)) @ weights.inputs + weights.bias

    def step(carry, now):
        state, cell = carry
        drive, there = now
        i, f, g, o = jnp.split(drive + state @ weights.states, 4, axis=-1)
        i, f, o, g = *map(jax.nn.sigmoid, (i, f, o)), jnp.tanh(g)
        new_cell = f * cell + i * g
        new_state = jnp.where(keep, o * jnp.tanh(new_cell), 0)
        after = (
            jnp.where(there[:, None], new_state, state),
            jnp.where(there[:, None], new_cell, cell),
        )
        return after, (state, cell, *after, (i, f, g, o))

    start = _start(x, units), _start(x, units)
    return jax.lax.scan(step, start, (drive, _over_time(mask)))[1]


def lstm(weights: Recurrent, x: Sequence, mask: Mask, keep: Keep) -> Sequence:
    """The states of a long short-term memory; gates input, forget, cell, output."""
    *_, state, _, _ = _lstm_states(weights, x, mask, keep)
    return masked(_over_time(state), mask)


def lstm_gradients(
    weights: Recurrent, x: Sequence, mask: Mask, keep: Keep, gradient: Sequence
) -> tuple[Recurrent, Sequence]:
    """Gradients of the weights and of the input."""
    before, cell_before, _, cell, gates = _lstm_states(weights, x, mask, keep)

    def step(carry, now):
        dstate, dcell = carry
        gradient, there, cell_before, cell, (i, f, g, o) = now
        total = jnp.where(keep, dstate + gradient, 0)
        outer = jnp.tanh(cell)
        dc = dcell + total * o * (1 - outer**2)
        there = there[:, None]
        dgates = (
            dc * g * i * (1 - i),
            dc * cell_before * f * (1 - f),
            dc * i * (1 - g**2),
            total * outer * o * (1 - o),
        )
        dgates = tuple(jnp.where(there, part, 0) for part in dgates)
        back = jnp.concatenate(dgates, -1) @ weights.states.T
        after = jnp.where(there, back, dstate), jnp.where(there, dc * f, dcell)
        return after, dgates

    start = _start(x, keep.shape[0]), _start(x, keep.shape[0])
    received, there = _over_time(masked(gradient, mask)), _over_time(mask)
    over = received, there, cell_before, cell, gates
    _, dgates = jax.lax.scan(step, start, over, reverse=True)
    dgates = jnp.concatenate(dgates, -1)
    update = Recurrent(
        inputs=_outer(_over_time(masked(x, mask)), dgates),
        states=_outer(before, dgates),
        bias=dgates.sum((0, 1)),
    )
    return update, _over_time(dgates @ weights.inputs.T)


def _gru_states(weights: Recurrent, x: Sequence, mask: Mask, keep: Keep) -> tuple:
    """States before each step and after it, its gates, and the candidate's state."""
    units = keep.shape[0]
    bias, inner = weights.bias[: 3 * units], weights.bias[3 * units :]
    drive = _over_time(masked(x, mask)) @ weights.inputs + bias

    def step(state, now):
        drive, there = now
        own = state @ weights.states
        dr, dz, dn = jnp.split(drive, 3, axis=-1)
        hr, hz, hn = jnp.split(own, 3, axis=-1)
        hn = hn + inner
        r, z = jax.nn.sigmoid(dr + hr), jax.nn.sigmoid(dz + hz)
        n = jnp.tanh(dn + r * hn)
        new = jnp.where(keep, (1 - z) * n + z * state, 0)
        after = jnp.where(there[:, None], new, state)
        return after, (state, after, (r, z, n), hn)

    return jax.lax.scan(step, _start(x, units), (drive, _over_time(mask)))[1]


def gru(weights: Recurrent, x: Sequence, mask: Mask, keep: Keep) -> Sequence:
    """The states of a gated recurrent unit; gates reset, update, candidate.

    The reset gate acts on the product with the state, bias included (Flax, PyTorch).
    """
    _, state, _, _ = _gru_states(weights, x, mask, keep)
    return masked(_over_time(state), mask)


def gru_gradients(
    weights: Recurrent, x: Sequence, mask: Mask, keep: Keep, gradient: Sequence
) -> tuple[Recurrent, Sequence]:
    """Gradients of the weights and of the input."""
    before, _, gates, inner = _gru_states(weights, x, mask, keep)

    def step(dstate, now):
        gradient, there, state, (r, z, n), hn = now
        there = there[:, None]
        total = jnp.where(keep, dstate + gradient, 0)
        counted = jnp.where(there, total, 0)
        dn = counted * (1 - z) * (1 - n**2)
        dz = counted * (state - n) * z * (1 - z)
        dr = dn * hn * r * (1 - r)
        inner = dn * r
        back = jnp.concatenate([dr, dz, inner], -1) @ weights.states.T
        after = jnp.where(there, total * z + back, dstate)
        return after, (dr, dz, dn, inner)

    received, there = _over_time(masked(gradient, mask)), _over_time(mask)
    over = received, there, before, gates, inner
    start = _start(x, keep.shape[0])
    _, (dr, dz, dn, dinner) = jax.lax.scan(step, start, over, reverse=True)
    driven = jnp.concatenate([dr, dz, dn], -1)
    update = Recurrent(
        inputs=_outer(_over_time(masked(x, mask)), driven),
        states=_outer(before, jnp.concatenate([dr, dz, dinner], -1)),
        bias=jnp.concatenate([driven.sum((0, 1)), dinner.sum((0, 1))]),
    )
    return update, _over_time(driven @ weights.inputs.T)


def pooled_mask(mask: Mask) -> Bool[Array, "B l"]:
    """The steps that are there after ``max_pool``."""
    return _pairs(mask)[0] | _pairs(mask)[1]


def _pairs(x: Array) -> tuple[Array, Array]:
    even = x.shape[1] // 2 * 2
    return x[:, 0:even:2], x[:, 1:even:2]


def max_pool(x: Sequence, mask: Mask) -> Float[Array, "B l C"]:
    """The larger of every two steps that are there; the last of an odd number goes."""
    first, second = _pairs(jnp.where(mask[..., None], x, -jnp.inf))
    return masked(jnp.maximum(first, second), pooled_mask(mask))


def max_pool_gradient(
    x: Sequence, mask: Mask, gradient: Float[Array, "B l C"]
) -> Sequence:
    """The gradient of ``max_pool``'s input; of equal values the first receives it."""
    first, second = _pairs(jnp.where(mask[..., None], x, -jnp.inf))
    gradient = masked(gradient, pooled_mask(mask))
    later = second > first
    both = jnp.stack([jnp.where(later, 0, gradient), jnp.where(later, gradient, 0)], 2)
    found = both.reshape(x.shape[0], -1, x.shape[2])
    return jnp.pad(found, ((0, 0), (0, x.shape[1] - found.shape[1]), (0, 0)))


def mean_over_time(x: Sequence, mask: Mask) -> Step:
    """The mean of the steps that are there; 0 where there is none."""
    count = jnp.maximum(mask.sum(1), 1)[:, None]
    return masked(x, mask).sum(1) / count
