"""The network of NAS-Bench-201 for one known cell, edge by edge in plain JAX."""

import jax
import jax.numpy as jnp

EDGES = {1: [(0, 0)], 2: [(1, 0), (2, 1)], 3: [(3, 0), (4, 1), (5, 2)]}
"""Of each node: (edge, source)."""


def convolve(x, kernel, stride=1):
    margin = kernel.shape[0] // 2
    numbers = ("NHWC", "HWIO", "NHWC")
    padding = [(margin, margin)] * 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=numbers
    )


def average(x, size, stride, margin):
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    padding = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    total, count = (
        jax.lax.reduce_window(y, 0.0, jax.lax.add, window, strides, padding)
        for y in (x, jnp.ones_like(x))
    )
    return total / count


def no_norm(x):
    return x


def batch_norm(x):
    deviation = jnp.sqrt(x.var((0, 1, 2)) + 1e-5)
    return (x - x.mean((0, 1, 2))) / deviation


def outputs(weights, classifier, ops, images, norm=no_norm):
    """``(B, classes)``; ``ops`` are numbers."""

    def unit(x, kernel, stride=1):
        return norm(convolve(jnp.maximum(x, 0), kernel, stride))

    x = norm(convolve(images, weights["stem"]))
    for stage, slots in enumerate(weights["stages"]):
        if stage:
            block = weights["blocks"][stage - 1]
            y = unit(unit(x, block["first"], 2), block["second"])
            x = y + convolve(average(x, 2, 2, 0), block["shortcut"])
        for cell in range(len(slots["conv_1x1"])):
            nodes = [x]
            for edges in EDGES.values():
                total = jnp.zeros_like(x)
                for k, source in edges:
                    node = nodes[source]
                    one, three = slots["conv_1x1"][cell, k], slots["conv_3x3"][cell, k]
                    match int(ops[k]):
                        case 1:
                            total += node
                        case 2:
                            total += unit(node, one)
                        case 3:
                            total += unit(node, three)
                        case 4:
                            total += average(node, 3, 1, 1)
                nodes.append(total)
            x = nodes[-1]
    return jnp.maximum(norm(x), 0).mean((1, 2)) @ classifier
