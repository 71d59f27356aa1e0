"""A peer of ``population``: an assembled network in plain Flax, jitted for itself."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from evojax_mtl.architectures.table import INPUT, OUTPUT
from experiments.benchmarks.plain_networks import PlainNetwork, Step

_ACTIVATE = {"linear": lambda x: x, "relu": nn.relu, "elu": nn.elu, "selu": nn.selu}


class FlaxNetwork(nn.Module):
    """A network of Flax's layers, with a linear decoder a task.

    Attributes:
      plain: the network.
      tasks: how many.
      classes: outputs of a decoder.
      links: logits of soft merges a task.
    """

    plain: PlainNetwork
    tasks: int
    classes: int
    links: int

    @nn.compact
    def __call__(self, images: Any, train: bool) -> Any:
        """Logits ``(T, B, classes)`` of images ``(T, B, H, W, c)``."""
        merge = self.param("merge", nn.initializers.zeros, (self.tasks, self.links))
        value = {INPUT: images.reshape(-1, *images.shape[2:])}
        layers: dict[int, nn.Module] = {}
        for step in self.plain.steps:
            x = self._read(step, value, merge)
            if step.slot >= 0:
                if step.slot not in layers:
                    name, side = f"layer{step.slot}", (step.side, step.side)
                    layers[step.slot] = nn.Conv(step.channels[1], side, name=name)
                x = _ACTIVATE[step.activation](layers[step.slot](x))
                x = nn.Dropout(step.dropout, deterministic=not train)(x)
            value[step.node] = x
        x = value[OUTPUT]
        x = _widened(x, self.plain.channels).reshape(self.tasks, images.shape[1], -1)
        shape = (self.tasks, x.shape[-1], self.classes)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.tasks, self.classes))
        return jnp.einsum("tbf,tfl->tbl", x, kernel) + bias[:, None]

    def _read(self, step: Step, value: dict[int, Any], merge: Any) -> Any:
        parts = []
        for source, pools in step.sources:
            x = value[source]
            for _ in range(pools):
                x = nn.max_pool(x, (2, 2), (2, 2))
            parts.append(_widened(x, step.channels[0]))
        if len(step.links) > 1:
            shares = nn.softmax(merge[:, step.links], axis=1)
            shares = jnp.repeat(shares, len(parts[0]) // self.tasks, axis=0)
            parts = [shares[:, i, None, None, None] * x for i, x in enumerate(parts)]
        return sum(parts)


def _widened(x: Any, channels: int) -> Any:
    return jnp.pad(x, [(0, 0)] * 3 + [(0, channels - x.shape[-1])])


class FlaxTraining:
    """A network, and the program that trains it.

    Args:
      network: the network.
      weights: kernel and bias by slot.
      heads: the decoders' kernel and bias.
      rate: learning rate.
    """

    def __init__(
        self,
        network: FlaxNetwork,
        weights: dict[int, tuple[np.ndarray, np.ndarray]],
        heads: dict[str, Any],
        rate: float,
    ) -> None:
        self.network = network
        layers = {
            f"layer{slot}": {"kernel": kernel, "bias": bias}
            for slot, (kernel, bias) in weights.items()
        }
        merge = np.zeros((network.tasks, network.links), np.float32)
        self.params = {"merge": merge, **layers, **heads}
        self.adam = optax.adam(rate)
        decays = {step.slot: step.decay for step in network.plain.steps}
        self.decays = {f"layer{s}": d for s, d in decays.items() if s >= 0}
        self.apply = jax.jit(
            lambda params, x: network.apply({"params": params}, x, False)
        )
        self.train = jax.jit(self._train)

    def _train(self, params: Any, images: Any, labels: Any, key: Any) -> Any:
        """Losses of one step a batch, ``(S, T, B, ...)``."""

        def loss(params, images, labels, key):
            rngs = {"dropout": key}
            found: Any = self.network.apply({"params": params}, images, True, rngs=rngs)
            each = optax.softmax_cross_entropy_with_integer_labels(found, labels)
            l2 = [d * jnp.sum(params[n]["kernel"] ** 2) for n, d in self.decays.items()]
            return each.mean(1).sum() + sum(l2)

        def step(carry, batch):
            params, state, key = carry
            key, own = jax.random.split(key)
            value, gradient = jax.value_and_grad(loss)(params, *batch, own)
            updates, state = self.adam.update(gradient, state)
            return (optax.apply_updates(params, updates), state, key), value

        carry = (params, self.adam.init(params), key)
        return jax.lax.scan(step, carry, (images, labels))[1]
