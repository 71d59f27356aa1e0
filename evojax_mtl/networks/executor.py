"""Runs a schedule: the tape on CPU, batched products on accelerators.

One differentiable function with its own backward pass and its own batching rule
(``batching``), so that ``jax.vmap`` of it is fast. There is no forward-mode derivative.
"""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evojax_mtl.architectures.schedule import Schedule
from evojax_mtl.networks import batched, tape
from evojax_mtl.networks.batching import batchable
from evojax_mtl.networks.tape import Params, Plan


def _executor(on_cpu: Any, elsewhere: Any, plan: Plan) -> Any:
    """The platform's executor, with a batching rule."""

    def single(*args):
        cpu, default = partial(on_cpu, plan), partial(elsewhere, plan)
        return jax.lax.platform_dependent(*args, cpu=cpu, default=default)

    lengthened = partial(elsewhere, plan, axis="members")
    return batchable(single, jax.vmap(lengthened, axis_name="members"))


@lru_cache(maxsize=64)
def _differentiable(plan: Plan) -> Any:
    forward = _executor(tape.forward, batched.forward, plan)
    backward = _executor(tape.backward, batched.backward, plan)

    @jax.custom_vjp
    def run(params, weights, inputs, schedule, key, rate):
        return forward(params, weights, inputs, schedule, key, rate)[0]

    def run_forward(params, weights, inputs, schedule, key, rate):
        out, buffers = forward(params, weights, inputs, schedule, key, rate)
        return out, (params, weights, inputs, schedule, rate, buffers)

    def run_backward(saved, gradient):
        params, edges, given = backward(*saved, gradient)
        return params, edges, given, None, None, None

    run.defvjp(run_forward, run_backward)
    return run


def execute(
    plan: Plan,
    params: Params,
    weights: Float[Array, "P E"],
    inputs: Float[Array, "T B H W c"],
    schedule: Schedule,
    key: Array,
    rate: Float[Array, ""] | float,
) -> Float[Array, "P B h w C"]:
    """What the decoders of all networks read.

    Args:
      plan: what is static.
      params: a pytree of stacked weights for each operation.
      weights: soft-merge weight of every edge.
      inputs: encoded examples; only with ``plan.input_gradient`` do they get a
        gradient (and must then have ``plan.channels`` channels).
      schedule: the work lists, made with ``plan.capacities``.
      key: dropout's key.
      rate: dropout's rate, traced.
    """
    ordered = weights.ravel()[schedule.edge_order]
    rate = jnp.asarray(rate, jnp.float32)
    return _differentiable(plan)(params, ordered, inputs, schedule, key, rate)
