"""Size of a plain network: parameters, and multiply-adds of one image.

Both come from shapes alone: nothing is computed, whatever the width.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core

from evojax_mtl.networks.darts_network import DartsNetwork


class Complexity(NamedTuple):
    """Size of a network.

    Attributes:
      parameters: trained numbers, without an auxiliary head's.
      multiply_adds: of convolutions and linear layers, for one image ("FLOPs" in most
        tables of the field).
    """

    parameters: int
    multiply_adds: int


def complexity(network: nn.Module, image_shape: tuple[int, int, int]) -> Complexity:
    """Size of ``network`` on images ``(H, W, c)``, auxiliary head left out.

    The head serves training alone, so published counts leave it out too. Batch norms,
    pools and activations count as parameters, where they have any, not as work.
    """
    if isinstance(network, DartsNetwork):
        network = network.clone(auxiliary=False)
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    # initialising runs the network once, so one trace tells both
    trace = jax.make_jaxpr(network.init, return_shape=True)
    # abstract: a key of its own would compile a program
    key = jax.eval_shape(lambda: jax.random.key(0))
    traced, variables = trace(key, images)
    leaves = jax.tree.leaves(variables["params"])
    parameters = sum(math.prod(leaf.shape) for leaf in leaves)
    return Complexity(parameters, multiply_adds(traced.jaxpr))


def multiply_adds(jaxpr: core.Jaxpr) -> int:
    """Multiply-adds of the convolutions and matrix products of a program.

    Of a branch the costliest counts, so that a convolution written in several ways for
    several platforms counts once and in full. A loop of unknown length counts as one
    pass. Taps of a kernel that fall on padding count.
    """
    return sum(_cost(equation) for equation in jaxpr.eqns)


def _cost(equation: Any) -> int:
    shapes = [v.aval.shape for v in (*equation.invars, *equation.outvars)]
    name = equation.primitive.name
    if name == "conv_general_dilated":
        _, kernel, output = shapes
        numbers = equation.params["dimension_numbers"]
        return math.prod(output) * (math.prod(kernel) // kernel[numbers.rhs_spec[0]])
    if name == "dot_general":
        left, _, output = shapes
        (contracted, _), _ = equation.params["dimension_numbers"]
        return math.prod(output) * math.prod(left[axis] for axis in contracted)
    inner = [multiply_adds(jaxpr) for jaxpr in _programs(equation.params)]
    if name == "cond":
        return max(inner)
    return sum(inner) * equation.params.get("length", 1)


def _programs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The programs that an equation runs."""
    for value in params.values():
        for entry in value if isinstance(value, tuple | list) else (value,):
            if isinstance(entry, core.ClosedJaxpr):
                yield entry.jaxpr
            elif isinstance(entry, core.Jaxpr):
                yield entry
