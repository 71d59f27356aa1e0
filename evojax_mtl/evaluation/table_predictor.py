"""Predicts architectures from those evaluated, on all tasks, by their embeddings.

Gaussian process regression (Rasmussen, Williams 2006, Algorithm 2.1). The covariance of
two evaluations is ``exp(-steepness d / mean d)``, with ``d`` the distance of the
architectures' embeddings (Zhang 2024, Eq. 2), times ``relation`` where the tasks
differ. The targets are ranks among the task's own evaluations, brought to ``[-1, 1]``;
the prior mean is the proxy, a percentile. So a few dozen evaluations of each task tell
about all tasks, and units do not matter.

It reads nothing but what was evaluated, and the proxy.

Shape legend: ``T`` tasks, ``H`` evaluations of a task that are kept, ``C`` candidates.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float, Int

from evojax_mtl.evaluation.tabular import NOTHING, TableData
from evojax_mtl.evolution.tabular import places
from evojax_mtl.pytrees import Pytree


class Log(Pytree):
    """The last evaluations of each task, the newest first.

    Attributes:
      rows: the architectures, ``NOTHING`` where there is none yet.
      fitness: of them; minus infinity where there is none.
    """

    rows: Int[Array, "T H"]
    fitness: Float[Array, "T H"]


class Predictor(Pytree):
    """What was learned.

    Attributes:
      rows: evaluated architectures of all tasks, ``(T H)``; 0 where there is none.
      weights: of the covariances with them; 0 where there is none.
      mean: of the targets over the prior.
    """

    rows: Int[Array, "E"]
    weights: Float[Array, "E"]
    mean: Float[Array, ""]


def no_log(tasks: int, size: int) -> Log:
    """Nothing was evaluated."""
    return Log(
        rows=jnp.full((tasks, size), NOTHING, jnp.int32),
        fitness=jnp.full((tasks, size), -jnp.inf, jnp.float32),
    )


def add(log: Log, rows: Int[Array, "T C"], fitness: Float[Array, "T C"]) -> Log:
    """The log with these evaluations; minus infinity: not evaluated, left out."""
    size = log.rows.shape[1]

    def one(rows, fitness, new_rows, new_fitness):
        rows = jnp.concatenate([new_rows, rows])
        fitness = jnp.concatenate([new_fitness, fitness])
        # those that there are come first, the newest before the oldest
        kept = jnp.argsort(fitness == -jnp.inf, stable=True)[:size]
        fitness = fitness[kept]
        return jnp.where(fitness > -jnp.inf, rows[kept], NOTHING), fitness

    rows, fitness = jax.vmap(one)(log.rows, log.fitness, rows, fitness)
    return Log(rows=rows, fitness=fitness)


def fit(log: Log, data: TableData, rates: Any) -> Predictor:
    """Learns from a log.

    Args:
      log: what was evaluated.
      data: embeddings and proxy.
      rates: ``steepness``, ``relation``, ``noise`` and ``trust``, see ``KTNASConfig``.
    """
    tasks, size = log.rows.shape
    there = (log.rows != NOTHING).ravel()
    rows = jnp.maximum(log.rows, 0).ravel()
    task = jnp.repeat(jnp.arange(tasks), size)
    count = jnp.maximum(jnp.sum(log.rows != NOTHING, axis=1) - 1, 1)
    rank = jax.vmap(places)(log.fitness)
    target = (1 - 2 * rank / count[:, None]).ravel()
    residual = target - rates["trust"] * data.proxy[task, rows]
    total = jnp.maximum(jnp.sum(there), 1)
    mean = jnp.sum(jnp.where(there, residual, 0)) / total
    residual = jnp.where(there, residual - mean, 0)
    covariance = _covariance(rows, rows, data, rates)
    covariance *= jnp.where(task[:, None] == task, 1, rates["relation"])
    both = there[:, None] & there
    noisy = jnp.where(both, covariance, 0) + jnp.diag(
        jnp.where(there, rates["noise"], 1)
    )
    weights = cho_solve(cho_factor(noisy), residual)
    return Predictor(rows=rows, weights=jnp.where(there, weights, 0), mean=mean)


def predict(
    predictor: Predictor,
    task: Array,
    candidates: Int[Array, "*n"],
    data: TableData,
    rates: Any,
) -> Float[Array, "*n"]:
    """What candidates promise on a task; higher is better."""
    flat = candidates.ravel()
    size = len(predictor.rows) // data.tasks
    own = jnp.arange(len(predictor.rows)) // size == task
    weights = predictor.weights * jnp.where(own, 1, rates["relation"])
    known = _covariance(flat, predictor.rows, data, rates) @ weights
    prior = rates["trust"] * data.proxy[task, flat] + predictor.mean
    return (prior + known).reshape(candidates.shape)


def _covariance(a, b, data, rates):
    distance = 1 - data.vectors[a] @ data.vectors[b].T
    return jnp.exp(-rates["steepness"] * distance / data.spread)
