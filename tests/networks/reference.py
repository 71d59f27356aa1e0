"""A network run node by node in plain JAX: what the executors must equal."""

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.architectures.table import INPUT, OUTPUT
from evojax_mtl.networks.dropout import dropout, keep_threshold

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _pool(x):
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )


def _module(params, slot, x):
    y = jax.lax.conv_general_dilated(
        x, params["kernel"][slot], (1, 1), "SAME", dimension_numbers=_DIMENSIONS
    )
    return jax.nn.relu(y + params["bias"][slot])


def run_networks(params, logits, images, architecture, inputs, key=None, rate=0.0):
    """Outputs ``(P, B, h, w, C)``; the topology must be concrete."""
    a = jax.tree.map(np.asarray, architecture)
    channels = params["kernel"].shape[-1]
    outputs = []
    for p, task in enumerate(np.asarray(inputs)):
        edges = [e for e in range(a.source.shape[1]) if a.edge[p, e]]
        image = images[task]
        missing = channels - image.shape[-1]
        values = {INPUT: jnp.pad(image, ((0, 0), (0, 0), (0, 0), (0, missing)))}

        def value(node, p=p, edges=edges, values=values):
            if node in values:
                return values[node]
            into = [e for e in edges if a.target[p, e] == node]
            arrived = []
            for e in into:
                source = int(a.source[p, e])
                x = value(source)
                for _ in range(a.resolution[p, node] - a.resolution[p, source]):
                    x = _pool(x)
                arrived.append(x)
            scales = jax.nn.softmax(jnp.stack([logits[p, e] for e in into]))
            x = sum(s * x for s, x in zip(scales, arrived, strict=True))
            if node != OUTPUT:
                x = _module(params, a.slot[p, node], x)
                if key is not None:
                    identity = jnp.array([p, node])
                    x = dropout(key, identity, x, keep_threshold(rate))
            values[node] = x
            return x

        outputs.append(value(OUTPUT))
    return jnp.stack(outputs)


def run_by(model):
    """Logits of an assembled network, gradients of a loss, and its work lists."""

    @jax.jit
    def run(params, network, examples, key, rate):
        lists = model.lists(network)

        def loss(params):
            logits = model.apply(params, lists, examples, key, rate)
            return loss_of(logits), logits

        (_, logits), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return logits, gradients, lists

    return run


def loss_of(logits):
    """Some function of logits, another one for each class."""
    return jnp.sum(jnp.sin(logits + jnp.arange(logits.shape[-1])))


def assert_same_gradients(gradients, expected):
    """Equal up to the order of sums, and none of them 0."""
    paths = jax.tree_util.tree_leaves_with_path(gradients)
    for (path, a), b in zip(paths, jax.tree.leaves(expected), strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, 1e-3, 1e-4, err_msg=jax.tree_util.keystr(path))


def plain_images(name, images):
    """Images ``(..., H, W, c)`` in ``[0, 1]``, preprocessed in NumPy one by one."""
    images = np.asarray(images, np.float64)
    if name == "imagenet":
        coloured = images.shape[-1] == 3
        mean = np.array([0.485, 0.456, 0.406] if coloured else [0.449])
        return (images - mean) / ([0.229, 0.224, 0.225] if coloured else [0.226])
    if name == "standardized":
        images = images.copy()
        for place in np.ndindex(images.shape[:-3]):
            own = images[place]
            images[place] = (own - own.mean()) / max(own.std(), own.size**-0.5)
    return images


def plain_words(name, vectors, lengths):
    """Words' vectors ``(..., L, D)``, preprocessed in NumPy text by text.

    Beyond the texts' lengths they are 0.
    """
    found = np.zeros(vectors.shape)
    for place in np.ndindex(vectors.shape[:-2]):
        own = np.asarray(vectors[place][: lengths[place]], np.float64)
        if name == "unit":
            lines = [row / (np.linalg.norm(row) or 1) for row in own]
            own = np.array(lines).reshape(own.shape)
        if name == "standardized" and own.any():
            own = (own - own.mean()) / own.std()
        found[place][: len(own)] = own
    return found
