"""Training and scoring of networks for dense tasks.

Shape legend: ``T`` tasks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.evaluation.dense_losses import dense_losses, present
from evojax_mtl.networks.dense_network import DenseNetwork, Weights
from evojax_mtl.pytrees import Pytree
from evojax_mtl.tasks.dense_dataset import DenseBatch


class DenseSystem(Pytree):
    """What a training step changes: weights, Adam's moments, the balancing's state."""

    weights: Weights
    moments: Any
    balancing: Any

    @property
    def params(self) -> dict[str, Any]:
        """Weights that the optimiser updates."""
        return {"encoder": self.weights.encoder, "own": self.weights.own}


class Step(NamedTuple):
    """What a training step gives.

    Attributes:
      system: after it; as before where it was skipped.
      metrics: of the balancing.
      seen: what ``inspect`` made of the tasks' gradients.
    """

    system: DenseSystem
    metrics: dict[str, Array]
    seen: Any


def predict(
    network: DenseNetwork,
    weights: Weights,
    batch: DenseBatch,
    architecture: Any,
    features: Callable[[Array], Array] | None = None,
) -> dict[str, Array]:
    """Predictions of all tasks, by running statistics.

    Args:
      network: the network.
      weights: its weights.
      batch: whose images.
      architecture: of the network.
      features: see ``features_of``.
    """
    statistics = weights.statistics
    representation, _ = network.encode(
        weights.encoder,
        statistics["encoder"],
        batch.images,
        architecture,
        train=False,
    )
    tasks = len(network.outputs)
    views = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (tasks, *x.shape)), representation
    )
    if features is not None:
        views = views | {"features": features(representation["features"])}
    predictions, _ = network.decode(
        weights.own,
        statistics["own"],
        views,
        architecture,
        _size(batch),
        key=jax.random.key(0),  # nothing is drawn
        train=False,
    )
    return predictions


def features_of(balancer: Balancer, state: Any) -> Callable[[Array], Array] | None:
    """How each task sees the representation, ``(B, ...)`` to ``(T, B, ...)``.

    None where all see the same. ``state`` is the balancing's.
    """
    method = balancer.method
    if not hasattr(method, "features"):
        return None
    return lambda representation: method.features(state, representation)


def dense_step(
    network: DenseNetwork,
    balancer: Balancer,
    transformation: optax.GradientTransformation,
    system: DenseSystem,
    batch: DenseBatch,
    architecture: Any,
    learning_rate: Float[Array, ""],
    *,
    key: Array,
    plain: Bool[Array, ""] | bool = False,
    inspect: Callable[[Any], Any] | None = None,
) -> Step:
    """One training step of all tasks.

    Args:
      network: the network.
      balancer: of its tasks. A method that needs a shared representation gets its
        gradients, with the weights' otherwise.
      transformation: of gradients, before the learning rate.
      system: as ``begin`` or the last step gave it.
      batch: of every task.
      architecture: of the network.
      learning_rate: of this step.
      key: randomness of this step.
      plain: see ``Balancer.update_with_heads``.
      inspect: likewise.
    """
    weights, statistics = system.weights, system.weights.statistics
    draw, balance = jax.random.split(key)
    single, size = through(balancer), _size(batch)

    def encode(encoder):
        representation, new = network.encode(
            encoder, statistics["encoder"], batch.images, architecture, train=True
        )
        return (representation["features"] if single else representation), new

    def losses(own, views):
        predictions, new = network.decode(
            own,
            statistics["own"],
            {"features": views, "positions": ()} if single else views,
            architecture,
            size,
            key=draw,
            train=True,
        )
        return dense_losses(predictions, batch), new

    pair = (weights.encoder, weights.own)
    there = present(batch)
    if single:
        balanced, (first, second) = balancer.update_through(
            encode,
            losses,
            pair,
            system.balancing,
            key=balance,
            present=there,
            has_aux=True,
        )
        seen = None
    else:
        balanced, (first, second, seen) = balancer.update_with_heads(
            encode,
            losses,
            pair,
            system.balancing,
            key=balance,
            present=there,
            plain=plain,
            inspect=inspect,
        )
    gradients = dict(zip(("encoder", "own"), balanced.update, strict=True))
    params = system.params
    changes, moments = transformation.update(gradients, system.moments, params)
    params = jax.tree.map(lambda x, d: x - learning_rate * d, params, changes)
    state = balanced.state
    if balancer.method.traits.observes:
        state = balancer.observe(state, _losses_again(encode, losses, params, balancer))
    new = DenseSystem(
        Weights(params["encoder"], params["own"], {"encoder": first, "own": second}),
        moments,
        state,
    )
    skipped = balanced.metrics["skipped"]
    kept = jax.tree.map(lambda a, b: jnp.where(skipped, b, a), new, system)
    return Step(kept, balanced.metrics, seen)


def _losses_again(
    encode: Callable[[Any], Any],
    losses: Callable[[Any, Any], Any],
    params: dict[str, Any],
    balancer: Balancer,
) -> Float[Array, "T"]:
    """The losses of the same batch with new weights."""
    representation, _ = encode(params["encoder"])
    views = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (balancer.tasks, *x.shape)), representation
    )
    return losses(params["own"], views)[0]


def _size(batch: DenseBatch) -> tuple[int, int]:
    _, height, width, _ = batch.images.shape
    return height, width


def through(balancer: Balancer) -> bool:
    """Whether the method balances gradients of a representation."""
    return balancer.method.traits.representation == "required"


def begin(
    network: DenseNetwork,
    balancer: Balancer,
    transformation: optax.GradientTransformation,
    weights: Weights,
    image_shape: tuple[int, ...],
    architecture: Any,
) -> DenseSystem:
    """The system before the first step.

    ``image_shape`` is that of a batch.

    Raises:
      UserError: if the balancing cannot be used so.
    """
    params = {"encoder": weights.encoder, "own": weights.own}
    if through(balancer):
        images = jax.ShapeDtypeStruct(image_shape, jnp.float32)
        representation = jax.eval_shape(
            lambda w, images: network.encode(
                w.encoder, w.statistics["encoder"], images, architecture, train=False
            )[0],
            weights,
            images,
        )
        state = balancer.init_through(representation["features"])
    else:
        state = balancer.init(weights.encoder)
    return DenseSystem(weights, transformation.init(params), state)
