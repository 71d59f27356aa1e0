"""Zero-cost search on tables: architectures in the order of a proxy, the best first.

Nothing is learned on the way; equals by the proxy come in random order. This is the row
'Zero' of KTNAS's Table II (Abdelfattah et al. 2021, Zero-Cost Proxies for Lightweight
NAS, arXiv:2101.08134).
"""

import jax
import jax.numpy as jnp

from evojax_mtl.search.random_search import RandomSearch


class ZeroCost(RandomSearch):
    """The search protocol for a proxy's order; ``own`` is as that of random search."""

    method = "zero-cost"

    def begin(self, key, hyperparameters, data):
        """Each task's order, by the proxy."""
        order = super().begin(key, hyperparameters, data)
        mixed, end = jnp.split(order, [self.architectures], axis=1)
        proxy = jnp.take_along_axis(data.proxy, mixed, axis=1)
        place = jax.vmap(lambda x: jnp.argsort(-x, stable=True))(proxy)
        return jnp.concatenate([jnp.take_along_axis(mixed, place, axis=1), end], axis=1)
