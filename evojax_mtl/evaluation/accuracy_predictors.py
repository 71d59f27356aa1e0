"""Accuracy predictors, trained on the architectures that were evaluated so far.

Shape legend: ``A`` architectures, ``E`` places for evaluated ones, ``S`` steps of
training, ``B`` architectures in a step, ``D`` uniform draws.

All places but the evaluated ones are masked, so that one program trains on however many
there are; ``jax.vmap`` over keys, rows and fitness trains one for each task and seed.

1. Fitness becomes normal scores: the quantiles of the normal distribution at the ranks.
   A predictor is to order architectures, and the failures among the first random ones
   would otherwise outweigh all differences between good ones.
2. Each step is one of Adam, the learning rate falling to 0 by a cosine, on the mean
   square error of a batch that is drawn with replacement, plus the weight decay.
"""

import math
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from evojax_mtl.evaluation.optimizers import apply_gradients, optimizer

Params = dict[str, Array]


@runtime_checkable
class AccuracyPredictor(Protocol):
    """A network from architectures to scores; its fields are its sizes."""

    def shapes(self, inputs: Any) -> dict[str, tuple[int, ...]]:
        """Of the weights that are drawn at random."""
        ...

    def initial(self, drawn: Params, inputs: Any) -> Params:
        """Weights, given those of ``shapes`` uniform within Glorot's bounds."""
        ...

    def predict(self, params: Params, inputs: Any) -> Float[Array, "A"]:
        """A score of each architecture."""
        ...


def expected_fitness(
    key: Array,
    predictor: AccuracyPredictor,
    inputs: Any,
    rows: Int[Array, "E"],
    fitness: Float[Array, "E"],
    learning_rate: Float[Array, ""] | float = 0.01,
    weight_decay: Float[Array, ""] | float = 1e-3,
    *,
    steps: int = 100,
    batch: int = 16,
) -> Float[Array, "A"]:
    """Scores of all architectures by a predictor trained on the evaluated ones.

    Args:
      key: of initial weights and batches.
      predictor: the network.
      inputs: a pytree whose arrays have all architectures in front.
      rows: of those evaluated; any number in other places.
      fitness: of them, higher is better; minus infinity in other places. Where all
        are, the scores mean nothing.
      learning_rate: of the first step.
      weight_decay: factor of half the sum of squared weights in the loss.
      steps: of training.
      batch: evaluated architectures in a step.

    Returns:
      Normal scores, higher is better; comparable within one call alone.
    """
    shapes = predictor.shapes(inputs)
    weights = sum(math.prod(shape) for shape in shapes.values())
    # one call for all: each would be compiled for itself
    chance = jax.random.uniform(key, (weights + steps * batch,))
    params = predictor.initial(glorot(chance[:weights], shapes), inputs)

    def predict(params, rows):
        return predictor.predict(params, jax.tree.map(lambda x: x[rows], inputs))

    chosen = chance[weights:].reshape(steps, batch)
    trained = _fit(chosen, params, predict, rows, fitness, learning_rate, weight_decay)
    return predictor.predict(trained, inputs)


def normal_scores(fitness: Float[Array, "E"]) -> Float[Array, "E"]:
    """Normal quantiles of the ranks, equals alike; 0 where minus infinity."""
    there = jnp.isfinite(fitness)
    below = jnp.sum((fitness[:, None] > fitness) & there, axis=1)
    equal = jnp.sum((fitness[:, None] == fitness) & there, axis=1)
    share = (below + 0.5 * equal) / jnp.maximum(jnp.sum(there), 1)
    return jnp.where(there, jax.scipy.special.ndtri(share), 0.0)


def glorot(chance: Float[Array, "D"], shapes: dict[str, tuple[int, ...]]) -> Params:
    """Glorot uniform weights from as many draws, inputs and outputs the last axes."""
    params, taken = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        limit = math.sqrt(6 / (shape[-2] + shape[-1]))
        draws = chance[taken : taken + size].reshape(shape)
        params[name] = limit * (2 * draws - 1)
        taken += size
    return params


def _fit(
    chance: Float[Array, "S B"],
    params: Params,
    predict: Any,
    rows: Int[Array, "E"],
    fitness: Float[Array, "E"],
    learning_rate: Float[Array, ""] | float,
    weight_decay: Float[Array, ""] | float,
) -> Params:
    """Weights after as many steps as ``chance`` has rows, which choose the batches."""
    target = normal_scores(fitness)
    places = jnp.cumsum(jnp.isfinite(fitness))
    drawn = jnp.searchsorted(
        places, jnp.floor(chance * places[-1]), side="right", method="compare_all"
    )
    # one vector: Adam would be compiled once for each array of weights
    vector, restore = ravel_pytree(params)
    adam = optimizer("adam")

    def loss(vector, drawn):
        error = predict(restore(vector), rows[drawn]) - target[drawn]
        return jnp.mean(error**2) + 0.5 * weight_decay * jnp.sum(vector**2)

    def step(carry, now):
        vector, moments = carry
        number, drawn = now
        rate = learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * number / len(chance)))
        gradient = jax.grad(loss)(vector, drawn)
        vector, moments, _ = apply_gradients(adam, gradient, moments, vector, rate)
        return (vector, moments), None

    numbers = jnp.arange(len(chance), dtype=jnp.float32)
    (vector, _), _ = jax.lax.scan(step, (vector, adam.init(vector)), (numbers, drawn))
    return restore(vector)
