"""Runs a schedule: the tape on CPU, batched products on accelerators.

One differentiable function with its own backward pass and its own batching rule:
``jax.vmap`` (a sweep of seeds) runs the tape once a member instead of turning its loops
into masked ones, and folds members into batched work on accelerators. There is no
forward-mode derivative.
"""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from evojax_mtl.architectures.schedule import Schedule
from evojax_mtl.networks import batched, tape
from evojax_mtl.networks.tape import Params, Plan


def _batchable(on_cpu: Any, elsewhere: Any, plan: Plan) -> Any:
    """A function of arrays with the batching rule above."""

    def single(*args):
        return on_cpu(plan, *args)

    def blocks(*args):
        return elsewhere(plan, *args)

    @custom_vmap
    def call(*args):
        return jax.lax.platform_dependent(*args, cpu=single, default=blocks)

    @call.def_vmap
    def rule(size, mapped, *args):
        def spread(flag, value):
            return value if flag else jnp.broadcast_to(value, (size, *value.shape))

        args = jax.tree.map(spread, tuple(mapped), args)

        def members(*args):
            return jax.lax.map(lambda one: single(*one), args)

        def folded(*args):
            lengthened = partial(elsewhere, plan, axis="members")
            return jax.vmap(lengthened, axis_name="members")(*args)

        out = jax.lax.platform_dependent(*args, cpu=members, default=folded)
        return out, jax.tree.map(lambda _: True, out)

    return call


@lru_cache(maxsize=64)
def _differentiable(plan: Plan) -> Any:
    forward = _batchable(tape.forward, batched.forward, plan)
    backward = _batchable(tape.backward, batched.backward, plan)

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
