import jax
import jax.numpy as jnp

DN = ("NHWC", "HWIO", "NHWC")


def conv_forward(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=DN)


def conv_input_gradient(g, w):
    return conv_forward(g, w[::-1, ::-1].transpose(0, 1, 3, 2))


def conv_kernel_gradient(x, g, size):
    n, h, w, c = x.shape
    k = size[0] // 2
    p = jnp.pad(x, ((0, 0), (k, k), (k, k), (0, 0)))
    p = jnp.concatenate(
        [p[:, i : i + h, j : j + w] for i in range(size[0]) for j in range(size[1])], -1
    )
    return (p.reshape(-1, p.shape[-1]).T @ g.reshape(-1, g.shape[-1])).reshape(
        *size, c, -1
    )
