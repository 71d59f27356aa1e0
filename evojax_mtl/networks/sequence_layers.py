"""Layers on sequences with padding: Conv1D, LSTM, GRU and Dropout (Liang 2019, T. 3).

Shape legend: as in ``layer_sets``; a map's one axis are its ``L`` steps. ``U`` units of
a bucket.

Convolutions of all taps are one branch for each bucket, which adds up one product a
tap: the cost follows the taps. A recurrent layer's weights are those of what it reads,
``(C, gU)``, then those of its states, ``(U, gU)``; its biases are four parts of ``C``
(``sequences.Recurrent``). It has no activation beside its own, so that the genome's is
the convolutions' alone. The branch of a Dropout layer is the merge's: the tape drops.

What networks read was made by a learned layer and gets a gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from evojax_mtl.architectures.layers import (
    MERGE,
    SEQUENCE_TYPES,
    Network,
    sequence_layers,
)
from evojax_mtl.networks import sequences
from evojax_mtl.networks.layer_sets import Call, Mask, namespace, volumes
from evojax_mtl.networks.sequences import Recurrent
from evojax_mtl.networks.tape import pad_channels

_GATES = {"lstm": 4, "gru": 3}
_BIASES = 4
_RUN = {
    "lstm": (sequences.lstm, sequences.lstm_gradients),
    "gru": (sequences.gru, sequences.gru_gradients),
}


@dataclass(frozen=True)
class SequenceLayers:
    """A ``LayerSet``.

    Attributes:
      taps: of the convolutions, odd, ascending (steps).
      buckets: units that are computed, ascending; the last is ``C``.
    """

    taps: tuple[int, ...]
    buckets: tuple[int, ...]

    gates = _BIASES
    learned_input = True

    @property
    def map(self) -> int:
        """Channels ``C`` of every map."""
        return self.buckets[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the types of layers."""
        return sequence_layers(self.taps)

    @property
    def largest(self) -> int:
        """Weights of the largest layer."""
        return max(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Weights of each operation."""
        found = [0]
        for name in self.names:
            for units in self.buckets:
                read = self.map + units if name in _GATES else self.map
                found.append(read * units * self._multiple(name))
        return found

    @staticmethod
    def _multiple(name: str) -> int:
        """Taps or gates of a type."""
        if name == "dropout":
            return 0
        return _GATES.get(name) or int(name.split("_")[1])

    def _tables(self) -> tuple[Array, Array]:
        """Branch and taps of each operation."""
        branch, taps = [0], [1]
        for name in self.names:
            family = SEQUENCE_TYPES.index(name.split("_")[0])
            for b in range(len(self.buckets)):
                drops = name == "dropout"
                branch.append(0 if drops else 1 + family * len(self.buckets) + b)
                taps.append(self._multiple(name) if family == 0 else 1)
        return jnp.asarray(branch), jnp.asarray(taps)

    def _switch(
        self,
        call: Call,
        nothing: Callable[..., Any],
        convolve: Callable[..., Any],
        recur: Callable[..., Any],
        *operands: Any,
    ) -> Any:
        """The branch of a node: ``convolve(units, ...)`` or ``recur(name, units)``."""
        branch, taps = self._tables()
        branches = [nothing, *(partial(convolve, units) for units in self.buckets)]
        for name in _GATES:
            branches += [partial(recur, name, units) for units in self.buckets]
        kind = call.kind
        return jax.lax.switch(branch[kind], branches, taps[kind], call.begin, *operands)

    def spaces(self, size: tuple[int, ...], resolutions: int) -> list[tuple[int, ...]]:
        """Steps at each resolution."""
        return [(size[0] >> r,) for r in range(resolutions)]

    def masks(self, mask: Mask, resolutions: int) -> list[Mask]:
        """See ``LayerSet.masks``."""
        found = [mask]
        while len(found) < resolutions:
            found.append(sequences.pooled_mask(found[-1]))
        return [*found]

    def biased(self, network: Network) -> Array:
        """Convolutions; recurrent layers add their own."""
        convolves = network.layers.kernel < len(self.taps)
        return convolves & (network.architecture.operation > MERGE)

    def forward(
        self, resolution: int, kernels: Array, bias: Array, call: Call, x, mask: Mask
    ):
        """See ``LayerSet.forward``."""

        def convolve(units, taps, begin, x):
            x = sequences.masked(x, mask)
            y = self._over_taps(
                taps,
                lambda t: (
                    self._window(x, taps, t) @ self._tap(kernels, begin, t, units)
                ),
            )
            return pad_channels(y, self.map)

        def recur(name, units, taps, begin, x):
            states, _ = _RUN[name]
            own = self._recurrent(name, units, kernels, begin, bias)
            y = states(own, x, mask, jnp.arange(units) < call.filters)
            return pad_channels(y, self.map)

        return self._switch(call, lambda taps, begin, x: x, convolve, recur, x)

    def backward(
        self,
        resolution: int,
        kernels: Array,
        bias: Array,
        call: Call,
        x,
        mask: Mask,
        gradient,
    ):
        """See ``LayerSet.backward``; the biases are those of recurrent layers."""
        none = jnp.zeros(self.largest, x.dtype)
        unbiased = jnp.zeros((_BIASES, self.map), x.dtype)

        def nothing(taps, begin, x, gradient):
            return none, unbiased, gradient

        def convolve(units, taps, begin, x, gradient):
            x = sequences.masked(x, mask)
            own = sequences.masked(gradient, mask)[..., :units]
            flat = own.reshape(-1, units)

            def add(t, update):
                window = self._window(x, taps, t).reshape(-1, self.map)
                found = (window.T @ flat).ravel()
                return jax.lax.dynamic_update_slice(update, found, (t * found.size,))

            update = jax.lax.fori_loop(0, taps, add, none)
            dx = self._over_taps(
                taps,
                lambda t: (
                    self._window(own, taps, taps - 1 - t)
                    @ self._tap(kernels, begin, t, units).T
                ),
            )
            return update, unbiased, sequences.masked(dx, mask)

        def recur(name, units, taps, begin, x, gradient):
            _, gradients = _RUN[name]
            own = self._recurrent(name, units, kernels, begin, bias)
            keep = jnp.arange(units) < call.filters
            found, dx = gradients(own, x, mask, keep, gradient[..., :units])
            update = jnp.concatenate([found.inputs.ravel(), found.states.ravel()])
            biases = found.bias.reshape(_BIASES, units)
            return (
                jnp.pad(update, (0, self.largest - update.size)),
                pad_channels(biases, self.map),
                dx,
            )

        update, biases, dx = self._switch(call, nothing, convolve, recur, x, gradient)
        return update, biases.ravel(), dx

    def _window(self, x: Array, taps: Array, tap: Array | int) -> Array:
        """What each step's ``tap`` of a convolution reads (SAME)."""
        margin = self.taps[-1] // 2
        padded = jnp.pad(x, ((0, 0), (margin, margin), (0, 0)))
        begin = margin - taps // 2 + tap
        return jax.lax.dynamic_slice_in_dim(padded, begin, x.shape[1], 1)

    @staticmethod
    def _over_taps(taps: Array, term: Callable[[Any], Array]) -> Array:
        first = term(0)
        return jax.lax.fori_loop(1, taps, lambda t, total: total + term(t), first)

    def _tap(self, kernels: Array, begin: Array, tap: Array | int, units: int) -> Array:
        size = self.map * units
        found = jax.lax.dynamic_slice(
            kernels, (begin + tap * size,), (size,), allow_negative_indices=False
        )
        return found.reshape(self.map, units)

    def _recurrent(
        self, name: str, units: int, kernels: Array, begin: Array, bias: Array
    ) -> Recurrent:
        width = _GATES[name] * units
        flat = jax.lax.dynamic_slice(
            kernels,
            (begin,),
            ((self.map + units) * width,),
            allow_negative_indices=False,
        )
        split = self.map * width
        return Recurrent(
            inputs=flat[:split].reshape(self.map, width),
            states=flat[split:].reshape(units, width),
            bias=bias.reshape(_BIASES, self.map)[:, :units].ravel(),
        )

    def pool(self, x, mask: Mask):
        """The larger of every two steps that are there."""
        return sequences.max_pool(x, mask)

    def pool_gradient(self, x, y, gradient, mask: Mask):
        """See ``LayerSet.pool_gradient``."""
        return sequences.max_pool_gradient(x, mask, gradient)

    def _of_type(self, xp: Any, network: Network, values: list[Any]) -> Any:
        """Of values, one a type, that of each node's."""
        return xp.asarray(values)[network.layers.kernel]

    def fans(self, network: Network, node: Array, place: Array) -> tuple[Array, Array]:
        """As Keras': a recurrent layer's gates by themselves, its states by units."""
        layers, operation = network.layers, network.architecture.operation
        reads = [0]
        for name in self.names:
            own = self._multiple(name) if name in _GATES else 0
            reads += [self.map * own * units for units in self.buckets]
        split = jnp.asarray(reads)[operation]
        of_states = (split[node] > 0) & (place >= split[node])
        taps = self._tables()[1][operation]
        fan_in = jnp.where(
            of_states, layers.filters[node], (taps * layers.inputs)[node]
        )
        return fan_in, (taps * layers.filters)[node]

    def biases(self, network: Network) -> Array:
        """Zeros, but ones for the forget gates of LSTMs (Keras)."""
        kind = network.layers.kernel == self.names.index("lstm")
        forget = np.arange(_BIASES) == 1
        rows = kind[:, None, None] & forget[:, None] & np.ones(self.map, bool)
        return rows.astype(jnp.float32).reshape(kind.shape[0], -1)

    def parameters(self, network: Network) -> Any:
        """See ``LayerSet.parameters``."""
        xp = namespace(network.layers.kernel)
        biases = [
            {"lstm": 4, "gru": 4, "dropout": 0}.get(name, 1) for name in self.names
        ]
        count = self._of_type(xp, network, biases)
        return self._products(network) + network.layers.filters * count

    def multiply_adds(self, network: Network, size: tuple[int, ...]) -> Any:
        """See ``LayerSet.multiply_adds``."""
        spaces = self.spaces(size, size[0].bit_length())
        return self._products(network) * volumes(network, spaces)

    def _products(self, network: Network) -> Any:
        layers, xp = network.layers, namespace(network.layers.kernel)
        multiple = self._of_type(xp, network, [self._multiple(n) for n in self.names])
        recurs = self._of_type(xp, network, [name in _GATES for name in self.names])
        read = layers.inputs + xp.where(recurs, layers.filters, 0)
        return multiple * read * layers.filters
